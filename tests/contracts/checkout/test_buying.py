"""A guest or a buyer sends items and a card, and a paid order comes back (checkout.md sections 1, 2, 3, 6)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .journeys import (
    ADDRESS,
    INSTANT,
    UUID7,
    Shop,
    buy,
    changed,
    exact,
    id_of,
    line,
    look,
    order_form,
    orders_of,
    someone_signed_in,
    steps,
    visitor,
    written,
)

PRICES = {"prod_001": "99.90", "prod_004": "12.50", "prod_005": "0.01", "prod_007": "29.99", "prod_011": "49"}


def test_two_mice_and_a_keyboard_cost_349_7_and_are_an_order(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form())
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"checkout_id", "error", "order_id", "total", "status"}
    assert UUID7.fullmatch(body["checkout_id"])
    assert UUID7.fullmatch(body["order_id"])
    assert body == {**body, "error": None, "status": "completed", "total": 349.7}
    assert written(answer, "total") == ["349.7"]


def test_a_client_that_sends_no_content_type_is_served(server: Shop) -> None:
    with visitor(server) as guest:
        answer = guest.post("/checkout/process", content=json.dumps(order_form()).encode())
        odd = guest.post("/checkout/process", content=json.dumps(order_form()).encode(), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, odd.status_code) == (200, 200), answer.text + odd.text


def test_prices_may_be_left_out_because_they_are_the_servers(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_001", 2), line("prod_002")))
    assert answer.status_code == 200, answer.text
    assert written(answer, "total") == ["349.7"]


@pytest.mark.parametrize(
    ("items", "total"),
    [
        ([line("prod_005", 3)], "0.03"),
        ([line("prod_007", 3, 29.99)], "89.97"),
        ([line("prod_001", 3), line("prod_005", 1)], "299.71"),
        ([line("prod_gift", 2, 100)], "200"),
        ([line("prod_009", 7)], "139.65"),
    ],
)
def test_the_total_is_exact_to_the_last_paisa(server: Shop, items: list[dict[str, Any]], total: str) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(*items))
        assert answer.status_code == 200, answer.text
        seen = guest.get(f"/checkout/{id_of(answer)}")
    assert exact(answer)["total"] == Decimal(total)
    assert exact(seen)["total"] == Decimal(total)
    assert "e" not in written(answer, "total")[0].lower()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(basket=st.dictionaries(st.sampled_from(sorted(PRICES)), st.integers(1, 4), min_size=1))
def test_whatever_is_in_the_basket_the_sum_is_exact(server: Shop, basket: dict[str, int]) -> None:
    wanted = sum(Decimal(PRICES[name]) * count for name, count in basket.items())
    with visitor(server) as guest:
        answer = buy(guest, order_form(*(line(name, count) for name, count in basket.items())))
    assert answer.status_code == 200, answer.text
    assert exact(answer)["total"] == wanted


def test_the_same_product_twice_is_one_line_with_the_sum(server: Shop) -> None:
    buyer = someone_signed_in()
    token = server.token(buyer)
    with visitor(server, token) as client:
        answer = buy(client, order_form(line("prod_001", 1, 99.90), line("prod_002"), line("prod_001", 2)))
    assert answer.status_code == 200, answer.text
    assert exact(answer)["total"] == Decimal("449.60")
    (order,) = orders_of(server, token)
    lines = {each["productId"]: each["quantity"] for each in order["items"]}
    assert lines == {"prod_001": 3, "prod_002": 1}
    assert len(order["items"]) == 2


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("payment_method.type", "debit_card"),
        ("payment_method.card_number", "4111 1111 1111 1111"),
        ("payment_method.card_number", "4111-1111-1111-1111"),
        ("payment_method.card_number", "411111111111"),
        ("payment_method.card_number", "4111111111111111111"),
        ("payment_method.card_number", "1234567890123456"),
        ("payment_method.card_expiry", "12/25"),
        ("payment_method.card_expiry", "01/00"),
        ("payment_method.card_expiry", "12/99"),
        ("payment_method.card_cvv", "1234"),
        ("payment_method.card_cvv", "000"),
        ("customer_email", "a@b"),
        ("customer_email", "x" * 242 + "@example.com"),
        ("shipping_address.street", "x" * 200),
        ("shipping_address.city", "東京"),
        ("shipping_address.number", "1"),
    ],
)
def test_what_the_form_allows_is_bought(server: Shop, member: str, value: str) -> None:
    with visitor(server) as guest:
        answer = buy(guest, changed(order_form(line("prod_011")), member, value))
    assert answer.status_code == 200, answer.text


def test_twenty_extra_members_of_an_address_are_kept(server: Shop) -> None:
    extras = {f"extra_{number}": "x" * 200 for number in range(20)}
    token = server.token(someone_signed_in())
    with visitor(server, token) as client:
        answer = buy(client, order_form(line("prod_011"), address={**ADDRESS, **extras}))
    assert answer.status_code == 200, answer.text
    (order,) = orders_of(server, token)
    assert order["shippingAddress"] == {**ADDRESS, **extras}


def test_a_hundred_lines_are_allowed(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(*(line("prod_005", 2) for _ in range(100))))
    assert answer.status_code == 200, answer.text
    assert exact(answer)["total"] == 2


def test_a_guests_checkout_can_be_followed_by_whoever_has_its_id(server: Shop) -> None:
    with visitor(server) as guest, visitor(server) as friend:
        answer = buy(guest, order_form())
        assert answer.status_code == 200, answer.text
        seen = look(friend, id_of(answer))
    assert set(seen) == {"checkout_id", "status", "order_id", "payment_id", "total", "error", "message", "steps"}
    assert seen["checkout_id"] == id_of(answer)
    assert (seen["status"], seen["error"], seen["message"]) == ("completed", None, None)
    assert seen["order_id"] == answer.json()["order_id"]
    assert UUID7.fullmatch(seen["payment_id"])
    assert seen["total"] == 349.7


def test_without_neighbours_the_steps_are_stock_payment_order(server: Shop) -> None:
    with visitor(server) as guest:
        seen = look(guest, id_of(buy(guest, order_form())))
    assert list(steps(seen).items()) == [("stock", "done"), ("payment", "done"), ("order", "done")]
    for step in seen["steps"]:
        assert set(step) == {"step", "status", "at"}
        assert INSTANT.fullmatch(step["at"]), step
    instants = [step["at"] for step in seen["steps"]]
    assert instants == sorted(instants)


def test_a_buyers_checkout_shows_among_the_buyers_orders(server: Shop) -> None:
    buyer = someone_signed_in()
    token = server.token(buyer)
    with visitor(server, token) as client:
        answer = buy(client, order_form())
    assert answer.status_code == 200, answer.text
    (order,) = orders_of(server, token)
    assert order["id"] == answer.json()["order_id"]
    assert order["userId"] == buyer
    assert (order["status"], order["paymentStatus"]) == ("paid", "paid")
    assert (order["totalAmount"], order["currency"]) == (349.7, "INR")
    assert order["shippingAddress"] == ADDRESS
    lines = {each["productId"]: (each["quantity"], each["price"], each["totalPrice"]) for each in order["items"]}
    assert lines == {"prod_001": (2, 99.9, 199.8), "prod_002": (1, 149.9, 149.9)}


def test_a_buyers_cart_is_left_alone_by_a_checkout(server: Shop) -> None:
    token = server.token(someone_signed_in())
    with visitor(server, token) as client:
        added = client.post("/api/cart/items", json={"productId": "prod_004", "quantity": 2})
        assert added.status_code == 201, added.text
        assert buy(client, order_form()).status_code == 200
        cart = client.get("/api/cart").json()["data"]
    assert [(each["productId"], each["quantity"]) for each in cart["items"]] == [("prod_004", 2)]


def test_a_guests_order_is_nobodys(server: Shop) -> None:
    token = server.token(someone_signed_in())
    with visitor(server) as guest:
        order_id = buy(guest, order_form()).json()["order_id"]
    assert orders_of(server, token) == []
    with visitor(server, token) as stranger:
        assert stranger.get(f"/api/orders/{order_id}").status_code == 404


def test_exactly_a_thousand_is_paid_and_a_paisa_more_is_not(server: Shop) -> None:
    with visitor(server) as guest:
        allowed = buy(guest, order_form(line("prod_003", 4, 250)))
        beyond = buy(guest, order_form(line("prod_003", 4, 250), line("prod_005", 1, 0.01)))
    assert allowed.status_code == 200, allowed.text
    assert exact(allowed)["total"] == 1000
    assert beyond.status_code == 422, beyond.text
    assert beyond.json()["detail"]["code"] == "insufficient_funds"


@pytest.mark.parametrize("sent", ["req-7731", "x", "a" * 128, "!#$%&'*+-.^_`|~"])
def test_a_request_id_is_taken_over(server: Shop, sent: str) -> None:
    with visitor(server) as guest:
        bought = buy(guest, order_form(line("prod_011")), headers={"X-Request-Id": sent})
        refused = buy(guest, order_form(line("prod_nobody")), headers={"X-Request-Id": sent})
        broken = buy(guest, b"{", headers={"X-Request-Id": sent})
        missing = guest.get("/checkout/nothing", headers={"X-Request-Id": sent})
    assert [each.headers["X-Request-Id"] for each in (bought, refused, broken, missing)] == [sent] * 4


@pytest.mark.parametrize("sent", [None, "a" * 129, "with blank", "tab\there"])
def test_a_request_id_is_made_when_there_is_none_to_take(server: Shop, sent: str | None) -> None:
    with visitor(server) as guest:
        headers = {} if sent is None else {"X-Request-Id": sent}
        first = buy(guest, order_form(line("prod_011")), headers=headers).headers["X-Request-Id"]
        second = buy(guest, b"[]", headers=headers).headers["X-Request-Id"]
    assert first
    assert second
    assert first != second
    assert sent not in {first, second}


def test_health_and_ready_are_those_of_all_contracts(server: Shop) -> None:
    with visitor(server) as guest:
        health, ready = guest.get("/health"), guest.get("/ready")
    assert (health.status_code, health.json()) == (200, {"message": "ok", "status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"message": "ready"})
