"""A body is read strictly, and what is wrong with it is told without repeating it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import Field

from kassa.api.body import MOST_PROBLEMS, fit, read_json
from kassa.api.call import Call, Desk
from kassa.api.checkout.models import ProcessCheckout, lines_of
from kassa.api.errors import InvalidInput
from kassa.api.fields import Body, Major, Quantity
from kassa.api.orders.models import AddItem, PlaceOrder, trace_of
from kassa.kit.jsontext import BadJson, parse
from kassa.kit.money import Money

from .asking import KEYS, context, scope_of


class Wish(Body):
    """A body with one of everything."""

    name: Annotated[str, Field(min_length=1, max_length=5)]
    quantity: Quantity | None = None
    price: Major = None
    lines: list[AddItem] = Field(default_factory=list)


def problems(model: type[Body], data: dict[str, Any], currency: str = "INR") -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidInput) as caught:
        fit(model, data, currency=currency)
    return [(each.path, each.problem) for each in caught.value.problems]


async def read(raw: bytes) -> dict[str, Any]:
    sent = [raw]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent.pop(), "more_body": False}

    async def send(_: Any) -> None: ...

    return await read_json(Call(scope_of("POST", "/"), receive, send, Desk(context(), None, None), {}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, [(("name",), "is required")]),
        ({"name": ""}, [(("name",), "must not be empty")]),
        ({"name": "sixsix"}, [(("name",), "must have at most 5 characters")]),
        ({"name": 5}, [(("name",), "must be text")]),
        ({"name": "a", "total": 1}, [(("total",), "is not a known member")]),
        ({"name": "a", "4111111111111111": 1}, [(("?",), "is not a known member")]),
        ({"name": "a", "größe": 1}, [(("?",), "is not a known member")]),
        ({"name": "a", "lines": {}}, [(("lines",), "must be a list")]),
        ({"name": "a", "lines": [1]}, [(("lines", 0), "must be an object")]),
        ({"name": "a", "lines": [{"productId": "x y"}]}, [(("lines", 0, "productId"), "has the wrong form")]),
    ],
)
def test_a_problem_says_where_and_what_it_should_be(data: dict[str, Any], told: Any) -> None:
    assert problems(Wish, data) == told


@pytest.mark.parametrize(
    "number", ["0", "-1", "1000", "1.5", "1.0", '"2"', "true", "[]", "9223372036854775808", "1e400", "1e2", "9" * 60]
)
def test_a_quantity_is_a_whole_number_from_1_to_999(number: str) -> None:
    ((path, _),) = problems(Wish, parse(f'{{"name": "a", "quantity": {number}}}'.encode()))
    assert path == ("quantity",)


@pytest.mark.parametrize(
    ("number", "currency", "minor"),
    [
        ("349.7", "INR", 34970),
        ("99999", "INR", 9999900),
        ("9.99e1", "INR", 9990),
        ("0", "INR", 0),
        ("5", "JPY", 5),
        ("1.250", "KWD", 1250),
    ],
)
def test_an_amount_is_read_to_the_last_digit(number: str, currency: str, minor: int) -> None:
    assert fit(Wish, parse(f'{{"name": "a", "price": {number}}}'.encode()), currency=currency).price == Money(minor, currency)


@pytest.mark.parametrize(
    ("number", "currency"),
    [
        ("1e-3", "INR"),
        ("0.001", "INR"),
        ("99.905", "INR"),
        ("-1", "INR"),
        ('"5"', "INR"),
        ("true", "INR"),
        ("1e400", "INR"),
        ("0.5", "JPY"),
        ("[]", "INR"),
    ],
)
def test_what_is_no_amount_of_the_currency_is_refused(number: str, currency: str) -> None:
    ((path, _),) = problems(Wish, parse(f'{{"name": "a", "price": {number}}}'.encode()), currency)
    assert path == ("price",)


def test_null_counts_as_absent_where_a_member_is_optional() -> None:
    assert fit(Wish, {"name": "a", "quantity": None, "price": None}, currency="INR") == fit(Wish, {"name": "a"}, currency="INR")


def test_a_long_list_of_problems_is_cut() -> None:
    assert len(problems(Wish, {"name": "a", "lines": [{"productId": ""}] * 500})) == MOST_PROBLEMS


def test_no_problem_repeats_what_was_sent() -> None:
    canary = "canary-7731"
    data = {"name": canary, "quantity": canary, "price": canary, "lines": [{"productId": f"{canary} x", canary: canary}], canary: 1}
    assert canary not in repr(problems(Wish, data))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": [{"b": "\\uD83C"}]}',
    ],
)
async def test_what_is_no_whole_json_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(BadJson):
        await read(raw)


@pytest.mark.parametrize("width", [1, 100])
async def test_a_body_of_more_members_than_anybody_needs_is_refused_before_they_are_judged(width: int) -> None:
    objects = [{f"m{number}": ":" for number in range(width)} for _ in range(999 // width)]
    assert len((await read(json.dumps({"all": objects}).encode()))["all"]) == len(objects)
    with pytest.raises(InvalidInput) as caught:
        await read(json.dumps({"all": [*objects, *objects[:1], {"one": "more"}, *objects[:1]]}).encode())
    assert [(each.path, each.problem) for each in caught.value.problems] == [(("body",), "must have at most 1000 members in all")]


async def test_two_halves_are_a_character() -> None:
    assert await read(b'{"a": "\\ud83c\\udf81"}') == {"a": "🎁"}


# The card of the orders contract


@pytest.mark.parametrize(
    ("number", "first6", "last4", "whole"),
    [
        ("4111111111111111", "411111", "1111", True),
        ("411111******1111", "411111", "1111", False),
        ("************1234", None, "1234", False),
        ("1234", None, "1234", False),
        ("123456", None, "3456", False),
    ],
)
def test_of_a_card_little_is_kept(number: str, first6: str | None, last4: str, whole: bool) -> None:
    trace = trace_of(number, KEYS.fingerprint)
    assert (trace.first6, trace.last4, trace.fingerprint is not None) == (first6, last4, whole)


def test_a_card_is_not_printed() -> None:
    address = {"street": "a", "city": "b", "state": "c", "postalCode": "d", "country": "e"}
    data = {
        "shippingAddress": address,
        "paymentMethod": "upi",
        "paymentDetails": {"cardNumber": "4111 1111 1111 1111", "expiryDate": "12/30"},
    }
    found = fit(PlaceOrder, data, currency="INR")
    assert found.payment_details is not None
    assert found.payment_details.card_number == "4111111111111111"
    assert "4111" not in repr(found)


# The checkout contract


def form(**changes: Any) -> dict[str, Any]:
    return {
        "payment_method": {"type": "credit_card", "card_number": "4111 1111-1111 1111", "card_expiry": "12/25", "card_cvv": "123"},
        "customer_email": "customer@example.com",
        "shipping_address": {"street": "a", "number": "1", "city": "b", "state": "c", "zip_code": "d"},
        "items": [{"product_id": "prod_001", "quantity": 2}],
        **changes,
    }


def test_a_checkout_form_is_not_printed_with_its_card() -> None:
    found = fit(ProcessCheckout, form(), currency="INR")
    assert found.payment_method.digits == "4111111111111111"
    assert not {"4111", "12/25", "123'"} & set(repr(found).replace(",", " ").split())


def test_the_same_product_twice_is_one_line() -> None:
    items = [
        {"product_id": "a", "quantity": 1, "price": 5},
        {"product_id": "b", "quantity": 1},
        {"product_id": "a", "quantity": 2},
        {"product_id": "b", "quantity": 2, "price": 7},
    ]
    lines = lines_of(fit(ProcessCheckout, form(items=items), currency="INR").items)
    assert list(lines.items()) == [("a", (3, Money(500, "INR"))), ("b", (3, Money(700, "INR")))]


def test_two_prices_for_one_product_are_no_price_at_all() -> None:
    items = [
        {"product_id": "a", "quantity": 1, "price": 5},
        {"product_id": "a", "quantity": 1, "price": 6},
        {"product_id": "a", "quantity": 1, "price": 5},
    ]
    (line,) = lines_of(fit(ProcessCheckout, form(items=items), currency="INR").items).values()
    assert line == (3, Money(-1, "INR"))


def test_a_line_of_the_sum_holds_999() -> None:
    items = [{"product_id": "a", "quantity": 500}] * 2
    assert problems(ProcessCheckout, form(items=items)) == [((), "must ask for at most 999 of a product")]
    assert json.dumps(form())
