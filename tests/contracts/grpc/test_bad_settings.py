"""A setting that cannot be stops the start with one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import rig
from tests.contracts.grpc.processes import a_secret, certificate, said_no

RPC, SERVER, DEV = ("kassa", "rpc"), ("payments_service.server",), ("kassa", "dev")


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (RPC, "MAX_WORKERS", "0"),
        (RPC, "MAX_WORKERS", "1001"),
        (SERVER, "MAX_WORKERS", "plenty"),
        (DEV, "MAX_WORKERS", "-1"),
        (RPC, "GRPC_PORT", "70000"),
        (SERVER, "GRPC_PORT", "seven"),
        (DEV, "GRPC_PORT", "0x1b58"),
        (SERVER, "PORT", "70001"),
        (RPC, "GRPC_PAYMENT_PROVIDER", "somebody"),
        (RPC, "GRPC_CURRENCIES", "USD,DOLLARS"),
    ],
)
def test_a_bad_value_stops_the_start(kassa_dsn: str, tmp_path: Path, module: tuple[str, ...], name: str, value: str) -> None:
    good = {"DATABASE_URL": kassa_dsn, "KASSA_SECRET": a_secret(), "JWT_SECRET": rig.JWT_SECRET}
    if name != "PORT":
        good["GRPC_PORT"] = str(rig.free_port())
    assert name in said_no(tmp_path / "home", *module, **good | {name: value})


@pytest.mark.parametrize("given", ["GRPC_TLS_CERT", "GRPC_TLS_KEY"])
def test_a_certificate_without_its_key_stops_the_start(kassa_dsn: str, tmp_path: Path, given: str) -> None:
    cert, key, _ = certificate(tmp_path / "tls")
    settings = {given: str(cert if given == "GRPC_TLS_CERT" else key), "GRPC_PORT": str(rig.free_port())}
    assert "GRPC_TLS_" in said_no(tmp_path / "home", *RPC, DATABASE_URL=kassa_dsn, KASSA_SECRET=a_secret(), **settings)
