"""Refunds (section 6): each row, exact sums, keys and races (F18)."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from .till import (
    BASE,
    INSTANT,
    NOWHERE,
    REFUND,
    UUID7,
    Json,
    Mall,
    a_key,
    give_back,
    is_replay_of,
    keyed,
    ledger_of,
    malformed,
    money,
    paid,
    pay_link,
    refunds_of,
    refusal,
    report,
    rush,
    show,
    status_of,
    wish,
)

NOT_REFUNDABLE = (400, "not_refundable", "Payment is not refundable")


def made(answer: httpx2.Response) -> Json:
    """A refund that was accepted, after looking at the whole answer."""
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    assert set(body) == REFUND | {"refunded", "refundable"}
    assert UUID7.fullmatch(body["refund_id"])
    assert INSTANT.fullmatch(body["created_at"])
    return body


def exceeds(answer: httpx2.Response, refundable: str) -> None:
    refusal(answer, 400, "refund_exceeds_captured", "Refund exceeds captured amount", refundable=refundable)


def test_the_example_of_the_contract_is_refunded(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    refund = made(give_back(merchant, payment_id, amount="10.00", reason="damaged"))
    told = {name: refund[name] for name in ("payment_id", "amount", "currency", "reason", "status", "refunded", "refundable")}
    assert told == {
        "payment_id": payment_id,
        "amount": "10.00",
        "currency": "USD",
        "reason": "damaged",
        "status": "succeeded",
        "refunded": "10.00",
        "refundable": "339.70",
    }
    assert status_of(merchant, payment_id) == 2


def test_the_provider_is_told_all_of_it_once(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(alias="paypal"))
    refund = made(give_back(merchant, payment_id, amount=10, reason="damaged"))
    [call] = mall.provider.refunds(payment_id)
    assert (call.method, call.path, call.headers["idempotency-key"]) == ("POST", "/refunds", refund["refund_id"])
    assert call.body == {
        "refund_id": refund["refund_id"],
        "payment_id": payment_id,
        "merchant_id": 1,
        "provider": "paypal",
        "amount": "10.00",
        "currency": "USD",
        "reason": "damaged",
    }


@pytest.mark.parametrize("body", [{}, {"reason": "all of it"}, {"whatever": 1, "status": "failed", "currency": "EUR"}], ids=str)
def test_without_a_sum_all_that_is_left_goes_back(mall: Mall, merchant: httpx2.Client, body: Json) -> None:
    payment_id = paid(mall, merchant)
    made(give_back(merchant, payment_id, amount="0.71"))
    last = made(give_back(merchant, payment_id, **body))
    assert (last["amount"], last["refunded"], last["refundable"], last["currency"]) == ("348.99", "349.70", "0.00", "USD")
    found = show(merchant, payment_id)
    assert (found["status"], found["status_name"], found["refunded"]) == (6, "PAYMENT_REFUNDED", "349.70")


@pytest.mark.parametrize(
    ("number", "price", "parts", "shown"),
    [
        (1, "10.00", ["0.01", "3.33", 3.33, "3.3300"], ["0.01", "3.33", "3.33", "3.33"]),
        (1, "0.30", [0.1, "0.1", "0.10"], ["0.10"] * 3),
        (5, "1000", [1, "333", "666.00"], ["1", "333", "666"]),
        (6, "1.250", ["0.001", "1.2", "0.0490"], ["0.001", "1.200", "0.049"]),
        (1, "9999999999999.99", ["9999999999999.98", "0.01"], ["9999999999999.98", "0.01"]),
    ],
)
def test_parts_make_the_whole_to_the_last_unit(mall: Mall, number: int, price: str, parts: list[Any], shown: list[str]) -> None:
    who = mall.merchant(number)
    payment_id = paid(mall, who, wish(price=price))
    left = Decimal(price)
    for part, text in zip(parts, shown, strict=True):
        assert status_of(who, payment_id) == 2
        refund = made(give_back(who, payment_id, amount=part))
        left -= Decimal(text)
        assert (refund["amount"], Decimal(refund["refundable"]), refund["status"]) == (text, left, "succeeded")
        assert Decimal(refund["refunded"]) + left == Decimal(price)
    assert (left, status_of(who, payment_id)) == (0, 6)
    found = refunds_of(who, payment_id)
    assert [item["amount"] for item in found["items"]] == shown
    assert (found["refunded"], found["captured"]) == (price, price)
    assert Decimal(ledger_of(who, payment_id)["balance"]) == 0


def test_the_list_of_refunds_is_oldest_first(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price="100"))
    empty = {
        "payment_id": payment_id,
        "currency": "USD",
        "captured": "100.00",
        "refunded": "0.00",
        "pending": "0.00",
        "refundable": "100.00",
        "items": [],
    }
    assert refunds_of(merchant, payment_id) == empty
    given = [made(give_back(merchant, payment_id, amount=amount, reason=f"no {amount}")) for amount in (1, 2, 3)]
    found = refunds_of(merchant, payment_id)
    assert {name: found[name] for name in empty if name != "items"} == {
        **{name: empty[name] for name in ("payment_id", "currency", "captured", "pending")},
        "refunded": "6.00",
        "refundable": "94.00",
    }
    for item, refund in zip(found["items"], given, strict=True):
        assert set(item) - {"refunded", "refundable"} == REFUND
        assert {name: item[name] for name in REFUND} == {name: refund[name] for name in REFUND}


def test_a_payment_that_is_not_paid_has_nothing_to_refund(mall: Mall, merchant: httpx2.Client) -> None:
    found = refunds_of(merchant, pay_link(merchant))
    assert (found["captured"], found["refundable"], found["items"]) == ("0.00", "0.00", [])


# What is refused


@pytest.mark.parametrize("body", [{}, {"amount": "1.00"}, {"amount": "1000000.00"}], ids=str)
@pytest.mark.parametrize("state", ["waiting", "failed", "refunded"])
def test_what_is_not_paid_or_wholly_refunded_cannot_be_refunded(
    mall: Mall, merchant: httpx2.Client, state: str, body: Json
) -> None:
    payment_id = pay_link(merchant)
    if state == "failed":
        report(mall, payment_id, "failed")
    if state == "refunded":
        report(mall, payment_id)
        made(give_back(merchant, payment_id))
    refusal(give_back(merchant, payment_id, **body), *NOT_REFUNDABLE)
    assert len(mall.provider.refunds(payment_id)) == (state == "refunded")


def test_more_than_is_left_cannot_be_refunded(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    exceeds(give_back(merchant, payment_id, amount="349.71"), "349.70")
    made(give_back(merchant, payment_id, amount="337.40"))
    for amount in ("12.31", 12.31, "9999999999999.99"):
        exceeds(give_back(merchant, payment_id, amount=amount), "12.30")
    assert refunds_of(merchant, payment_id)["refundable"] == "12.30"
    made(give_back(merchant, payment_id, amount="12.30"))


@pytest.mark.parametrize(
    "amount",
    [
        0,
        -1,
        "-1",
        "0",
        "0.00",
        "1e1",
        "1,50",
        " 1",
        "+1",
        "",
        True,
        [],
        {},
        "NaN",
        "Infinity",
        "1.001",
        1.001,
        "\u0661",
        "9" * 40,
        "1.",
    ],
    ids=repr,
)
def test_what_is_no_money_cannot_be_refunded(mall: Mall, merchant: httpx2.Client, ready: str, amount: Any) -> None:
    malformed(give_back(merchant, ready, amount=amount))
    assert mall.provider.refunds(ready) == []


@pytest.fixture(scope="module")
def ready(mall: Mall) -> str:
    """A paid payment of which nothing is ever refunded."""
    return paid(mall, mall.merchant(1))


@pytest.mark.parametrize("raw", ["1e400", "1e-400", "1e999999999", "-0", "9" * 5000, "0e99999999"])
def test_a_sum_beyond_reason_is_refused(merchant: httpx2.Client, ready: str, raw: str) -> None:
    malformed(merchant.post(f"{BASE}/{ready}/refunds", content=f'{{"amount": {raw}}}', headers=keyed()))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"NaN", b"\xff", b'{"amount": NaN}', b'"canary"', b"7"], ids=repr)
def test_what_is_not_an_object_of_json_is_malformed(merchant: httpx2.Client, ready: str, raw: bytes) -> None:
    malformed(merchant.post(f"{BASE}/{ready}/refunds", content=raw, headers=keyed()), "canary")


@pytest.mark.parametrize("reason", ["x" * 256, "ü" * 256, 7, True, [], {}], ids=lambda reason: repr(reason)[:20])
def test_what_is_no_reason_is_malformed(merchant: httpx2.Client, ready: str, reason: Any) -> None:
    malformed(give_back(merchant, ready, amount="1.00", reason=reason))


@pytest.mark.parametrize("reason", ["", "x" * 255, "ü" * 255, "gebrochen, \"leider\" 'sehr'"], ids=lambda reason: repr(reason)[:20])
def test_a_reason_is_kept_as_it_is(mall: Mall, merchant: httpx2.Client, reason: str) -> None:
    payment_id = paid(mall, merchant)
    assert made(give_back(merchant, payment_id, amount=1, reason=reason))["reason"] == reason
    assert refunds_of(merchant, payment_id)["items"][0]["reason"] == reason


def test_lines_and_a_sum_together_are_malformed(merchant: httpx2.Client, ready: str) -> None:
    malformed(give_back(merchant, ready, amount="1.00", lines=[{"line_id": "prod_001", "quantity": 1}]))


def test_a_payment_without_lines_has_none_to_refund(mall: Mall, merchant: httpx2.Client, ready: str) -> None:
    refusal(give_back(merchant, ready, lines=[{"line_id": "prod_001", "quantity": 1}]), 400, "no_lines")
    assert mall.provider.refunds(ready) == []


def test_an_unknown_payment_is_not_found(merchant: httpx2.Client) -> None:
    for payment_id in (NOWHERE, "x", "1"):
        refusal(give_back(merchant, payment_id, amount=1), 404, "payment_not_found", "Payment not found")


# Keys


def test_a_refund_needs_a_key(mall: Mall, merchant: httpx2.Client, ready: str) -> None:
    answer = merchant.post(f"{BASE}/{ready}/refunds", json={"amount": "10.00"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "Idempotency-Key required", "code": "idempotency_key_required"})
    malformed(merchant.post(f"{BASE}/{ready}/refunds", json={"amount": "1e1"}))  # the body is judged before the key
    assert mall.provider.refunds(ready) == []


def test_a_repeated_refund_gets_the_same_bytes(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id, key = paid(mall, merchant), a_key()
    first = give_back(merchant, payment_id, key, amount="10.00")
    made(first)
    for amount in ("10.00", 10, "10"):
        is_replay_of(give_back(merchant, payment_id, key, amount=amount), first)
    made(give_back(merchant, payment_id, amount="10.00"))  # another key: another refund of the same sum
    is_replay_of(give_back(merchant, payment_id, key, amount="10.00"), first)
    assert [item["amount"] for item in refunds_of(merchant, payment_id)["items"]] == ["10.00", "10.00"]
    assert len(mall.provider.refunds(payment_id)) == 2


def test_another_body_under_the_same_key_is_refused(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id, key = paid(mall, merchant), a_key()
    made(give_back(merchant, payment_id, key, amount="10.00"))
    for body in ({"amount": "10.01"}, {"amount": "10.00", "reason": "damaged"}, {}):
        refusal(give_back(merchant, payment_id, key, **body), 422, "idempotency_mismatch")
    assert show(merchant, payment_id)["refunded"] == "10.00"


def test_another_payment_under_the_same_key_is_refused(mall: Mall, merchant: httpx2.Client) -> None:
    """Ruling 24: another path value is another payload."""
    one, other, key = paid(mall, merchant), paid(mall, merchant), a_key()
    made(give_back(merchant, one, key, amount="10.00"))
    refusal(give_back(merchant, other, key, amount="10.00"), 422, "idempotency_mismatch")
    assert show(merchant, other)["refunded"] == "0.00"


def test_a_key_in_the_body_stands_in_for_the_header(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id, key = paid(mall, merchant), a_key()
    body = {"amount": "10.00", "idempotency_key": key}
    path = f"{BASE}/{payment_id}/refunds"
    first = merchant.post(path, json=body)
    made(first)
    is_replay_of(merchant.post(path, json=body), first)
    is_replay_of(merchant.post(path, json=body, headers=keyed(key)), first)
    different = merchant.post(path, json=body, headers=keyed())
    assert different.status_code == 422, different.text
    assert show(merchant, payment_id)["refunded"] == "10.00"


def test_a_refused_refund_does_not_spend_the_key(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id, key = pay_link(merchant), a_key()
    refusal(give_back(merchant, payment_id, key, amount="10.00"), *NOT_REFUNDABLE)
    report(mall, payment_id)
    answer = give_back(merchant, payment_id, key, amount="10.00")
    made(answer)
    assert "Idempotent-Replayed" not in answer.headers


# Races


def post(payment_id: str, amount: str, key: str | None = None) -> tuple[str, Json, dict[str, str]]:
    return f"{BASE}/{payment_id}/refunds", {"amount": amount}, {"X-Api-Key": "sk_demo_1", **keyed(key)}


def test_fifty_refunds_of_ten_on_a_hundred_are_ten(mall: Mall, merchant: httpx2.Client) -> None:
    """F18."""
    payment_id = paid(mall, merchant, wish(price="100.00"))
    answers = rush(mall.server, [post(payment_id, "10.00") for _ in range(50)])
    assert Counter(answer.status_code for answer in answers) == {201: 10, 400: 40}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 400} <= {
        "refund_exceeds_captured",
        "not_refundable",
    }
    totals = sorted(Decimal(answer.json()["refundable"]) for answer in answers if answer.status_code == 201)
    assert totals[0] == 0
    found = refunds_of(merchant, payment_id)
    assert (found["refunded"], found["pending"], found["refundable"], len(found["items"])) == ("100.00", "0.00", "0.00", 10)
    assert money(item["amount"] for item in found["items"]) == 100
    assert (status_of(merchant, payment_id), ledger_of(merchant, payment_id)["balance"]) == (6, "0.00")
    ids = [call.body["refund_id"] for call in mall.provider.refunds(payment_id)]
    assert sorted(ids) == sorted(item["refund_id"] for item in found["items"])


def test_two_refunds_of_sixty_on_a_hundred_are_one(mall: Mall, merchant: httpx2.Client) -> None:
    for _ in range(5):
        payment_id = paid(mall, merchant, wish(price="100.00"))
        answers = rush(mall.server, [post(payment_id, "60.00") for _ in range(2)])
        [good] = [answer for answer in answers if answer.status_code == 201]
        [bad] = [answer for answer in answers if answer is not good]
        assert made(good)["refundable"] == "40.00"
        exceeds(bad, "40.00")
        assert status_of(merchant, payment_id) == 2


def test_twenty_whole_refunds_at_once_are_one(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    posts = [(f"{BASE}/{payment_id}/refunds", b"{}", {"X-Api-Key": "sk_demo_1", **keyed()}) for _ in range(20)]
    assert Counter(answer.status_code for answer in rush(mall.server, posts)) == {201: 1, 400: 19}
    assert [item["amount"] for item in refunds_of(merchant, payment_id)["items"]] == ["349.70"]


def test_twenty_presses_under_one_key_are_one_refund(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id, key = paid(mall, merchant), a_key()
    answers = rush(mall.server, [post(payment_id, "10.00", key)] * 20)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({json.dumps(answer.json()) for answer in answers if answer.status_code == 201}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_in_progress"}
    assert len(mall.provider.refunds(payment_id)) == 1
    assert show(merchant, payment_id)["refunded"] == "10.00"
