"""What is written is what the documents promise, and every amount is exact to its last digit."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa import carts
from kassa.api.answers import dumps, major
from kassa.api.checkout import shapes as checkout_shapes
from kassa.api.checkout import shown as checkout_shown
from kassa.api.orders import shapes, shown
from kassa.api.orders.problems import envelope
from kassa.carts import Cart, CartLine
from kassa.catalog import Offer
from kassa.checkout import CartEmpty, StockInsufficient, TooManyWaiting
from kassa.checkout.model import CheckoutView, Step
from kassa.checkout.wishes import Placed
from kassa.kit.money import Money
from kassa.orders import Happening, Line, Order

AT = datetime(2024, 1, 15, 10, 30, 0, 999_999, UTC)
ID = uuid.UUID("019b76da-9c40-7a11-8d02-5b1f0c6e7a33")
ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "MH", "postalCode": "400001", "country": "India", "floor": "3"}


def offer(product_id: str = "prod_001", minor: int = 9990, stock: int | None = 5000) -> Offer:
    return Offer(product_id, product_id, "Wireless Mouse", Money(minor, "INR"), ("https://example.com/a.jpg",), stock)


def line(product_id: str = "prod_001", quantity: int = 2, seen: int = 9990) -> CartLine:
    return CartLine(ID, product_id, quantity, seen, "Mouse of old", None, AT)


def cart(*lines: CartLine) -> Cart:
    return Cart("1", ID, "shop", "1", 3, AT, AT, lines)


def an_order(**changes: Any) -> Order:
    given = {
        "merchant_id": "1",
        "order_id": ID,
        "checkout_id": ID,
        "channel": "shop",
        "buyer_id": "1",
        "order_number": "ORD-20240115-7K2M9QXD",
        "status": "pending",
        "payment_status": "pending",
        "payment_id": ID,
        "payment_method": "credit_card",
        "payment_url": None,
        "currency": "INR",
        "total_minor": 34970,
        "shipping_address": ADDRESS,
        "tracking_number": None,
        "carrier": None,
        "external_id": None,
        "version": 1,
        "estimated_delivery": AT,
        "created_at": AT,
        "updated_at": AT,
        "lines": (Line("prod_001", "Wireless Mouse", 9990, 2, 19980), Line("prod_002", "Keyboard", 14990, 1, 14990)),
        **changes,
    }
    return Order(**given)


def written(body: bytes, member: str) -> list[str]:
    return re.findall(rf'"{member}":([^,}}\]]+)', body.decode())


@given(st.integers(0, 10**17), st.sampled_from(["INR", "JPY", "KWD"]))
def test_an_amount_is_written_without_a_float(minor: int, currency: str) -> None:
    text = dumps({"a": major(minor, currency)}).decode()[5:-1]
    assert re.fullmatch(r"(0|[1-9]\d*)(\.\d*[1-9])?", text)
    digits, _, decimals = text.partition(".")
    assert int(digits + decimals.ljust({"INR": 2, "JPY": 0, "KWD": 3}[currency], "0")) == minor


def test_an_order_is_written_as_the_contract_says() -> None:
    status, body = shapes.placed(Placed(an_order(), created=True))
    found = shown.OrderAnswer.model_validate_json(body)
    assert (status, found.message, found.data.user_id) == (201, "Order created successfully", 1)
    assert (written(body, "totalAmount"), written(body, "price")) == (["349.7"], ["99.9", "149.9"])
    assert written(body, "createdAt") == ['"2024-01-15T10:30:00Z"']
    assert found.data.shipping_address == ADDRESS
    assert shapes.placed(Placed(an_order(), created=True)) == (status, body)
    assert shapes.placed(Placed(an_order(), created=False))[0] == 200
    assert shapes.moved(Placed(an_order(), created=False))[0] == 200


def test_a_guests_order_and_a_forgotten_address_are_null() -> None:
    found = shown.OrderAnswer.model_validate_json(
        shapes.moved(Placed(an_order(buyer_id=None, shipping_address=None), created=False))[1]
    )
    assert (found.data.user_id, found.data.shipping_address) == (None, None)


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("0", 0),
        ("1", 1),
        ("999999999999999999", 999999999999999999),
        ("1000000000000000000", "1000000000000000000"),
        ("007", "007"),
        ("-5", "-5"),
        ("१", "१"),
        ("", ""),
        (None, None),
    ],
)
def test_a_user_is_a_number_where_it_reads_like_one(user: str | None, told: Any) -> None:
    assert shapes.shown_user(user) == told
    assert type(shapes.shown_user(user)) is type(told)


def test_a_cart_names_what_would_stop_an_order() -> None:
    lines = [line(), line("gone", 3, 500), line("dear", 1, 100), line("few", 7)]
    offers = {"prod_001": offer(), "dear": offer("dear", 250), "few": offer("few", stock=2)}
    views, problems = carts.view(cart(*lines), offers, "INR")
    answer = shapes.success(200, "Cart retrieved successfully", shapes.whole_cart(cart(*lines), views, problems, "INR"))
    found = shown.CartAnswer.model_validate_json(answer.body).data
    assert [(each.product_id, each.code) for each in found.problems] == [
        ("gone", "no_longer_sold"),
        ("dear", "price_changed"),
        ("few", "stock_insufficient"),
    ]
    assert (found.total_items, written(answer.body, "totalAmount")) == (13, ["901.6"])
    raw = orjson.loads(answer.body)["data"]["problems"]
    assert set(raw[0]) == {"itemId", "productId", "code", "message"}
    assert set(raw[1]) == {"itemId", "productId", "code", "message", "oldPrice", "price"}
    assert set(raw[2]) == {"itemId", "productId", "code", "message", "available"}
    assert (found.items[1].product_name, found.items[1].image) == ("Mouse of old", None)


def test_a_product_nobody_counts_is_in_stock() -> None:
    for stock, there in ((None, True), (0, False), (1, True)):
        found = shown.Product.model_validate_json(dumps(shapes.product(offer(stock=stock))))
        assert (found.stock, found.in_stock) == (stock, there)


def happening(sequence: int, status: str, *, moved: bool = True) -> Happening:
    return Happening(sequence, status, "pending", moved, None, None, None, AT)


def test_tracking_shows_moves_and_the_stream_shows_everything() -> None:
    story = [happening(1, "pending"), happening(2, "pending", moved=False), happening(3, "paid")]
    found = shown.TrackingAnswer.model_validate_json(
        shapes.success(200, "ok", shapes.tracking(an_order(status="paid"), story)).body
    ).data
    assert [each.status for each in found.events] == ["pending", "paid"]
    message = shapes.live_message(an_order(), story[1])
    assert message.startswith(b"id: 2\nevent: order\ndata: {")
    assert message.endswith(b"}\n\n")
    assert message.count(b"\n") == 4


# Refusals of the orders contract


def test_a_shortage_names_each_product() -> None:
    answer = envelope(StockInsufficient(items=[{"product_id": "a", "requested": 2, "available": 1}]))
    assert answer.status == 409
    assert shown.OrdersError.model_validate_json(answer.body).error.details == {
        "items": [{"productId": "a", "requested": 2, "available": 1}]
    }


def test_details_stand_only_where_the_contract_names_them() -> None:
    assert b"details" not in envelope(CartEmpty()).body
    waiting = envelope(TooManyWaiting())
    assert (waiting.status, shown.OrdersError.model_validate_json(waiting.body).error.code) == (429, "rate_limited")
    assert dict(waiting.headers)[b"retry-after"] == b"60"


# Checkout


def a_view(**changes: Any) -> CheckoutView:
    step = Step("payment", 1, "done", None, 1, AT, 0, None, AT, AT)
    given = {
        "checkout_id": ID,
        "buyer_id": None,
        "surface": "checkout",
        "status": "completed",
        "order_ref": "order_7",
        "payment_ref": "12345ABC",
        "total_minor": 34970,
        "currency": "INR",
        "error": None,
        "code": None,
        "message": None,
        "items": None,
        "steps": [step],
        **changes,
    }
    return CheckoutView(**given)


def test_a_completed_checkout_is_a_200() -> None:
    status, body = checkout_shapes.render_checkout(a_view())
    found = checkout_shown.CheckoutDone.model_validate_json(body)
    assert (status, found.order_id, written(body, "total")) == (200, "order_7", ["349.7"])


@pytest.mark.parametrize("stands", ["processing", "parked", "undoing"])
def test_a_checkout_whose_end_is_not_known_is_a_202(stands: str) -> None:
    status, body = checkout_shapes.render_checkout(a_view(status=stands))
    assert (status, checkout_shown.CheckoutAccepted.model_validate_json(body).status) == (202, "processing")


@pytest.mark.parametrize("stands", ["failed", "undoing", "parked"])
def test_a_refused_checkout_is_a_422_also_while_it_is_being_undone(stands: str) -> None:
    status, body = checkout_shapes.render_checkout(
        a_view(status=stands, error="Inventory failed", code="inventory_refused", message="x" * 400)
    )
    found = checkout_shown.CheckoutError.model_validate_json(body).detail
    assert (status, found.error, found.code, len(found.message)) == (422, "Inventory failed", "inventory_refused", 300)
    assert b"items" not in body


def test_a_refusal_says_the_present_price_or_what_is_left() -> None:
    for item, told in (
        ({"product_id": "a", "price_minor": 9990}, '{"product_id":"a","price":99.9}'),
        ({"product_id": "a", "requested": 2, "available": 1}, '{"product_id":"a","requested":2,"available":1}'),
    ):
        body = checkout_shapes.render_checkout(a_view(error="no", code="no", items=[item]))[1]
        assert told in body.decode()
        assert checkout_shown.CheckoutError.model_validate_json(body).detail.message == "no."


def test_a_checkout_can_be_read_at_every_stage() -> None:
    for view in (
        a_view(),
        a_view(status="failed", error="Unknown product", order_ref=None, payment_ref=None, total_minor=None, steps=[]),
    ):
        found = checkout_shown.CheckoutState.model_validate_json(dumps(checkout_shapes.whole_checkout(view)))
        assert found.status == view.status
        assert found.message is None
