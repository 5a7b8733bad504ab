"""`kassa merchants`: an operator takes in merchants, sells them plans, gives and takes keys, and says who serves an alias."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run

SECRET = "c2l4dHktZm91ciBiaXRzIHRpbWVzIGZvdXIgYXJlIHQ="


class Typed(Protocol):
    def __call__(self, *words: str) -> Any: ...


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture
def typed(short_home: Path, dsn: str) -> Iterator[Typed]:
    """Type a command with --json and read what it says."""

    def type_(*words: str) -> Any:
        done = run(short_home, "merchants", *words, "--json", DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=SECRET)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield type_
    assert not short_home.exists(), "production makes no folder of its own"


def no(home: Path, dsn: str, *words: str) -> str:
    return refused(run(home, "merchants", *words, DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=SECRET))


def test_a_merchant_is_taken_in_with_plan_and_key_in_one_go(typed: Typed, dsn: str) -> None:
    typed("plan", "starter", "--name", "Starter", "--price", "4.99", "--currency", "usd", "--tokens", "500")
    made = typed(
        "add", "42", "--name", "Corner Shop", "--email", "o@example.com", "--currency", "eur", "--plan", "starter", "--key"
    )
    assert made["before"] is None
    assert (made["after"]["currency"], made["after"]["tokens_left"]) == ("EUR", 500)
    (kept,) = rig.query(dsn, "SELECT key_hash FROM api_key_hashes WHERE merchant_id = '42'")
    assert kept["key_hash"] == hashlib.sha256(made["key"].encode()).digest()
    shown = typed("show", "42")
    assert (shown["email"], shown["subscriptions"][0]["price"], len(shown["keys"][0]["scopes"])) == ("o@example.com", "4.99 USD", 7)
    assert made["key"] not in json.dumps(shown)
    listed = typed("list")["merchants"]
    assert [each["merchant_id"] for each in listed] == ["42"]
    assert "o@example.com" not in json.dumps(listed)


def test_all_of_it_or_nothing(short_home: Path, dsn: str) -> None:
    words = ("add", "43", "--name", "A", "--email", "a@example.com", "--currency", "USD", "--plan", "nothing")
    assert no(short_home, dsn, *words) == "There is no such plan"
    assert rig.query(dsn, "SELECT 1 FROM merchants WHERE merchant_id = '43'") == []


def test_tokens_are_filled_up_and_a_subscription_is_switched_off_and_on(typed: Typed) -> None:
    typed("plan", "small", "--name", "Small", "--price", "0", "--currency", "USD", "--tokens", "10")
    typed("add", "44", "--name", "B", "--email", "b@example.com", "--currency", "JPY", "--plan", "small")
    more = typed("subscribe", "44", "small", "--tokens", "5")
    assert (more["before"]["tokens_left"], more["after"]["tokens_left"]) == (10, 15)
    off = typed("suspend", "44", "small")
    assert (off["before"]["status"], off["after"]["status"]) == ("active", "inactive")
    assert typed("activate", "44", "small")["after"]["status"] == "active"
    assert {"plan_id": "small", "name": "Small", "price": "0.00 USD", "tokens": 10} in typed("plans")["plans"]


def test_a_key_is_shown_once_and_revoked_for_good(typed: Typed) -> None:
    typed("add", "45", "--name", "C", "--email", "c@example.com", "--currency", "USD")
    made = typed("key", "45", "--name", "reporting", "--scope", "payments:read")
    assert made["key"].startswith("sk_")
    assert made["after"]["scopes"] == ["payments:read"]
    key_id = made["after"]["key_id"]
    gone = typed("revoke", "45", key_id)
    assert (gone["before"]["revoked_at"], bool(gone["after"]["revoked_at"])) == (None, True)
    assert typed("revoke", "45", key_id)["after"] == gone["after"]
    assert [each["key_id"] for each in typed("keys", "45")["keys"]] == [key_id]


def test_rules_of_an_alias_stand_in_their_order(typed: Typed) -> None:
    typed("route", "cards", "--provider", "adyen", "--currency", "EUR", "--from", "100", "--to", "500.50", "--share", "30")
    after = typed("route", "cards", "--provider", "stripe")["after"]
    assert [(rule["position"], rule["provider"], rule["from"], rule["to"], rule["share"]) for rule in after] == [
        (1, "adyen", "100.00 EUR", "500.50 EUR", "30 %"),
        (2, "stripe", None, None, "100 %"),
    ]
    off = typed("unroute", "cards", "--position", "1")
    assert [rule["on"] for rule in off["after"]] == ["no", "yes"]
    assert [rule["on"] for rule in typed("routes")["routes"] if rule["alias"] == "cards"] == ["no", "yes"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "nobody"), "There is no such merchant"),
        (("keys", "nobody"), "There is no such merchant"),
        (("key", "nobody", "--name", "x", "--scope", "everything"), "--scope must be one of payments:read"),
        (("revoke", "1", "x"), "KEY_ID must be an id"),
        (("add", "a b", "--name", "A", "--email", "a@b", "--currency", "USD"), "MERCHANT must be"),
        (("add", "1", "--name", "A", "--email", "a@b", "--currency", "XXY"), "--currency must be"),
        (("add", "1", "--name", " ", "--email", "a@b", "--currency", "USD"), "--name must not be empty"),
        (("plan", "p", "--name", "P", "--price", "9.999", "--currency", "USD", "--tokens", "1"), "--price: has more decimals"),
        (("plan", "p", "--name", "P", "--price", "-1", "--currency", "USD", "--tokens", "1"), "--price must be an amount"),
        (("route", "a", "--provider", "b", "--from", "1"), "--from and --to need --currency"),
        (("route", "a", "--provider", "b", "--currency", "USD", "--from", "2", "--to", "1"), "--from is above --to"),
        (("unroute", "nothing", "--position", "1"), "no rule is on"),
        (("suspend", "nobody", "p"), "merchant nobody has no subscription"),
        (("subscribe", "nobody", "p"), "There is no such merchant"),
    ],
)
def test_what_cannot_be_done_is_one_kind_line(short_home: Path, dsn: str, words: tuple[str, ...], says: str) -> None:
    assert no(short_home, dsn, *words).startswith(says)


def test_people_read_tables_and_the_secret_stands_alone_on_its_line(short_home: Path, dsn: str) -> None:
    words = ("add", "46", "--name", "[/] Shop", "--email", "d@example.com", "--currency", "USD", "--key")
    done = run(short_home, "merchants", *words, DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    assert "before" in done.stdout
    assert "[/] Shop" in done.stdout
    assert len(done.stdout.splitlines()[-1]) == 46
    assert "[/] Shop" in run(short_home, "merchants", "list", DATABASE_URL=dsn, PRODUCTION="true").stdout


def test_production_needs_a_database(short_home: Path) -> None:
    assert refused(run(short_home, "merchants", "list", PRODUCTION="true")).startswith("DATABASE_URL is not set")
