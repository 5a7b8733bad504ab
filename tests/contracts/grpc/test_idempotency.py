"""A key is asked for a payment once, for ever: repeats get the first answer, byte for byte."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from tests.contracts.grpc.callers import MISMATCH, Caller, a_word, an_order, at_once, ordered, refused, request_of, settled
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING
from tests.rig import Server


def test_a_repeat_gets_the_first_response_byte_for_byte(server: Server, nobody: Caller) -> None:
    order = an_order(metadata={"user_id": "user-789", "note": ""})
    first = nobody.pay(**order)
    repeats = [nobody.pay(**order) for _ in range(3)]
    assert {answer.data for answer in repeats} == {first.data}
    assert (first.replayed, [answer.replayed for answer in repeats]) == (None, ["true"] * 3)
    assert ordered(server, order) == [first.payment_id]


def test_a_repeat_is_pending_whatever_has_happened_since(nobody: Caller) -> None:
    order = an_order(amount_minor=1302)
    first = nobody.pay(**order)
    assert settled(nobody, first.payment_id)[0] == FAILED
    repeat = nobody.pay(**order)
    assert (repeat.data, repeat.message.status, repeat.message.message) == (first.data, PENDING, "Payment initiated")


def test_fifty_at_once_are_one_payment_and_fifty_equal_responses(server: Server, meet: Meet) -> None:
    callers = [meet(server.grpc) for _ in range(5)]
    order = an_order(metadata={"basket": "7"})
    answers = at_once(functools.partial(callers[n % 5].pay, **order) for n in range(50))
    assert len({answer.data for answer in answers}) == 1
    assert sorted(str(answer.replayed) for answer in answers) == ["None"] + ["true"] * 49
    assert ordered(server, order) == [answers[0].payment_id]


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 1300},
        {"currency": "EUR"},
        {"order_id": "another order"},
        {"metadata": {"user_id": "user-790"}},
        {"metadata": {}},
        {"metadata": {"user_id": "user-789", "more": ""}},
        {"metadata": {"user_id": "user-789\x00"}},
        {"metadata": {"USER_ID": "user-789"}},
    ],
    ids=["amount", "currency", "order", "value", "none", "more", "zero", "name"],
)
def test_another_payload_under_the_same_key_is_refused(server: Server, nobody: Caller, change: dict[str, Any]) -> None:
    order = an_order(metadata={"user_id": "user-789"})
    first = nobody.pay(**order)
    other = {**order, **change}
    assert refused(nobody.pay, **other) == MISMATCH
    assert ordered(server, order) == [first.payment_id]
    if other["order_id"] != order["order_id"]:
        assert ordered(server, other) == [], "nothing is executed"
    assert nobody.pay(**order).data == first.data, "and the first is as it was"


def test_metadata_are_compared_letter_for_letter(nobody: Caller) -> None:
    order = an_order(metadata={"note": "a\x00b"})
    first = nobody.pay(**order)
    assert refused(nobody.pay, **{**order, "metadata": {"note": "ab"}}) == MISMATCH
    assert refused(nobody.pay, **{**order, "metadata": {"note": "a\\u0000b"}}) == MISMATCH
    assert nobody.pay(**order).data == first.data


def test_order_ids_are_compared_letter_for_letter(nobody: Caller) -> None:
    order = an_order(order_id=f"é {a_word()}")
    nobody.pay(**order)
    for change in (order["order_id"].replace("é", "e\u0301"), order["order_id"] + " ", order["order_id"].upper()):
        assert refused(nobody.pay, **{**order, "order_id": change}) == MISMATCH


def test_the_letter_case_of_a_currency_is_no_other_payload(nobody: Caller) -> None:
    order = an_order(currency="usd")
    first = nobody.pay(**order)
    for currency in ("USD", "Usd", "usd"):
        repeat = nobody.pay(**{**order, "currency": currency})
        assert (repeat.data, repeat.replayed) == (first.data, "true")


def test_the_order_of_metadata_is_no_other_payload(nobody: Caller) -> None:
    head = request_of(an_order()).SerializeToString()
    one, two = (type(request_of({}))(metadata={key: "1"}).SerializeToString() for key in ("a", "b"))
    first = nobody.ask("RequestPayment", head + one + two)
    repeat = nobody.ask("RequestPayment", head + two + one)
    assert (repeat.data, repeat.replayed) == (first.data, "true")


def test_unknown_fields_are_no_part_of_the_payload(nobody: Caller) -> None:
    known = request_of(an_order(metadata={"a": "1"})).SerializeToString()
    answers = [nobody.ask("RequestPayment", data) for data in (known + b"\x98\x06\x07", known, b"\x9a\x06\x02hi" + known)]
    assert {answer.data for answer in answers} == {answers[0].data}
    assert [answer.replayed for answer in answers] == [None, "true", "true"]


@pytest.mark.parametrize(
    "bad",
    [{"amount_minor": 0}, {"currency": "XXX"}, {"order_id": " "}, {"metadata": {"": ""}}],
    ids=["amount", "currency", "order", "metadata"],
)
def test_a_refused_request_leaves_the_key_free(nobody: Caller, bad: dict[str, Any]) -> None:
    order = an_order()
    refused(nobody.pay, **{**order, **bad})
    assert nobody.pay(**order).replayed is None


def test_a_bad_request_under_a_used_key_is_a_bad_request(nobody: Caller) -> None:
    order = an_order()
    first = nobody.pay(**order)
    code, text = refused(nobody.pay, **{**order, "amount_minor": 0})
    assert (code.name, text) == ("INVALID_ARGUMENT", "Validation error: Invalid amount: amount_minor must be positive")
    assert nobody.pay(**order).data == first.data


def test_keys_of_different_merchants_never_meet(server: Server, meet: Meet) -> None:
    order, other = an_order(), an_order()
    other["idempotency_key"] = order["idempotency_key"]
    callers = [meet(server.grpc, x_api_key=f"sk_demo_{n}") for n in (1, 2, 3)]
    answers = [caller.pay(**order) for caller in callers[:2]] + [callers[2].pay(**other)]
    assert len({answer.payment_id for answer in answers}) == 3
    assert [answer.replayed for answer in answers] == [None] * 3
    repeat = callers[1].pay(**order)
    assert (repeat.data, repeat.replayed) == (answers[1].data, "true")


def test_a_merchant_is_the_same_however_it_comes_in(server: Server, meet: Meet) -> None:
    order = an_order()
    callers = [
        meet(server.grpc, x_api_key="sk_demo_1"),
        meet(server.grpc, x_merchant_id="1"),
        meet(server.grpc, x_api_key="sk_demo_1", x_merchant_id="1"),
        meet(server.grpc),
    ]
    answers = [caller.pay(**order) for caller in callers]
    assert {answer.data for answer in answers} == {answers[0].data}
    assert [answer.replayed for answer in answers] == [None, "true", "true", "true"]


def test_one_order_may_have_several_payments_under_several_keys(server: Server, nobody: Caller) -> None:
    order = an_order()
    keys = [a_word("key") for _ in range(3)]
    answers = [nobody.pay(**{**order, "idempotency_key": key}) for key in keys]
    assert len({answer.payment_id for answer in answers}) == 3
    assert sorted(ordered(server, order)) == sorted(answer.payment_id for answer in answers)
    states = {settled(nobody, answer.payment_id)[1] for answer in answers}
    assert states == {"Payment succeeded"}, "and each is paid: none displaces another"
