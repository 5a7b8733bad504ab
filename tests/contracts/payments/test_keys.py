"""API keys and what they may do (section 2)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from .till import BASE, INSTANT, NOWHERE, Json, Mall, a_key, ask, is_well, keyed, malformed, opened, pay_link, refusal, until

if TYPE_CHECKING:
    from tests.conftest import StartKassa

KEYS = "/api/v1/api-keys"
LISTED = {"key_id", "name", "prefix", "scopes", "created_at", "last_used_at", "revoked_at"}
SCOPES = ["payments:read", "payments:write", "refunds:write", "merchant:read", "events:read", "webhooks:manage", "keys:manage"]
SECRET = base64.b64encode(b"thirty-two bytes that both share").decode()


def listed(who: httpx2.Client) -> dict[str, Json]:
    """The keys of a merchant, by their ids."""
    answer = who.get(KEYS)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    rows = found if isinstance(found, list) else found["items"]
    return {row["key_id"]: row for row in rows}


def made(who: httpx2.Client, *scopes: str, name: str = "the till in the shop") -> Json:
    answer = who.post(KEYS, json={"name": name, "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def lacks(answer: httpx2.Response, scope: str) -> None:
    assert answer.status_code == 403, answer.text
    assert answer.json() == {"detail": "Insufficient scope", "code": "insufficient_scope", "required": scope}


def try_all(who: httpx2.Client, payment_id: str) -> dict[str, list[httpx2.Response]]:
    """What this caller is answered on each route, by the scope that the route wants."""
    here = f"{BASE}/{payment_id}"
    return {
        "payments:read": [
            who.get(path) for path in (BASE, here, f"{here}/show", f"{here}/tracking", f"{here}/refunds", f"{here}/ledger")
        ],
        "payments:write": [ask(who)],
        "refunds:write": [who.post(f"{here}/refunds", json={}, headers=keyed())],
        "merchant:read": [who.get("/api/v1/merchants/me")],
        "keys:manage": [
            who.get(KEYS),
            who.post(KEYS, json={"name": "n", "scopes": ["keys:manage"]}),
            who.delete(f"{KEYS}/{NOWHERE}"),
        ],
    }


def test_a_new_key_is_shown_whole_once(mall: Mall, merchant: httpx2.Client) -> None:
    key = made(merchant, "payments:read", "payments:write")
    assert set(key) >= {"key_id", "name", "scopes", "key"}
    assert re.fullmatch(r"sk_[A-Za-z0-9_-]{43}", key["key"])
    assert (key["name"], sorted(key["scopes"])) == ("the till in the shop", ["payments:read", "payments:write"])
    row = listed(merchant)[key["key_id"]]
    assert set(row) == LISTED
    assert (row["name"], sorted(row["scopes"])) == (key["name"], ["payments:read", "payments:write"])
    assert INSTANT.fullmatch(row["created_at"])
    assert row["revoked_at"] is None
    assert key["key"].startswith(row["prefix"])
    assert len(row["prefix"]) < 20
    assert key["key"] not in merchant.get(KEYS).text
    opened(ask(mall.with_key(key["key"])))


def test_two_keys_are_never_the_same(merchant: httpx2.Client) -> None:
    assert len({made(merchant, "payments:read")["key"] for _ in range(5)}) == 5


def test_the_demo_keys_are_in_the_list(merchant: httpx2.Client) -> None:
    rows = [sorted(row["scopes"]) for row in listed(merchant).values()]
    assert sorted(SCOPES) in rows
    assert ["payments:read"] in rows


def test_a_use_is_noted(mall: Mall, merchant: httpx2.Client) -> None:
    key = made(merchant, "payments:read")
    assert listed(merchant)[key["key_id"]]["last_used_at"] is None
    assert mall.with_key(key["key"]).get(BASE).status_code == 200
    used = until(lambda: listed(merchant)[key["key_id"]]["last_used_at"], hope="the use is noted")
    assert INSTANT.fullmatch(used)


def test_a_key_is_kept_as_its_hash_alone(mall: Mall, merchant: httpx2.Client) -> None:
    key = made(merchant, "payments:read")["key"]
    assert mall.with_key(key).get(BASE).status_code == 200
    assert tables_with(mall, key) == []
    assert tables_with(mall, key.removeprefix("sk_")) == []
    assert tables_with(mall, hashlib.sha256(key.encode()).hexdigest()) != []
    assert key not in mall.server.log_text()


def tables_with(mall: Mall, text: str) -> list[str]:
    """Every table of the database in whose rows this text stands."""
    tables = mall.server.sql(
        """SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
            WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')""",
    )
    names = [table["name"] for table in tables]
    union = " UNION ALL ".join(f"SELECT '{name}' AS name FROM {name} AS t WHERE strpos(t::text, $1) > 0" for name in names)
    return [row["name"] for row in mall.server.sql(union, text)]


