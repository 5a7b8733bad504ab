"""`RequestPayment`: what is judged, in which order and in which words, and what a good request is answered."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import Caller, a_word, an_order, instant, invalid, ordered, refused
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import PENDING
from tests.rig import Server

POSITIVE = invalid("Invalid amount: amount_minor must be positive")
TOO_LARGE = invalid("Invalid amount: amount_minor is too large")
CURRENCY = invalid("Invalid currency: must be one of USD, EUR, GBP, JPY, CAD, AUD")
KEY_SHORT = invalid("Invalid idempotency key: must be at least 8 characters")
KEY_LONG = invalid("Invalid idempotency key: must be at most 255 characters")
KEY_CONTROL = invalid("Invalid idempotency key: must not hold control characters")
ORDER_EMPTY = invalid("Invalid order id: must not be empty")
ORDER_LONG = invalid("Invalid order id: must be at most 255 characters")
ORDER_CONTROL = invalid("Invalid order id: must not hold control characters")
METADATA = invalid("Invalid metadata: at most 50 entries, keys of 1 to 64 and values of at most 512 characters")

SNOWMAN = "⛄"  # three bytes, one character
PARTY = "🎉"  # four bytes, and two units of UTF-16


@pytest.mark.parametrize("amount", [0, -1, -(2**63)])
def test_an_amount_must_be_positive(nobody: Caller, amount: int) -> None:
    assert refused(nobody.pay, amount_minor=amount) == POSITIVE


@pytest.mark.parametrize("amount", [10**15, 2**63 - 1])
def test_an_amount_can_be_too_large(nobody: Caller, amount: int) -> None:
    assert refused(nobody.pay, amount_minor=amount) == TOO_LARGE


@pytest.mark.parametrize("amount", [1, 10**15 - 1])
def test_the_smallest_and_the_largest_amount_are_taken(nobody: Caller, amount: int) -> None:
    assert nobody.look(nobody.pay(amount_minor=amount).payment_id).amount_minor == amount


@pytest.mark.parametrize("currency", ["", "US", "USDT", " USD", "USD ", "USD\n", "RUB", "840", "\uff35\uff33\uff24", "U\x00D"])
def test_a_currency_is_one_of_the_list(nobody: Caller, currency: str) -> None:
    assert refused(nobody.pay, currency=currency) == CURRENCY


@pytest.mark.parametrize("currency", ["USD", "EUR", "GBP", "JPY", "CAD", "AUD", "usd", "Usd", "jPy"])
def test_a_currency_may_have_any_letter_case(nobody: Caller, currency: str) -> None:
    assert nobody.look(nobody.pay(currency=currency).payment_id).currency == currency.upper()


def test_the_list_of_currencies_is_a_setting_and_is_told_in_its_order(strict: Server, meet: Meet) -> None:
    caller = meet(strict.grpc)
    assert refused(caller.pay, currency="EUR") == invalid("Invalid currency: must be one of KWD, USD, UZS")
    for currency in ("kwd", "USD", "UZS"):
        assert caller.look(caller.pay(currency=currency, amount_minor=1250).payment_id).currency == currency.upper()


@pytest.mark.parametrize("key", ["", "1234567", "       ", "ééééééé", PARTY * 7])
def test_a_key_has_eight_characters_or_more(nobody: Caller, key: str) -> None:
    assert refused(nobody.pay, idempotency_key=key) == KEY_SHORT


@pytest.mark.parametrize("character", ["k", SNOWMAN, PARTY])
def test_a_key_has_at_most_255_characters(nobody: Caller, character: str) -> None:
    assert refused(nobody.pay, idempotency_key=character * 256) == KEY_LONG
    key = (a_word() + character * 255)[:255]
    assert nobody.pay(idempotency_key=key).message.idempotency_key == key


@pytest.mark.parametrize("character", ["\n", "\x00", "\t", "\x1f", "\x7f", "\x85"])
@pytest.mark.parametrize("form", ["{}key-12345", "key-{}12345", "key-12345{}"])
def test_a_key_holds_no_control_characters(nobody: Caller, character: str, form: str) -> None:
    assert refused(nobody.pay, idempotency_key=form.format(character)) == KEY_CONTROL


@pytest.mark.parametrize("order_id", ["", " ", "     ", "\t\n", "\u3000\u2003", " " * 300])
def test_an_order_id_is_not_empty_and_not_only_white_space(nobody: Caller, order_id: str) -> None:
    assert refused(nobody.pay, order_id=order_id) == ORDER_EMPTY


@pytest.mark.parametrize("character", ["o", SNOWMAN, PARTY])
def test_an_order_id_has_at_most_255_characters(nobody: Caller, character: str) -> None:
    assert refused(nobody.pay, order_id=character * 256) == ORDER_LONG
    assert nobody.look(nobody.pay(order_id=character * 255).payment_id).order_id == character * 255


@pytest.mark.parametrize("order_id", ["A-7\n", "\x00A-7", "A\t7", "A\x1f7", "A\x7f7", "A\x857"])
def test_an_order_id_holds_no_control_characters(nobody: Caller, order_id: str) -> None:
    assert refused(nobody.pay, order_id=order_id) == ORDER_CONTROL


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key-{n}": "" for n in range(51)},
        {"": "value"},
        {"k" * 65: "value"},
        {PARTY * 65: ""},
        {"key": "v" * 513},
        {"key": PARTY * 513},
        {"good": "value", "bad": "v" * 513},
    ],
    ids=["51 entries", "empty key", "65", "65 of four bytes", "513", "513 of four bytes", "one of two"],
)
def test_metadata_can_be_too_much(nobody: Caller, metadata: dict[str, str]) -> None:
    assert refused(nobody.pay, metadata=metadata) == METADATA


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key-{n}": "" for n in range(50)},
        {"k": "v" * 512},
        {PARTY * 64: PARTY * 512},
        {" ": " ", "\t": "line\nbreak"},
        {"zero": "\x00", "escape": "\\u0000"},
    ],
    ids=["50 entries", "512", "of four bytes", "white space", "zero"],
)
def test_metadata_that_is_just_not_too_much_is_taken(nobody: Caller, metadata: dict[str, str]) -> None:
    assert nobody.pay(metadata=metadata).message.status == PENDING


def test_an_empty_request_has_no_amount(nobody: Caller) -> None:
    assert refused(nobody.ask, "RequestPayment", b"") == POSITIVE


def test_the_first_failure_in_the_order_of_the_table_is_the_answer(server: Server, nobody: Caller) -> None:
    order = an_order(amount_minor=-5, currency="", idempotency_key="", order_id="", metadata={"": ""})
    steps: list[tuple[dict[str, Any], tuple[StatusCode, str]]] = [
        ({}, POSITIVE),
        ({"amount_minor": 10**15}, TOO_LARGE),
        ({"amount_minor": 10**15 - 1}, CURRENCY),
        ({"currency": "cad"}, KEY_SHORT),
        ({"idempotency_key": "\n" * 7}, KEY_SHORT),
        ({"idempotency_key": "\n" * 256}, KEY_LONG),
        ({"idempotency_key": "\n" * 255}, KEY_CONTROL),
        ({"idempotency_key": a_word("key")}, ORDER_EMPTY),
        ({"order_id": "\n" * 256}, ORDER_EMPTY),
        ({"order_id": "x" + "\n" * 255}, ORDER_LONG),
        ({"order_id": "x" + "\n" * 254}, ORDER_CONTROL),
        ({"order_id": a_word("order")}, METADATA),
    ]
    for change, answer in steps:
        order |= change
        assert refused(nobody.pay, **order) == answer, change
    assert ordered(server, order) == [], "nothing is stored"
    taken = nobody.pay(**{**order, "metadata": {}})
    assert taken.replayed is None, "a refused request leaves the key free"
    assert ordered(server, order) == [taken.payment_id]


def test_a_good_request_is_answered_with_a_new_pending_payment(server: Server, nobody: Caller) -> None:
    [before] = server.sql("SELECT clock_timestamp() AS now")
    order = an_order(metadata={"user_id": "user-789"})
    answer = nobody.pay(**order)
    [after] = server.sql("SELECT clock_timestamp() AS now")
    payment = answer.message
    made = uuid.UUID(payment.payment_id)
    assert (made.version, str(made)) == (7, payment.payment_id)
    assert (payment.status, payment.message) == (PENDING, "Payment initiated")
    assert payment.idempotency_key == order["idempotency_key"]
    assert before["now"] <= instant(payment.created_at) <= after["now"]
    assert answer.replayed is None


@pytest.mark.parametrize("text", ["  A-7  ", "007", "\u00a0A-7", "stra\u00dfe", "e\u0301", "'; --", "%00", "{}", "null"])
def test_nothing_is_trimmed_or_tidied(nobody: Caller, text: str) -> None:
    key = f"{text}{a_word()}{text}"
    answer = nobody.pay(order_id=text, idempotency_key=key)
    assert answer.message.idempotency_key == key
    payment = nobody.look(answer.payment_id)
    assert (payment.order_id, payment.idempotency_key) == (text, key)


def test_white_space_around_a_key_makes_it_another_key(nobody: Caller) -> None:
    order = an_order()
    key = order["idempotency_key"]
    answers = [nobody.pay(**{**order, "idempotency_key": each}) for each in (key, f" {key}", f"{key} ", key.upper())]
    assert len({answer.payment_id for answer in answers}) == 4
    assert [answer.replayed for answer in answers] == [None] * 4
