"""What a request asks for, row by row of the contract's table."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kassa.kit.money import Money
from kassa.rpc.read_request import BrokenMessage, InvalidRequest, UnknownPayment, parse, payment_id_of, wish_of
from payments_service import payments_pb2 as pb

CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD")
LONG_S = "\u017f"
GOOD: dict[str, Any] = {"amount_minor": 1250, "currency": "USD", "order_id": "order-123", "idempotency_key": "key-12345678"}


def wish(**changes: Any) -> Any:
    return wish_of("2", pb.RequestPaymentRequest(**{**GOOD, **changes}), CURRENCIES)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"amount_minor": 0}, "amount: amount_minor must be positive"),
        ({"amount_minor": -1}, "amount: amount_minor must be positive"),
        ({"amount_minor": -(2**63)}, "amount: amount_minor must be positive"),
        ({"amount_minor": 10**15}, "amount: amount_minor is too large"),
        ({"amount_minor": 2**63 - 1}, "amount: amount_minor is too large"),
        ({"currency": ""}, "currency: must be one of USD, EUR, GBP, JPY, CAD, AUD"),
        ({"currency": " USD"}, "currency: must be one of USD, EUR, GBP, JPY, CAD, AUD"),
        ({"currency": "RUB"}, "currency: must be one of USD, EUR, GBP, JPY, CAD, AUD"),
        ({"currency": "\uff35\uff33\uff24"}, "currency: must be one of USD, EUR, GBP, JPY, CAD, AUD"),
        ({"currency": f"U{LONG_S}D"}, "currency: must be one of USD, EUR, GBP, JPY, CAD, AUD"),
        ({"idempotency_key": ""}, "idempotency key: must be at least 8 characters"),
        ({"idempotency_key": "⛄" * 7}, "idempotency key: must be at least 8 characters"),
        ({"idempotency_key": "k" * 256}, "idempotency key: must be at most 255 characters"),
        ({"idempotency_key": "key-1234\n"}, "idempotency key: must not hold control characters"),
        ({"idempotency_key": "key-1234\x85"}, "idempotency key: must not hold control characters"),
        ({"order_id": ""}, "order id: must not be empty"),
        ({"order_id": " \t\u3000"}, "order id: must not be empty"),
        ({"order_id": " " * 300}, "order id: must not be empty"),
        ({"order_id": "o" * 256}, "order id: must be at most 255 characters"),
        ({"order_id": "A\x007"}, "order id: must not hold control characters"),
        ({"metadata": {str(n): "" for n in range(51)}}, None),
        ({"metadata": {"": "value"}}, None),
        ({"metadata": {"k" * 65: "value"}}, None),
        ({"metadata": {"key": "v" * 513}}, None),
    ],
)
def test_a_row_that_does_not_hold_is_told_in_its_words(change: dict[str, Any], told: str | None) -> None:
    told = told or "metadata: at most 50 entries, keys of 1 to 64 and values of at most 512 characters"
    with pytest.raises(InvalidRequest) as refused:
        wish(**change)
    assert str(refused.value) == f"Validation error: Invalid {told}"


def test_the_first_row_that_does_not_hold_is_the_answer() -> None:
    bad: dict[str, Any] = {"amount_minor": 0, "currency": "", "idempotency_key": "", "order_id": "", "metadata": {"": ""}}
    told = []
    for name in ("amount_minor", "currency", "idempotency_key", "order_id", "metadata"):
        with pytest.raises(InvalidRequest) as refused:
            wish(**bad)
        told.append(str(refused.value).removeprefix("Validation error: Invalid ").partition(":")[0])
        bad[name] = GOOD.get(name, {})
    assert told == ["amount", "currency", "idempotency key", "order id", "metadata"]
    assert wish(**bad)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 1},
        {"amount_minor": 10**15 - 1},
        {"idempotency_key": "k" * 8},
        {"idempotency_key": "⛄" * 255},
        {"order_id": "🎉" * 255},
        {"order_id": " 7 "},
        {"metadata": {str(n): "" for n in range(50)}},
        {"metadata": {"🎉" * 64: "🎉" * 512}},
        {"metadata": {"zero": "\x00"}},
    ],
)
def test_what_is_just_not_too_much_is_taken_as_it_is(change: dict[str, Any]) -> None:
    taken, expected = wish(**change), {**GOOD, "metadata": {}, **change}
    assert taken.merchant_id == "2"
    assert taken.amount == Money(expected["amount_minor"], "USD")
    assert (taken.order_id, taken.key, taken.metadata) == (expected["order_id"], expected["idempotency_key"], expected["metadata"])


@pytest.mark.parametrize("currency", ["usd", "Usd", "USD"])
def test_a_currency_is_read_in_any_letter_case(currency: str) -> None:
    assert wish(currency=currency).amount.currency == "USD"


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe"])
def test_a_message_that_is_none_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenMessage):
        parse(pb.RequestPaymentRequest, data)


@pytest.mark.parametrize(
    ("given", "told"),
    [("", ""), ("abc", "abc"), ("a\nb\x7fc\x85", "a?b?c?"), ("x" * 65, "x" * 64), ("{" + str(uuid.UUID(int=1)) + "}", None)],
)
def test_what_is_no_id_is_told_cut_and_cleaned(given: str, told: str | None) -> None:
    with pytest.raises(UnknownPayment) as refused:
        payment_id_of(given)
    assert str(refused.value) == f"Payment not found: {given if told is None else told}"


def test_an_id_is_read() -> None:
    assert payment_id_of("550e8400-e29b-41d4-a716-446655440000").version == 4
