"""What an order's event tells: no name, no e-mail, no address; items that would make it larger than 20 kB are only counted."""

from __future__ import annotations

import orjson
from tests.factories import NOON

from kassa.kit.ids import new_id
from kassa.orders import Line, Order


def order(lines: int = 2) -> Order:
    bought = [Line(f"product-{n:046}"[:50], "A name", 9990, 2, 19980, None) for n in range(lines)]
    return Order(
        merchant_id="1", order_id=new_id(), checkout_id=new_id(), channel="shop", buyer_id="7", order_number="ORD-20260101-AAAAAAAA",
        status="paid", payment_status="paid", payment_id=new_id(), payment_method="credit_card", payment_url=None, currency="INR",
        total_minor=19980 * lines, shipping_address={"street": "Main St", "city": "Mumbai"}, tracking_number=None, carrier=None,
        external_id=None, version=2, estimated_delivery=NOON, created_at=NOON, updated_at=NOON, lines=bought,
    )  # fmt: skip


def test_it_has_the_members_of_the_catalogue_and_money_as_text() -> None:
    data = order().event_data()
    assert set(data) == {
        "order_id", "order_number", "status", "payment_status", "payment_id", "user_id", "total", "currency", "items",
    }  # fmt: skip
    assert data["total"] == "399.60"
    assert data["items"][0] == {"product_id": order().lines[0].product_id, "quantity": 2, "price": "99.90"}


def test_it_never_tells_where_the_parcel_goes() -> None:
    assert b"Main St" not in orjson.dumps(order().event_data())


def test_items_travel_up_to_20_kb_and_are_only_counted_beyond() -> None:
    largest = max(count for count in range(1, 400) if "items" in order(count).event_data())
    assert 150 < largest < 250
    assert 19_800 < len(orjson.dumps(order(largest).event_data())) <= 20_000
    beyond = order(largest + 1).event_data()
    assert beyond["items_count"] == largest + 1
    assert "items" not in beyond
