"""Putting things into the cart: one line per product, and the sum of every click."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rig import Server

from .journeys import (
    IPHONE,
    ITEM_MEMBERS,
    UUID7,
    add,
    anybody,
    invalid,
    look,
    quantities,
    refusal,
    success,
    written,
)


def test_two_phones_go_into_the_cart_as_the_readme_says(buyer: httpx2.Client) -> None:
    answer = buyer.post("/api/cart/items", json={"productId": IPHONE, "quantity": 2})
    item = success(answer, 201)
    assert answer.json()["message"] == "Item added to cart successfully"
    assert set(item) == ITEM_MEMBERS
    assert UUID7.fullmatch(item.pop("id"))
    assert item == {
        "productId": IPHONE,
        "productName": "iPhone 15 Pro",
        "price": 99999,
        "quantity": 2,
        "totalPrice": 199998,
        "image": "https://example.com/iphone15pro1.jpg",
    }
    assert written(answer, "price") == ["99999"]
    assert written(answer, "totalPrice") == ["199998"]
    assert answer.headers["ETag"] == '"1"'


@pytest.mark.parametrize(
    ("product", "quantity", "price", "total"),
    [
        ("prod_001", 2, "99.9", "199.8"),
        ("prod_001", 3, "99.9", "299.7"),
        ("prod_002", 7, "149.9", "1049.3"),
        ("prod_004", 2, "12.5", "25"),
        ("prod_005", 1, "0.01", "0.01"),
        ("prod_005", 999, "0.01", "9.99"),
        ("prod_007", 3, "29.99", "89.97"),
        ("prod_009", 20, "19.95", "399"),
        ("prod_012", 999, "9999999.99", "9989999990.01"),
    ],
)
def test_sums_are_exact_to_the_last_digit(buyer: httpx2.Client, product: str, quantity: int, price: str, total: str) -> None:
    answer = buyer.post("/api/cart/items", json={"productId": product, "quantity": quantity})
    assert answer.status_code == 201
    assert written(answer, "price") == [price]
    assert written(answer, "totalPrice") == [total]


@pytest.mark.parametrize("body", [{}, {"quantity": None}])
def test_one_is_added_when_nobody_says_how_many(buyer: httpx2.Client, body: dict[str, object]) -> None:
    item = success(buyer.post("/api/cart/items", json={"productId": "prod_001", **body}), 201)
    assert item["quantity"] == 1


def test_adding_again_adds_to_the_same_line(buyer: httpx2.Client) -> None:
    first = add(buyer, "prod_001", 2)
    second = add(buyer, "prod_001", 3)
    assert (second["id"], second["quantity"]) == (first["id"], 5)
    cart = look(buyer)
    assert [item["quantity"] for item in cart["items"]] == [5]
    assert cart["version"] == 2


def test_lines_stay_where_they_were_first_put(buyer: httpx2.Client) -> None:
    for product in ("prod_003", "prod_001", "prod_002", "prod_001", "prod_003"):
        add(buyer, product)
    assert [item["productId"] for item in look(buyer)["items"]] == [
        "prod_003",
        "prod_001",
        "prod_002",
    ]


def test_twenty_clicks_at_once_all_count(server: Server) -> None:
    user = anybody()

    async def click_twenty_times() -> list[httpx2.Response]:
        headers = {"Authorization": f"Bearer {server.token(user)}"}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=15, verify=False, trust_env=False) as client:
            body = {"productId": "prod_001"}
            clicks = [client.post("/api/cart/items", json=body) for _ in range(20)]
            return [*await asyncio.gather(*clicks), await client.get("/api/cart")]

    *added, last = asyncio.run(click_twenty_times())
    assert [answer.status_code for answer in added] == [201] * 20
    assert len({answer.json()["data"]["id"] for answer in added}) == 1
    assert sorted(answer.json()["data"]["quantity"] for answer in added) == list(range(1, 21))
    cart = success(last)
    assert (cart["version"], cart["totalItems"], len(cart["items"])) == (20, 20, 1)


def test_a_thousandth_piece_in_a_line_is_refused(buyer: httpx2.Client) -> None:
    add(buyer, "prod_005", 999)
    invalid(buyer.post("/api/cart/items", json={"productId": "prod_005", "quantity": 1}))
    cart = look(buyer)
    assert (cart["totalItems"], cart["version"]) == (999, 1)


def test_an_untracked_product_can_be_added_without_counting(buyer: httpx2.Client) -> None:
    assert add(buyer, "prod_gift", 999)["quantity"] == 999


def test_what_is_sold_out_does_not_go_into_the_cart(buyer: httpx2.Client) -> None:
    answer = buyer.post("/api/cart/items", json={"productId": "prod_soldout"})
    assert refusal(answer, 409, "stock_insufficient") == {
        "productId": "prod_soldout",
        "requested": 1,
        "available": 0,
    }
    cart = look(buyer)
    assert (cart["items"], cart["version"]) == ([], 0)


def test_the_stock_must_cover_the_line_as_it_would_become(buyer: httpx2.Client) -> None:
    left = success(buyer.get("/api/products/prod_010"))["stock"]
    add(buyer, "prod_010", left - 1)
    answer = buyer.post("/api/cart/items", json={"productId": "prod_010", "quantity": 2})
    assert refusal(answer, 409, "stock_insufficient") == {
        "productId": "prod_010",
        "requested": left + 1,
        "available": left,
    }
    assert quantities(buyer) == {"prod_010": left - 1}
    assert look(buyer)["version"] == 1


def test_a_cart_holds_nothing_back_from_others(buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    before = success(buyer.get("/api/products/prod_010"))["stock"]
    add(buyer, "prod_010", before)
    assert success(buyer.get("/api/products/prod_010"))["stock"] == before
    assert add(stranger, "prod_010", before)["quantity"] == before


def test_what_nobody_sells_is_unknown(buyer: httpx2.Client) -> None:
    for product in ("prod_999", "x" * 50, "a.b-c_D"):
        answer = buyer.post("/api/cart/items", json={"productId": product})
        refusal(answer, 404, "unknown_product")
    assert look(buyer)["version"] == 0


PRICES = {
    "prod_001": "99.90",
    "prod_004": "12.50",
    "prod_005": "0.01",
    "prod_007": "29.99",
    "prod_009": "19.95",
    "prod_012": "9999999.99",
}


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.dictionaries(st.sampled_from(sorted(PRICES)), st.integers(1, 999), min_size=1))
def test_any_cart_is_the_exact_sum_of_its_lines(buyer: httpx2.Client, wanted: dict[str, int]) -> None:
    success(buyer.delete("/api/cart"))
    for product, quantity in wanted.items():
        add(buyer, product, quantity)
    cart = look(buyer)
    assert Decimal(cart["totalAmount"]) == sum(Decimal(PRICES[product]) * quantity for product, quantity in wanted.items())
    assert cart["totalItems"] == sum(wanted.values())
