"""A late `finished` beside a newer payment, superseded payments, and links that expire (sections 3 and 4; F14)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest

from .provider import Provider, link
from .till import (
    BASE,
    Json,
    Mall,
    ask,
    becomes,
    is_well,
    ledger_of,
    opened,
    paid,
    pay_link,
    refunds_of,
    refusal,
    report,
    rush,
    settled,
    show,
    signature,
    status_of,
    tokens_used,
    track,
    until,
    wish,
)

if TYPE_CHECKING:
    from tests.conftest import StartKassa


def failed_and_newer(mall: Mall, who: httpx2.Client) -> tuple[Json, str, str]:
    """An order whose first payment was declined, and whose second waits for the buyer."""
    body = wish()
    late = pay_link(who, body)
    settled(report(mall, late, "failed"), "payment updated", late, "PAYMENT_FAILED")
    return body, late, pay_link(who, body)


def is_given_back(mall: Mall, who: httpx2.Client, payment_id: str) -> None:
    """Kassa refunded all of it by itself, within F14's sixty seconds and in fact at once."""
    found = becomes(who, payment_id, 6, within=20)
    assert (found["captured"], found["refundable"]) == ("349.70", "0.00")
    until(lambda: refunds_of(who, payment_id)["refunded"] == "349.70", 20, "the money went back")
    [refund] = refunds_of(who, payment_id)["items"]
    assert (refund["amount"], refund["status"]) == ("349.70", "succeeded")
    [call] = mall.provider.refunds(payment_id)
    assert (call.body["amount"], call.headers["idempotency-key"]) == ("349.70", refund["refund_id"])
    assert ledger_of(who, payment_id)["balance"] == "0.00"


def test_late_money_replaces_a_newer_payment_that_waits(mall: Mall, merchant: httpx2.Client) -> None:
    body, late, newer = failed_and_newer(mall, merchant)
    settled(report(mall, late), "payment updated", late, "PAYMENT_FINISHED")
    found = show(merchant, newer)
    assert (status_of(merchant, late), found["status"], found["status_name"], found["reason"]) == (
        2,
        3,
        "PAYMENT_FAILED",
        "superseded",
    )
    assert "EVENT_PAYMENT_CANCELLED" in [event["event_name"] for event in track(merchant, newer) if event["event_type"] == 5]
    told = {"payment_id": late, "status": "PAYMENT_FINISHED", "payment_url": link(late)}
    refusal(ask(merchant, body), 400, "payment_already_exists", "Payment already exists", **told)
    assert mall.provider.refunds(late) == []


def test_late_money_beside_a_newer_payment_that_is_paid_goes_back(mall: Mall, merchant: httpx2.Client) -> None:
    body, late, newer = failed_and_newer(mall, merchant)
    settled(report(mall, newer), "payment updated", newer, "PAYMENT_FINISHED")
    answer = report(mall, late)
    assert (answer.status_code, answer.json()["result"]["message"]) == (200, "payment updated")
    is_given_back(mall, merchant, late)
    assert (status_of(merchant, newer), show(merchant, newer)["refundable"]) == (2, "349.70")
    assert ask(merchant, body).json()["payment_id"] == newer


def test_a_superseded_payment_that_is_paid_after_all_goes_back(mall: Mall, merchant: httpx2.Client) -> None:
    body, late, newer = failed_and_newer(mall, merchant)
    report(mall, late)
    assert report(mall, newer).json()["result"]["message"] == "payment updated"
    is_given_back(mall, merchant, newer)
    assert (status_of(merchant, late), show(merchant, late)["refundable"]) == (2, "349.70")
    assert ask(merchant, body).json()["payment_id"] == late


def test_of_three_payments_of_one_order_one_keeps_the_money(mall: Mall, merchant: httpx2.Client) -> None:
    _, first, second = failed_and_newer(mall, merchant)
    report(mall, second, "failed")
    body = {**wish(), "order_id": show(merchant, first)["order_id"]}
    third = pay_link(merchant, body)
    for payment_id in (second, third, first):
        assert report(mall, payment_id).status_code == 200
    assert status_of(merchant, second) == 2
    for payment_id in (first, third):
        is_given_back(mall, merchant, payment_id)


def test_after_the_keeper_is_refunded_late_money_may_be_kept(mall: Mall, merchant: httpx2.Client) -> None:
    """Nobody holds the order any more."""
    _, late, newer = failed_and_newer(mall, merchant)
    report(mall, newer)
    answer = merchant.post(f"{BASE}/{newer}/refunds", json={}, headers={"Idempotency-Key": f"all-of-{newer}"})
    assert answer.status_code == 201
    becomes(merchant, newer, 6)
    settled(report(mall, late), "payment updated", late, "PAYMENT_FINISHED")
    assert show(merchant, late)["refundable"] == "349.70"


