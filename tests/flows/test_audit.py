"""Every door by which people act has exactly one line in the audit log for each act, and none for an act that changes nothing."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests import rig
from tests.contracts.checkout.journeys import a_key, order_form, until
from typer.testing import CliRunner

from kassa.audit import ACTS

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import DatabaseServer, Server

HOOK = "http://127.0.0.1:9/hook"
Act = tuple[str, str, str]


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Server:
    return start_kassa()


def told(dsn: str) -> list[Act]:
    """Who did what to what: all merchants, in the order in which it happened."""
    rows = rig.query(dsn, "SELECT who_kind || ':' || who_name AS who, act, subject FROM audit_log ORDER BY at, merchant_id, place")
    return [(row["who"], row["act"], row["subject"]) for row in rows]


class Since:
    """What was told since it was made, or since it was last asked."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.seen = Counter(told(dsn))

    def acts(self) -> list[Act]:
        now = Counter(told(self.dsn))
        new, self.seen = now - self.seen, now
        return list(new.elements())


# Over HTTP


def good(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def test_staff_and_merchants_keys_over_http(shop: Server) -> None:
    since = Since(shop.dsn)
    seller = shop.client(headers={"X-Merchant-Id": "2"})
    made = good(seller.post("/api/v1/webhook-endpoints", json={"url": f"{HOOK}?token=secret-of-mine", "events": ["*"]}), 201)
    path, subject, gateway = f"/api/v1/webhook-endpoints/{made['endpoint_id']}", f"endpoint:{made['endpoint_id']}", "gateway:2"
    key = {"Idempotency-Key": a_key()}
    for _ in range(2):
        good(seller.patch(path, json={"events": ["payment.*"]}, headers=key))
    good(seller.post(f"{path}/rotate-secret", json={"overlap_s": 60}))
    for _ in range(2):
        good(seller.post(f"{path}/disable"))
    for _ in range(2):
        good(seller.post(f"{path}/enable"))
    assert seller.delete(path).status_code == 204
    assert seller.delete(path).status_code == 404
    acts = ("add", "change", "rotate", "disable", "enable", "delete")
    assert sorted(since.acts()) == sorted((gateway, f"endpoint.{act}", subject) for act in acts)
    assert "secret-of-mine" not in json.dumps(shop.sql("SELECT what FROM audit_log"))


def test_a_merchants_key_is_named_by_its_id(shop: Server) -> None:
    (row,) = shop.sql("SELECT count(*)::int AS n FROM api_keys WHERE merchant_id = '2'")
    runner = commands(shop.dsn, shop.home, KASSA_SECRET=shop.kassa_secret)
    secret = runner("merchants", "key", "2", "--name", "all")["key"]
    since = Since(shop.dsn)
    holder = shop.client(headers={"X-API-Key": secret})
    made = good(holder.post("/api/v1/api-keys", json={"name": "less", "scopes": ["payments:read"]}), 201)
    for _ in range(2):
        assert holder.delete(f"/api/v1/api-keys/{made['key_id']}").status_code == 204
    mine = good(holder.get("/api/v1/api-keys"))["items"][row["n"]]["key_id"]
    subject = f"key:{made['key_id']}"
    assert sorted(since.acts()) == [(f"key:{mine}", "key.make", subject), (f"key:{mine}", "key.revoke", subject)]


def test_staff_who_move_orders_and_money_that_goes_back(shop: Server) -> None:
    bought = good(shop.client(77).post("/checkout/process", json=order_form(), headers={"Idempotency-Key": a_key()}))
    (row,) = shop.sql("SELECT order_id::text AS order_id, payment_id::text AS payment_id FROM orders WHERE buyer_id = '77'")
    assert bought
    since, staff, key = Since(shop.dsn), shop.client(5, "staff"), {"Idempotency-Key": a_key()}
    for _ in range(3):
        good(staff.put(f"/api/orders/{row['order_id']}/status", json={"status": "processing"}, headers=key))
    refused = staff.put(f"/api/orders/{row['order_id']}/status", json={"status": "delivered"})
    assert refused.status_code == 409, refused.text
    house = shop.client(headers={"X-Merchant-Id": "1"})
    again = {"Idempotency-Key": a_key()}
    for _ in range(2):
        good(house.post(f"/api/v1/payments/{row['payment_id']}/refunds", json={"amount": "1.00"}, headers=again), 201)
    buyer = shop.client(77)
    good(buyer.put(f"/api/orders/{row['order_id']}/status", json={"status": "cancelled"}))
    until(lambda: not shop.sql("SELECT 1 FROM refunds WHERE status = 'pending'"), 20, "the money is back")
    order, payment = f"order:{row['order_id']}", f"payment:{row['payment_id']}"
    assert sorted(since.acts()) == [("gateway:1", "payment.refund", payment), ("staff:5", "order.move", order)]


# Commands


def commands(dsn: str, home: Path, **settings: str) -> Any:
    """Give commands in this process: `give("merchants", "list")`; what it said as JSON."""
    runner = CliRunner()
    environment = {"DATABASE_URL": dsn, "KASSA_HOME": str(home), "PRODUCTION": "false", **settings}

    def give(*words: str, code: int = 0) -> Any:
        from kassa.cli.app import app

        done = runner.invoke(app, [*words, "--json"], env=environment)
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout) if code in {0, 1} and done.stdout else None

    return give