@pytest.mark.parametrize("scope", ["payments:read", "payments:write", "refunds:write", "merchant:read", "keys:manage"])
def test_a_key_may_do_what_its_scope_says_and_nothing_else(mall: Mall, merchant: httpx2.Client, scope: str) -> None:
    payment_id = pay_link(merchant)
    for wanted, answers in try_all(mall.with_key(made(merchant, scope)["key"]), payment_id).items():
        for answer in answers:
            if wanted == scope:
                assert answer.status_code != 403, answer.text
            else:
                lacks(answer, wanted)


def test_the_reading_demo_key_reads_only(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    for wanted, answers in try_all(mall.with_key("sk_demo_1_read"), payment_id).items():
        for answer in answers:
            if wanted == "payments:read":
                assert answer.status_code == 200, answer.text
            else:
                lacks(answer, wanted)


@pytest.mark.parametrize("name", ["show", "tracking"])
def test_a_caller_who_may_not_read_is_not_let_in_as_the_public(mall: Mall, merchant: httpx2.Client, name: str) -> None:
    writer = mall.with_key(made(merchant, "payments:write")["key"])
    lacks(writer.get(f"{BASE}/{pay_link(merchant)}/{name}"), "payments:read")


def test_nobody_gives_a_scope_away_that_he_does_not_have(mall: Mall, merchant: httpx2.Client) -> None:
    manager = mall.with_key(made(merchant, "keys:manage", "payments:read")["key"])
    lacks(manager.post(KEYS, json={"name": "more", "scopes": ["payments:write"]}), "payments:write")
    lacks(manager.post(KEYS, json={"name": "more", "scopes": ["payments:read", "refunds:write"]}), "refunds:write")
    assert made(manager, "payments:read")["scopes"] == ["payments:read"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "n"},
        {"scopes": ["payments:read"]},
        {"name": 7, "scopes": ["payments:read"]},
        {"name": "n", "scopes": "payments:read"},
        {"name": "n", "scopes": ["canary:fly"]},
        {"name": "n", "scopes": ["payments:read", 7]},
        {"name": "n", "scopes": None},
        [],
    ],
    ids=repr,
)
def test_a_key_that_is_not_described_is_not_made(mall: Mall, body: Any) -> None:
    malformed(mall.merchant(3).post(KEYS, json=body), "canary")


def test_a_secret_is_never_answered_twice(merchant: httpx2.Client) -> None:
    """Ruling 25: an answer that carries a secret is not stored."""
    headers = {"Idempotency-Key": a_key()}
    body = {"name": "once", "scopes": ["payments:read"]}
    first = merchant.post(KEYS, json=body, headers=headers)
    assert first.status_code == 201, first.text
    before = len(listed(merchant))
    again = merchant.post(KEYS, json=body, headers=headers)
    refusal(again, 409, "already_answered")
    assert first.json()["key"] not in again.text
    assert len(listed(merchant)) == before


# Revoking


def test_a_revoked_key_is_refused_by_the_next_request(mall: Mall, merchant: httpx2.Client) -> None:
    key = made(merchant, "payments:read")
    holder = mall.with_key(key["key"])
    assert holder.get(BASE).status_code == 200
    gone = merchant.delete(f"{KEYS}/{key['key_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    answer = holder.get(BASE)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Invalid API key", "code": "invalid_api_key"}
    again = merchant.delete(f"{KEYS}/{key['key_id']}")
    assert (again.status_code, again.content) == (204, b"")
    assert INSTANT.fullmatch(listed(merchant)[key["key_id"]]["revoked_at"])


@pytest.mark.parametrize("key_id", [NOWHERE, "7", "not-an-id", "%00", "sk_demo_1"])
def test_a_key_that_is_not_there_cannot_be_revoked(merchant: httpx2.Client, key_id: str) -> None:
    answer = merchant.delete(f"{KEYS}/{key_id}")
    assert answer.status_code == 404, answer.text
    assert set(answer.json()) == {"detail", "code"}


def test_a_strangers_key_is_not_there(mall: Mall, merchant: httpx2.Client, stranger: httpx2.Client) -> None:
    key = made(merchant, "payments:read", name="canary")
    assert stranger.delete(f"{KEYS}/{key['key_id']}").status_code == 404
    assert key["key_id"] not in listed(stranger)
    assert "canary" not in stranger.get(KEYS).text
    assert mall.with_key(key["key"]).get(BASE).status_code == 200


@pytest.fixture(scope="module")
def two_doors(start_kassa: StartKassa) -> Iterator[tuple[Mall, Mall]]:
    """Two processes on one database."""
    first = start_kassa(KASSA_SECRET=SECRET)
    second = start_kassa(database=first.dsn, KASSA_SECRET=SECRET)
    yield Mall(first), Mall(second)
    is_well(first)
    is_well(second)


def test_a_key_that_was_revoked_at_one_door_is_refused_at_the_other(two_doors: tuple[Mall, Mall]) -> None:
    here, there = two_doors
    for _ in range(5):
        key = made(here.merchant(1), "payments:read")
        for door in (there, here, there):
            assert door.with_key(key["key"]).get(BASE).status_code == 200
        assert here.merchant(1).delete(f"{KEYS}/{key['key_id']}").status_code == 204
        for door in (there, here):
            refusal(door.with_key(key["key"]).get(BASE), 401, "invalid_api_key", "Invalid API key")
