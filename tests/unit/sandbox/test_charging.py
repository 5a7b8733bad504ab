"""The stand-in for the payment service: charges, questions by key, refunds."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest


async def refund(caller: Any, transaction: str, amount: str, key: str) -> Any:
    body = {"amount": Decimal(amount), "idempotency_key": key}
    return await caller.ask("POST", f"/payment/payments/{transaction}/refund", body, Idempotency_Key=key)


async def test_a_card_is_charged_as_documented(caller: Any) -> None:
    answer = await caller.charge()
    assert answer.status == 200
    assert answer.json == {
        "status": "success",
        "transactionId": answer.json["transactionId"],
        "message": "Payment processed successfully",
    }
    (charge,) = (await caller.book(service="payment"))["charges"]
    assert charge["amount"] == "349.7"
    assert charge["key"] == "chk-1:payment"
    assert (charge["brand"], charge["first6"], charge["last4"]) == ("visa", "411111", "1111")
    assert charge["booked_at"].endswith("Z")


@pytest.mark.parametrize(
    ("amount", "card", "error"),
    [
        ("1000.01", "", "insufficient_funds"),
        ("1000", "4000 0000 0000 0002", "card_declined"),
        ("1000.01", "4000000000000002", "insufficient_funds"),
    ],
)
async def test_too_much_and_the_unlucky_card_are_declined(caller: Any, amount: str, card: str, error: str) -> None:
    answer = await caller.charge(amount=amount, card=card)
    assert (answer.status, answer.json["status"], answer.json["error"]) == (422, "failed", error)
    assert (await caller.book())["charges"] == []


async def test_exactly_a_thousand_is_paid(caller: Any) -> None:
    assert (await caller.charge(amount="1000.00")).status == 200


async def test_an_insufficient_card_says_the_documented_sentence(caller: Any) -> None:
    assert (await caller.charge(amount="1098.9")).json["message"] == "Insufficient funds in account"


async def test_fifty_calls_with_one_key_are_one_charge_and_one_answer(caller: Any) -> None:
    answers = await asyncio.gather(*(caller.charge() for _ in range(50)))
    assert len({answer.raw for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers) == 49
    assert len((await caller.book())["charges"]) == 1


async def test_a_key_used_for_another_amount_is_refused(caller: Any) -> None:
    await caller.charge(amount="10")
    assert (await caller.charge(amount="10.00")).status == 200
    answer = await caller.charge(amount="11")
    assert (answer.status, answer.json["error"]) == (422, "idempotency_key_reused")


async def test_without_a_key_every_call_is_a_charge(caller: Any) -> None:
    await caller.charge(key=None)
    await caller.charge(key=None)
    assert len((await caller.book())["charges"]) == 2


@pytest.mark.parametrize("key", ["chk-1:payment", "a/b c%d?e", 'x"y&z=+'])
async def test_a_key_can_be_asked_for(caller: Any, key: str) -> None:
    path = "/payment/payments/by-key/" + quote(key, safe="")
    answer = await caller.ask("GET", path)
    assert (answer.status, answer.json) == (404, {"status": "never_seen", "key": key})
    charged = await caller.charge(key=key)
    answer = await caller.ask("GET", path)
    assert (answer.status, answer.raw) == (200, charged.raw)


async def test_a_declined_key_answers_its_no(caller: Any) -> None:
    declined = await caller.charge(amount="2000")
    answer = await caller.ask("GET", "/payment/payments/by-key/chk-1:payment")
    assert (answer.status, answer.raw) == (200, declined.raw)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"amount": -1}, "invalid_amount"),
        ({"amount": True}, "invalid_amount"),
        ({"amount": None}, "invalid_amount"),
        ({"amount": Decimal("1e400")}, "invalid_amount"),
        ({"payment_method": None}, "invalid_card"),
        ({"payment_method": {"card_number": "41111111x1111"}}, "invalid_card"),
    ],
)
async def test_nonsense_is_a_clean_no(caller: Any, change: dict[str, Any], error: str) -> None:
    body = {"amount": 1, "payment_method": {"card_number": "4111111111111111"}} | change
    raw = b'{"amount":1e400,"payment_method":{}}' if isinstance(change.get("amount"), Decimal) else body
    answer = await caller.ask("POST", "/payment/payments/process", raw)
    assert (answer.status, answer.json["error"]) == (422, error)


async def test_what_is_no_json_is_refused_and_its_key_stays_free(caller: Any) -> None:
    path = "/payment/payments/process"
    for raw in (b"{", b"\xff", b'{"a":"\\ud800"}', b'{"a":NaN}', b"[" * 100_000):
        answer = await caller.ask("POST", path, raw, Idempotency_Key="chk-1:payment")
        assert (answer.status, answer.json["error"]) == (400, "malformed_json")
    assert (await caller.charge()).status == 200


async def test_a_refund_is_done_once_per_key(caller: Any) -> None:
    transaction = (await caller.charge()).json["transactionId"]
    first = await refund(caller, transaction, "349.7", "chk-1:refund")
    again = await refund(caller, transaction, "349.70", "chk-1:refund")
    assert (first.status, first.json["status"], first.raw) == (200, "refunded", again.raw)
    assert (await refund(caller, transaction, "349.7", "chk-2:refund")).status == 409
    assert [one["amount"] for one in (await caller.book())["refunds"]] == ["349.7"]


async def test_refunds_in_parts_never_exceed_the_charge(caller: Any) -> None:
    transaction = (await caller.charge(amount="10")).json["transactionId"]
    answers = await asyncio.gather(*(refund(caller, transaction, "0.7", f"part-{n}") for n in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 14 + [422] * 6
    summary = (await caller.ask("GET", "/control/summary")).json
    assert [(row["charged"], row["refunded"], row["net"]) for row in summary["keys"]] == [("10", "9.8", "0.2")]


async def test_a_refund_of_nothing_known_is_a_404_in_json(caller: Any) -> None:
    answer = await refund(caller, "txn_nobody", "1", "key-12345")
    assert (answer.status, answer.json["error"]) == (404, "unknown_transaction")


async def test_the_header_wins_and_the_body_may_carry_the_key(caller: Any) -> None:
    transaction = (await caller.charge(amount="10")).json["transactionId"]
    path = f"/payment/payments/{transaction}/refund"
    first = await caller.ask("POST", path, {"amount": 1, "idempotency_key": "in-the-body"})
    again = await caller.ask("POST", path, {"amount": 1, "idempotency_key": "in-the-body"})
    assert first.raw == again.raw
    (booked,) = (await caller.book())["refunds"]
    assert booked["key"] == "in-the-body"