@pytest.fixture(scope="module")
def desk(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, Path]:
    """An operator's desk over a database with the demo data."""
    dsn, home = database_server.fresh(), tmp_path_factory.mktemp("operator")
    give = commands(dsn, home)
    give("seed")
    return give, dsn, home


def test_each_command_that_changes_something_has_one_line_and_its_repeat_none(desk: tuple[Any, str, Path]) -> None:
    give, dsn, home = desk
    key_file = home / "key"
    key_file.write_text("x7%Kassa&Audit?Only@Key#36$Chars=000")
    since, me = Since(dsn), f"operator:{getpass.getuser()}"
    cashbox = ("merchants", "payme", "set", "42", "--id", "650000000000000000000042", "--key-file", str(key_file), "--test")
    steps: tuple[tuple[tuple[str, ...], str, str, bool], ...] = (
        (("merchants", "plan", "9", "--name", "Nine", "--price", "1.00", "--currency", "USD", "--tokens", "5"), "plan.add", "plan:9", True),
        (("merchants", "add", "42", "--name", "S", "--email", "s@example.com", "--currency", "UZS"), "merchant.add", "merchant:42", True),
        (("merchants", "suspend", "42", "9"), "subscription.suspend", "subscription:42:9", False),
        (("merchants", "activate", "42", "9"), "subscription.activate", "subscription:42:9", False),
        (("merchants", "route", "cards", "--provider", "stripe", "--position", "7"), "route.add", "route:cards:7", True),
        (("merchants", "unroute", "cards", "--position", "7"), "route.remove", "route:cards:7", True),
        (cashbox, "cashbox.set", "cashbox:42", False),
        (("merchants", "payme", "unset", "42"), "cashbox.remove", "cashbox:42", True),
        (
            ("merchants", "payme", "fiscal", "1", "ambassadors", "--code", "06912001001000000", "--package", "1500001", "--vat", "12"),
            "fiscal.set", "fiscal:ambassadors:*", False,
        ),
    )  # fmt: skip
    for words, act, subject, refused in steps:
        if act == "subscription.suspend":
            give("merchants", "subscribe", "42", "9", "--tokens", "3")
            assert since.acts() == [(me, "subscription.fill", "subscription:42:9")]
        give(*words, "--why", f"because of {act}")
        assert since.acts() == [(me, act, subject)], words
        (fails if refused else again)(give, *words)
        assert since.acts() == [], f"the repeat of {words}"
    whys = rig.query(dsn, "SELECT act, why FROM audit_log WHERE why IS NOT NULL")
    assert {row["act"]: row["why"] for row in whys} == {act: f"because of {act}" for _, act, _, _ in steps}


def again(give: Any, *words: str) -> None:
    """It is given once more, and is well."""
    give(*words)


def fails(give: Any, *words: str) -> None:
    """It is refused; `CliRunner` shows the error itself."""
    with pytest.raises(AssertionError):
        give(*words)