def test_when_all_reports_come_at_once_one_payment_keeps_the_money(mall: Mall, merchant: httpx2.Client) -> None:
    orders = [failed_and_newer(mall, merchant) for _ in range(8)]
    posts = []
    for _, late, newer in orders:
        for payment_id in (late, newer) * 3:
            raw = json.dumps({"payment_id": payment_id, "status": "finished"}).encode()
            posts.append((f"{BASE}/webhook", raw, {"X-Internal-Signature": signature(mall.server.webhook_secret, raw)}))
    assert {answer.status_code for answer in rush(mall.server, posts)} == {200}
    for body, *pair in orders:
        until(lambda pair=pair: sorted(status_of(merchant, each) for each in pair) == [2, 6], 20, "one keeps it")
        until(
            lambda pair=pair: sorted(ledger_of(merchant, each)["balance"] for each in pair) == ["0.00", "349.70"],
            20,
            "one went back",
        )
        assert ask(merchant, body).json()["status"] == "PAYMENT_FINISHED"


def test_order_ids_of_another_merchant_are_not_superseded(mall: Mall, merchant: httpx2.Client, stranger: httpx2.Client) -> None:
    body, late, _ = failed_and_newer(mall, merchant)
    theirs = pay_link(stranger, body)
    report(mall, late)
    assert status_of(stranger, theirs) == 1


# Links that expire


@pytest.fixture(scope="module")
def hasty(start_kassa: StartKassa) -> Iterator[Mall]:
    """A Kassa whose links live two seconds."""
    provider = Provider()
    server = start_kassa(PROVIDER_URL=provider.url, PAYMENT_LINK_TTL_S=2)
    yield Mall(server, provider)
    is_well(server)
    provider.stop()


@pytest.fixture(scope="module")
def expired(hasty: Mall) -> dict[str, tuple[Json, str]]:
    """Some payments whose links have expired: each with its body. One more was paid in time."""
    who = hasty.merchant(1)
    in_time = wish()
    made: dict[str, tuple[Json, str]] = {"paid in time": (in_time, paid(hasty, who, in_time))}
    for name in ("plain", "late", "late beside a paid one", "late beside a waiting one"):
        body = wish()
        made[name] = (body, pay_link(who, body))
    for name, (_, payment_id) in made.items():
        if name != "paid in time":
            becomes(who, payment_id, 3, within=15)
    return made


def test_a_link_that_nobody_uses_expires(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    who, payment_id = hasty.merchant(1), expired["plain"][1]
    found = show(who, payment_id)
    assert (found["status"], found["status_name"], found["captured"]) == (3, "PAYMENT_FAILED", "0.00")
    assert isinstance(found["reason"], str)
    assert "EVENT_PAYMENT_EXPIRED" in [event["event_name"] for event in track(who, payment_id) if event["event_type"] == 7]


def test_a_link_that_was_paid_in_time_does_not_expire(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    assert status_of(hasty.merchant(1), expired["paid in time"][1]) == 2


def test_an_expired_link_gives_no_token_back_and_makes_room(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    who = hasty.merchant(8)
    body = wish()
    first = pay_link(who, body)
    becomes(who, first, 3, within=15)
    assert tokens_used(who) == 1
    second = pay_link(who, body)
    assert (first != second, tokens_used(who)) == (True, 2)


def test_money_for_an_expired_link_is_taken(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    payment_id = expired["late"][1]
    settled(report(hasty, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")
    assert status_of(hasty.merchant(1), payment_id) == 2


def test_money_for_an_expired_link_goes_back_beside_a_paid_one(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    body, late = expired["late beside a paid one"]
    who = hasty.merchant(1)
    newer = paid(hasty, who, body)
    assert report(hasty, late).status_code == 200
    is_given_back(hasty, who, late)
    assert status_of(who, newer) == 2


def test_money_for_an_expired_link_replaces_a_waiting_one(hasty: Mall, expired: dict[str, tuple[Json, str]]) -> None:
    body, late = expired["late beside a waiting one"]
    who = hasty.merchant(1)
    answer = ask(who, body)
    assert report(hasty, late).status_code == 200
    assert status_of(who, late) == 2
    assert becomes(who, opened(answer), 3, within=15)["reason"] == "superseded"
