"""A cart becomes an order: lines, prices and address frozen, the cart empty, the order pending."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import httpx2
import pytest

from .journeys import (
    INSTANT,
    IPHONE,
    LINE_MEMBERS,
    MUMBAI,
    ORDER_MEMBERS,
    UUID7,
    SignIn,
    add,
    anybody,
    buy,
    buy_waiting,
    invalid,
    look,
    moved,
    orders_of,
    place,
    quantities,
    read,
    refusal,
    success,
    wish,
    written,
)


def test_the_readmes_order_is_placed_field_by_field(sign_in: SignIn) -> None:
    user = anybody()
    buyer = sign_in(user)
    add(buyer, IPHONE, 2)
    card = {"cardNumber": "**** **** **** 1234", "expiryDate": "12/25"}
    answer = buyer.post("/api/orders", json=wish(paymentDetails=card))
    order = success(answer, 201)
    assert answer.json()["message"] == "Order created successfully"
    assert set(order) == ORDER_MEMBERS
    assert UUID7.fullmatch(order["id"])
    assert UUID7.fullmatch(order["paymentId"])
    assert order["items"] == [
        {
            "productId": IPHONE,
            "productName": "iPhone 15 Pro",
            "price": 99999,
            "quantity": 2,
            "totalPrice": 199998,
        }
    ]
    assert order["shippingAddress"] == MUMBAI
    assert (order["userId"], order["currency"]) == (user, "INR")
    assert (order["status"], order["paymentStatus"]) == ("pending", "pending")
    assert (order["paymentMethod"], order["paymentUrl"]) == ("credit_card", None)
    assert (order["trackingNumber"], order["carrier"]) == (None, None)
    assert written(answer, "totalAmount") == ["199998"]
    assert written(answer, "totalPrice") == ["199998"]


def test_an_orders_times_and_number_fit_together(buyer: httpx2.Client) -> None:
    order = buy(buyer)
    assert all(INSTANT.fullmatch(order[name]) for name in ("createdAt", "updatedAt", "estimatedDelivery"))
    created = datetime.fromisoformat(order["createdAt"])
    assert datetime.fromisoformat(order["estimatedDelivery"]) == created + timedelta(days=5)
    assert order["updatedAt"] >= order["createdAt"]
    assert re.fullmatch(rf"ORD-{created:%Y%m%d}-[0-9A-Z]{{8}}", order["orderNumber"])


def test_order_numbers_do_not_follow_each_other(buyer: httpx2.Client) -> None:
    tails = [buy_waiting(buyer)["orderNumber"][-8:] for _ in range(8)]
    assert len(set(tails)) == 8
    assert len({tail[:4] for tail in tails}) > 1
    assert len({tail[-4:] for tail in tails}) > 1


def test_sums_of_an_order_are_exact(buyer: httpx2.Client) -> None:
    add(buyer, "prod_001", 2)
    add(buyer, "prod_002")
    answer = buyer.post("/api/orders", json=wish())
    order = success(answer, 201)
    assert written(answer, "totalAmount") == ["349.7"]
    assert written(answer, "price") == ["99.9", "149.9"]
    assert written(answer, "totalPrice") == ["199.8", "149.9"]
    assert all(set(line) == LINE_MEMBERS for line in order["items"])
    again = buyer.get(f"/api/orders/{order['id']}")
    assert written(again, "totalAmount") == ["349.7"]


def test_the_lines_leave_the_cart(buyer: httpx2.Client) -> None:
    add(buyer, "prod_001", 2)
    cart = look(buyer)["id"]
    buy_waiting(buyer, "prod_003")
    after = look(buyer)
    assert (after["items"], after["totalAmount"], after["version"]) == ([], 0, 3)
    assert after["id"] == cart


def test_stock_is_held_as_soon_as_the_order_is_there(fresh_sign_in: SignIn) -> None:
    buyer = fresh_sign_in()
    before = success(buyer.get("/api/products/prod_008"))["stock"]
    buy_waiting(buyer, "prod_008", 3)
    assert success(buyer.get("/api/products/prod_008"))["stock"] == before - 3


def test_an_order_reads_as_it_was_placed(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    assert read(buyer, order["id"]) == order


def test_an_empty_cart_is_no_order(buyer: httpx2.Client) -> None:
    refusal(buyer.post("/api/orders", json=wish()), 422, "cart_empty")
    add(buyer)
    success(buyer.delete("/api/cart"))
    refusal(buyer.post("/api/orders", json=wish()), 422, "cart_empty")
    assert orders_of(buyer)["total"] == 0


# The address


def test_extras_of_an_address_are_kept_as_sent(buyer: httpx2.Client) -> None:
    extras = {f"extra{n}": f"Ünïcode {n} 🎁" for n in range(18)}
    address = {**MUMBAI, **extras, "x" * 50: "y" * 200, "landmark": ""}
    order = buy(buyer, paymentMethod="cash_on_delivery", shippingAddress=address)
    assert order["shippingAddress"] == address
    assert read(buyer, order["id"])["shippingAddress"] == address


def test_an_address_may_be_as_short_or_as_long_as_allowed(buyer: httpx2.Client) -> None:
    address = {**MUMBAI, "street": "x" * 200, "city": "Å", "state": "मुंबई"}
    add(buyer)
    order = place(buyer, shippingAddress=address, paymentMethod="link:stripe")
    assert order["shippingAddress"] == address


# Exactly what was looked at


@pytest.mark.parametrize("tag", ['"2"', "*"])
def test_an_order_of_the_version_one_saw(buyer: httpx2.Client, tag: str) -> None:
    add(buyer)
    add(buyer)
    order = success(buyer.post("/api/orders", json=wish(), headers={"If-Match": tag}), 201)
    assert order["items"][0]["quantity"] == 2


def test_version_in_the_body_and_in_the_header_may_agree(buyer: httpx2.Client) -> None:
    add(buyer)
    answer = buyer.post("/api/orders", json=wish(cartVersion=1), headers={"If-Match": '"1"'})
    success(answer, 201)


def test_version_in_the_body_and_in_the_header_may_not_differ(buyer: httpx2.Client) -> None:
    add(buyer)
    answer = buyer.post("/api/orders", json=wish(cartVersion=1), headers={"If-Match": '"2"'})
    invalid(answer)
    assert (look(buyer)["version"], orders_of(buyer)["total"]) == (1, 0)


@pytest.mark.parametrize("version", [0, 2, 1000])
def test_another_version_is_not_ordered(buyer: httpx2.Client, version: int) -> None:
    add(buyer)
    by_body = buyer.post("/api/orders", json=wish(cartVersion=version))
    by_header = buyer.post("/api/orders", json=wish(), headers={"If-Match": f'"{version}"'})
    for answer in (by_body, by_header):
        assert refusal(answer, 412, "cart_changed") == {"version": 1}
    assert (look(buyer)["version"], orders_of(buyer)["total"]) == (1, 0)


@pytest.mark.parametrize("tag", ['W/"1"', '"1", "2"', "1", "x"])
def test_a_tag_that_names_no_version_orders_nothing(buyer: httpx2.Client, tag: str) -> None:
    add(buyer)
    answer = buyer.post("/api/orders", json=wish(), headers={"If-Match": tag})
    refusal(answer, 400, "invalid_if_match")
    assert orders_of(buyer)["total"] == 0


def test_the_agreed_total_is_charged(buyer: httpx2.Client) -> None:
    add(buyer, "prod_001", 2)
    add(buyer, "prod_002")
    body = wish(expectedTotal=349.7)
    assert written(buyer.post("/api/orders", json=body), "totalAmount") == ["349.7"]


@pytest.mark.parametrize("total", [199.79, 199.81, 0, 199, 10**12])
def test_another_total_than_agreed_is_not_charged(buyer: httpx2.Client, total: float) -> None:
    add(buyer, "prod_001", 2)
    answer = buyer.post("/api/orders", json=wish(expectedTotal=total))
    details = refusal(answer, 409, "price_changed")
    assert set(details) == {"total", "problems"}
    assert written(answer, "total") == ["199.8"]
    assert details["problems"] == []
    assert (quantities(buyer), orders_of(buyer)["total"]) == ({"prod_001": 2}, 0)


# One cart version, one order


def test_a_second_click_gets_the_same_order(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    answer = buyer.post("/api/orders", json=wish(paymentMethod="link:stripe"))
    assert success(answer, 200)["id"] == order["id"]
    assert answer.json()["message"] == "Order already created"
    assert orders_of(buyer)["total"] == 1


def test_a_second_click_may_carry_another_card(buyer: httpx2.Client) -> None:
    order = buy(buyer, paymentDetails={"cardNumber": "4111111111111111"})
    other = wish(paymentDetails={"cardNumber": "5555555555554444"})
    assert success(buyer.post("/api/orders", json=other), 200)["id"] == order["id"]


def test_a_filled_cart_is_a_new_order(buyer: httpx2.Client) -> None:
    first = buy_waiting(buyer)
    second = buy_waiting(buyer)
    assert second["id"] != first["id"]
    assert orders_of(buyer)["total"] == 2


def test_after_an_edit_an_empty_cart_is_just_empty(buyer: httpx2.Client) -> None:
    buy_waiting(buyer)
    item = add(buyer, "prod_003")
    success(buyer.delete(f"/api/cart/items/{item['id']}"))
    answer = buyer.post("/api/orders", json=wish(paymentMethod="link:stripe"))
    refusal(answer, 422, "cart_empty")


def test_after_a_cancel_the_returned_lines_are_a_new_order(buyer: httpx2.Client) -> None:
    first = buy_waiting(buyer)
    moved(buyer, first["id"], "cancelled")
    second = place(buyer, paymentMethod="link:stripe")
    assert second["id"] != first["id"]
    assert second["items"] == first["items"]


def test_a_version_that_was_ordered_gives_that_order_for_ever(buyer: httpx2.Client) -> None:
    add(buyer, "prod_001", 2)
    body = wish(paymentMethod="link:stripe")
    first = success(buyer.post("/api/orders", json={**body, "cartVersion": 1}), 201)
    buy_waiting(buyer, "prod_003")
    add(buyer, "prod_004")
    by_body = buyer.post("/api/orders", json={**body, "cartVersion": 1})
    by_header = buyer.post("/api/orders", json=body, headers={"If-Match": '"1"'})
    for answer in (by_body, by_header):
        assert success(answer, 200)["id"] == first["id"]
        assert answer.json()["message"] == "Order already created"
    assert quantities(buyer) == {"prod_004": 1}
    assert orders_of(buyer)["total"] == 2


def test_a_version_between_orders_was_never_ordered(buyer: httpx2.Client) -> None:
    add(buyer)
    buy_waiting(buyer)
    add(buyer)
    answer = buyer.post("/api/orders", json=wish(cartVersion=1))
    assert refusal(answer, 412, "cart_changed") == {"version": 4}


@pytest.mark.parametrize("named", [{}, {"cartVersion": 1}])
@pytest.mark.parametrize(
    "other",
    [
        {"paymentMethod": "cash_on_delivery"},
        {"shippingAddress": {**MUMBAI, "city": "Pune"}},
        {"shippingAddress": {**MUMBAI, "floor": "3"}},
    ],
)
def test_the_same_cart_cannot_be_ordered_differently(
    buyer: httpx2.Client, named: dict[str, object], other: dict[str, object]
) -> None:
    order = buy_waiting(buyer)
    body = wish(paymentMethod="link:stripe") | named | other
    details = refusal(buyer.post("/api/orders", json=body), 409, "cart_already_ordered")
    assert details == {"orderId": order["id"]}
    assert orders_of(buyer)["total"] == 1


# The list


def test_a_buyers_orders_stand_newest_first(buyer: httpx2.Client) -> None:
    ids = [buy_waiting(buyer)["id"] for _ in range(3)]
    page = orders_of(buyer)
    assert set(page) == {"orders", "page", "limit", "total", "hasNext"}
    assert [row["id"] for row in page["orders"]] == ids[::-1]
    assert all(set(row) == ORDER_MEMBERS for row in page["orders"])
    assert (page["page"], page["limit"], page["total"], page["hasNext"]) == (1, 20, 3, False)
    first, second = (orders_of(buyer, page=n, limit=2) for n in (1, 2))
    assert [row["id"] for row in first["orders"]] == [ids[2], ids[1]]
    assert (first["hasNext"], first["total"]) == (True, 3)
    assert [row["id"] for row in second["orders"]] == [ids[0]]
    assert (second["hasNext"], second["page"], second["limit"]) == (False, 2, 2)
    assert orders_of(buyer, page=3, limit=2)["orders"] == []


def test_a_list_can_be_narrowed_to_a_status(buyer: httpx2.Client) -> None:
    waiting = buy_waiting(buyer)
    gone = buy_waiting(buyer, "prod_003")
    moved(buyer, gone["id"], "cancelled")
    pending = orders_of(buyer, status="pending")
    assert ([row["id"] for row in pending["orders"]], pending["total"]) == ([waiting["id"]], 1)
    cancelled = orders_of(buyer, status="cancelled")
    assert [row["id"] for row in cancelled["orders"]] == [gone["id"]]
    for status in ("paid", "processing", "shipped", "delivered"):
        assert orders_of(buyer, status=status)["orders"] == []


def test_a_list_of_a_status_that_is_none_is_refused(buyer: httpx2.Client) -> None:
    for status in ("lost", "PAID", "paid,pending"):
        invalid(buyer.get("/api/orders", params={"status": status}), "status")
