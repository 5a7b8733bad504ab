"""What becomes of a payment: simulated money within two seconds, or waiting; with its events, its books and its refunds."""

from __future__ import annotations

import time

import pytest
from tests.contracts.grpc.callers import (
    Caller,
    Json,
    a_word,
    an_order,
    http,
    report,
    reported,
    settled,
)
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING, SUCCEEDED
from tests.rig import Server
from tests.unit.shell.processes import run

PAID = (SUCCEEDED, "Payment succeeded")
DECLINED = (FAILED, "Payment declined")
WAITING = (PENDING, "Payment initiated")


def events_of(server: Server, payment_id: str) -> list[str]:
    rows = server.sql("SELECT type FROM events WHERE subject = $1 ORDER BY sequence", f"payment:{payment_id}")
    return [row["type"] for row in rows]


def refund(server: Server, payment_id: str, amount: str, key: str) -> Json:
    with http(server, "sk_demo_2") as merchant:
        body = {"amount": amount, "reason": "damaged"}
        answer = merchant.post(f"/api/v1/payments/{payment_id}/refunds", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize(
    ("order", "state"),
    [
        ({}, PAID),
        ({"amount_minor": 1}, PAID),
        ({"amount_minor": 1020}, PAID),
        ({"amount_minor": 200}, PAID),
        ({"amount_minor": 10**15 - 1}, PAID),
        ({"metadata": {"user_id": "user-789"}}, PAID),
        ({"metadata": {"simulate": "accept"}}, PAID),
        ({"amount_minor": 2}, DECLINED),
        ({"amount_minor": 1302}, DECLINED),
        ({"amount_minor": 502, "currency": "JPY"}, DECLINED),
        ({"metadata": {"simulate": "decline"}}, DECLINED),
        ({"metadata": {"simulate": "decline", "user_id": "user-789"}}, DECLINED),
    ],
)
def test_a_simulated_payment_is_decided_within_two_seconds(nobody: Caller, order: Json, state: tuple[int, str]) -> None:
    assert settled(nobody, nobody.pay(**order).payment_id) == state


def test_a_decided_payment_stays_decided(nobody: Caller) -> None:
    paid, declined = nobody.pay().payment_id, nobody.pay(amount_minor=1302).payment_id
    assert (settled(nobody, paid), settled(nobody, declined)) == (PAID, DECLINED)
    assert settled(nobody, nobody.pay().payment_id) == PAID, "later ones pass them"
    assert (nobody.state(paid), nobody.state(declined)) == (PAID, DECLINED)


def test_a_payment_that_is_told_to_wait_waits_until_somebody_settles_it(server: Server, nobody: Caller) -> None:
    waiting = nobody.pay(metadata={"simulate": "wait"}).payment_id
    for _ in range(2):
        assert settled(nobody, nobody.pay().payment_id) == PAID
        assert nobody.state(waiting) == WAITING, "later ones pass it"
    done = run(server.home, "payments", "settle", waiting, DATABASE_URL=server.dsn, PRODUCTION="false")
    assert done.returncode == 0, done.stderr
    assert settled(nobody, waiting) == PAID
    assert events_of(server, waiting)[-1] == "payment.paid"


def test_a_payment_that_waits_too_long_expires(strict: Server, meet: Meet) -> None:
    caller = meet(strict.grpc)
    began = time.monotonic()
    order = an_order(metadata={"simulate": "wait"})
    waiting = caller.pay(**order)
    paid = caller.pay().payment_id
    assert settled(caller, waiting.payment_id, within=15) == (FAILED, "Payment expired")
    assert time.monotonic() - began >= 1.9, "not before its time"
    assert caller.pay(**order).data == waiting.data
    assert caller.state(paid) == PAID, "what is paid does not expire"


def test_the_webhook_does_not_settle_what_is_simulated(server: Server, nobody: Caller) -> None:
    waiting = nobody.pay(metadata={"simulate": "wait"}).payment_id
    assert reported(server, waiting, "finished") == "other provider"
    assert nobody.state(waiting) == WAITING
    assert report(server, waiting, "finished", secret="somebody-elses").status_code == 403


@pytest.mark.parametrize(("amount", "word"), [(1250, "payment.paid"), (1302, "payment.declined")])
def test_each_change_has_its_event(server: Server, nobody: Caller, amount: int, word: str) -> None:
    order = an_order(amount_minor=amount)
    payment = nobody.pay(**order).payment_id
    assert events_of(server, payment)[:1] == ["payment.created"], "as soon as it is answered"
    settled(nobody, payment)
    assert events_of(server, payment) == ["payment.created", word]
    nobody.pay(**order)
    assert events_of(server, payment) == ["payment.created", word], "a repeat is no event"


def test_money_has_its_ledger_entry_and_what_was_declined_has_none(server: Server, shop: Caller) -> None:
    paid, declined = (shop.pay(amount_minor=amount, currency="JPY").payment_id for amount in (1250, 1302))
    assert (settled(shop, paid), settled(shop, declined)) == (PAID, DECLINED)
    with http(server, "sk_demo_2") as merchant:
        book = merchant.get(f"/api/v1/payments/{paid}/ledger").raise_for_status().json()
        empty = merchant.get(f"/api/v1/payments/{declined}/ledger").raise_for_status().json()
    assert (book["currency"], book["balance"]) == ("JPY", "1250")
    [entry] = book["entries"]
    assert entry["kind"] == "capture"
    amounts = {posting["account"]: posting["amount"] for posting in entry["postings"]}
    assert amounts["merchant:2"] == "-1250"
    assert sorted(amounts.values()) == ["-1250", "1250"]
    assert (empty["balance"], empty["entries"]) == ("0", [])


def test_a_refunded_payment_says_so_and_the_key_still_gives_the_first_answer(server: Server, shop: Caller) -> None:
    order = an_order(currency="EUR")
    first = shop.pay(**order)
    assert settled(shop, first.payment_id) == PAID
    assert refund(server, first.payment_id, "2.50", a_word("refund"))["status"] == "succeeded"
    assert shop.state(first.payment_id) == PAID, "a part of it is not the whole"
    # The key of the payment does for the refund, too: the keys of HTTP are others.
    assert refund(server, first.payment_id, "10.00", order["idempotency_key"])["refundable"] == "0.00"
    assert shop.state(first.payment_id) == (SUCCEEDED, "Payment refunded")
    assert shop.pay(**order).data == first.data


def test_subscription_tokens_are_not_spent(server: Server, meet: Meet) -> None:
    taster, lapsed = meet(server.grpc, x_api_key="sk_demo_8"), meet(server.grpc, x_api_key="sk_demo_7")
    payments = [taster.pay().payment_id for _ in range(5)]
    assert len(set(payments)) == 5, "of the three tokens that it has"
    assert settled(lapsed, lapsed.pay().payment_id) == PAID
