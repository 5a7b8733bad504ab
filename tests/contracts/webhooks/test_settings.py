"""Settings that stop the start, with one line that names them (sections 7 and 8)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run

GOOD = "whsec_" + base64.b64encode(b"thirty-two bytes of an operator!").decode()
BAD = [
    ("MERCHANT_CALLBACK_SECRET", GOOD.removeprefix("whsec_")),
    ("MERCHANT_CALLBACK_SECRET", "whsec_not base64!"),
    ("MERCHANT_CALLBACK_SECRET", "whsec_"),
    ("MERCHANT_CALLBACK_SECRET", "secret_" + GOOD.removeprefix("whsec_")),
    ("WEBHOOK_RETRY_SECONDS", "soon"),
    ("WEBHOOK_RETRY_SECONDS", "0,five,300"),
    ("WEBHOOK_RETRY_SECONDS", "0,-1"),
    ("WEBHOOK_RETRY_SECONDS", "0,1.5"),
    ("WEBHOOK_RETRY_SECONDS", "0,86401"),
    ("WEBHOOK_RETRY_SECONDS", "0,,5"),
    ("WEBHOOK_RETRY_SECONDS", ",".join(["1"] * 21)),
    ("WEBHOOK_TIMEOUT_S", "0"),
    ("WEBHOOK_TIMEOUT_S", "31"),
    ("WEBHOOK_TIMEOUT_S", "x"),
    ("ALLOW_PRIVATE_CALLBACKS", "perhaps"),
    ("MERCHANT_CALLBACK_EVENTS", "nonsense.*"),
    ("MERCHANT_CALLBACK_URL", "not an address"),
    ("RABBITMQ_URL", "http://127.0.0.1:5672/"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(tmp_path: Path, kassa_dsn: str, name: str, value: str) -> None:
    given = {"MERCHANT_CALLBACK_URL": "http://127.0.0.1:9/hook", name: value}
    told = refused(run(tmp_path / "home", "dev", DATABASE_URL=kassa_dsn, GRPC_PORT=str(rig.free_port()), **given))
    assert name in told
    if name == "MERCHANT_CALLBACK_SECRET" and len(value) > len("whsec_"):
        assert value not in told