def test_keys_and_endpoints_by_an_operator(desk: tuple[Any, str, Path]) -> None:
    give, dsn, _ = desk
    since, me = Since(dsn), f"operator:{getpass.getuser()}"
    key_id = give("merchants", "key", "2", "--name", "a key")["after"]["key_id"]
    for _ in range(2):
        give("merchants", "revoke", "2", key_id)
    assert sorted(since.acts()) == [(me, "key.make", f"key:{key_id}"), (me, "key.revoke", f"key:{key_id}")]


def test_a_case_a_word_about_a_payment_and_a_statement(desk: tuple[Any, str, Path]) -> None:
    give, dsn, home = desk
    rig.query(
        dsn,
        "INSERT INTO cases (merchant_id, case_id, kind, subject, act, opened_at) VALUES"
        " ('1', '019b76da-a801-7d90-a2b6-4c7f1e3d5b62', 'amount_mismatch', 'payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b63', '', now())",
    )
    since, me = Since(dsn), f"operator:{getpass.getuser()}"
    give("payments", "close", "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "--reason", "written off")
    fails(give, "payments", "close", "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "--reason", "written off")
    assert since.acts() == [(me, "case.close", "case:019b76da-a801-7d90-a2b6-4c7f1e3d5b62")]
    file = home / "statement.csv"
    file.write_text(
        "payment_id,kind,amount,currency,occurred_at\n019b76da-a801-7d90-a2b6-4c7f1e3d5b62,charge,10.00,USD,2026-01-02T10:00:00Z\n"
    )
    for _ in range(2):
        give("reconcile", "--provider", "stripe", str(file), code=1)
    assert since.acts() == [(me, "reconcile.note", "statement:stripe")]


def test_the_log_is_shown_page_by_page_and_checked(desk: tuple[Any, str, Path]) -> None:
    give, dsn, _ = desk
    for number in range(3):
        give("merchants", "key", "3", "--name", f"key {number}")
    page = give("audit", "list", "--merchant", "3", "--limit", "2")["lines"]
    rest = give("audit", "list", "--merchant", "3", "--before", str(page[-1]["line"]))["lines"]
    assert [line["line"] for line in page + rest] == list(range(len(page + rest), 0, -1))
    assert {line["act"] for line in page} == {"key.make"} <= set(ACTS)
    fails(give, "audit", "list", "--before", "3")
    chains = give("audit", "check")["chains"]
    heads = {chain["merchant_id"]: chain["head"] for chain in chains}
    assert {chain["broken"] for chain in chains} == {None}
    assert give("audit", "check", "--head", heads["3"])["chains"]
    rig.query(dsn, "DELETE FROM audit_log WHERE merchant_id = '3' AND place = 3")
    rig.query(
        dsn,
        "UPDATE audit_heads h SET last = 2, hash = l.hash FROM audit_log l"
        " WHERE h.merchant_id = '3' AND l.merchant_id = '3' AND l.place = 2",
    )
    assert give("audit", "check", "--merchant", "3")["chains"][0]["broken"] is None, "nobody here can know"
    cut = give("audit", "check", "--head", heads["3"], code=1)["chains"]
    assert [chain["merchant_id"] for chain in cut if chain["broken"]] == ["3"]
    rig.query(dsn, "UPDATE audit_log SET why = 'another' WHERE merchant_id = '42' AND place = 1")
    broken = {chain["merchant_id"]: chain["broken"] for chain in give("audit", "check", code=1)["chains"]}
    assert broken["42"] == {"line": 1, "why": "it is not as it was written"}
    assert broken["1"] is None


def test_an_operator_without_the_secret_changes_nothing(desk: tuple[Any, str, Path], tmp_path: Path) -> None:
    _, dsn, _ = desk
    stranger = commands(dsn, tmp_path / "stranger")
    since = Since(dsn)
    before = rig.query(dsn, "SELECT count(*)::int AS n FROM api_keys")
    fails(stranger, "merchants", "key", "2", "--name", "mine")
    assert (since.acts(), rig.query(dsn, "SELECT count(*)::int AS n FROM api_keys")) == ([], before)
