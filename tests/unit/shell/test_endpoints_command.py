"""`kassa merchants endpoints` and `callback-secret`: an operator sees where merchants are told, and switches it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests import rig
from tests.factories import world
from tests.unit.shell.processes import refused, run

from kassa import merchants, webhooks
from kassa.kit.database import Database
from kassa.webhooks import Wish

CALLBACK = "http://operator:8000/told?token=canary"
KEY = "c2l4dHktZm91ciBiaXRzIHRpbWVzIGZvdXIgYXJlIHQ="
NOBODY = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"


async def _prepare(dsn: str) -> str:
    db = await Database.connect(dsn, size=2)
    try:
        ctx = world(db)
        async with db.transaction("merchants.change") as tx:
            await merchants.add_merchant(tx, "42", "Corner Shop", "o@example.com", "USD")
            wish = Wish("https://shop.example.com/hook?key=canary", ("payment.*",))
            made, _ = await webhooks.add_endpoint(tx, ctx.keys, "42", wish)
        return str(made.endpoint_id)
    finally:
        await db.close()


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture(scope="module")
def endpoint_id(dsn: str) -> str:
    return rig.run_alone(lambda: _prepare(dsn))


def typed(home: Path, dsn: str, *words: str, **settings: str) -> Any:
    given = {"DATABASE_URL": dsn, "PRODUCTION": "true", "KASSA_SECRET": KEY, **settings}
    done = run(home, "merchants", *words, "--json", **given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_operator_sees_every_endpoint_and_never_a_secret_or_a_query(short_home: Path, dsn: str, endpoint_id: str) -> None:
    (own,) = typed(short_home, dsn, "endpoints")["endpoints"]
    assert (own["endpoint_id"], own["url"], own["default"]) == (endpoint_id, "https://shop.example.com/hook?…", "")
    secret = typed(short_home, dsn, "callback-secret", MERCHANT_CALLBACK_URL=CALLBACK)["secret"]
    assert secret.startswith("whsec_")
    assert typed(short_home, dsn, "callback-secret")["secret"] == secret, "also without the setting at hand"
    for words in (("endpoints", "list"), ("endpoints", "list", "--merchant", "42")):
        found = typed(short_home, dsn, *words)["endpoints"]
        assert [(each["merchant_id"], each["default"]) for each in found] == [("42", ""), ("42", "default")]
        assert "canary" not in json.dumps(found)
        assert secret.removeprefix("whsec_") not in json.dumps(found)


def test_an_endpoint_is_disabled_and_enabled_by_its_id_or_as_the_default_one(short_home: Path, dsn: str, endpoint_id: str) -> None:
    typed(short_home, dsn, "callback-secret", MERCHANT_CALLBACK_URL=CALLBACK)
    for which in ((endpoint_id,), ()):
        off = typed(short_home, dsn, "endpoints", "disable", "42", *which)
        assert (off["before"]["status"], off["after"]["status"], off["after"]["reason"]) == ("enabled", "disabled", "manual")
        on = typed(short_home, dsn, "endpoints", "enable", "42", *which)
        assert (on["before"]["status"], on["after"]["status"], on["after"]["reason"]) == ("disabled", "enabled", None)
        assert typed(short_home, dsn, "endpoints", "enable", "42", *which)["before"]["status"] == "enabled"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("endpoints", "enable", "42", "x"), "ENDPOINT must be an id"),
        (("endpoints", "enable", "42", NOBODY), "Endpoint not found"),
        (("endpoints", "disable", "43"), "There is no such merchant"),
        (("endpoints", "list", "--merchant", "43"), "There is no such merchant"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    short_home: Path, dsn: str, endpoint_id: str, words: tuple[str, ...], said: str
) -> None:
    assert endpoint_id
    assert said in refused(run(short_home, "merchants", *words, DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=KEY))


def test_without_a_default_endpoint_there_is_no_secret(short_home: Path, database_server: rig.DatabaseServer) -> None:
    done = run(
        short_home, "merchants", "callback-secret", DATABASE_URL=database_server.fresh(), PRODUCTION="true", KASSA_SECRET=KEY
    )
    assert "MERCHANT_CALLBACK_URL" in refused(done)


def test_for_people_there_are_tables(short_home: Path, dsn: str, endpoint_id: str) -> None:
    done = run(short_home, "merchants", "endpoints", DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=KEY)
    assert done.returncode == 0, done.stderr
    assert endpoint_id in done.stdout
    assert "payment.*" in done.stdout
