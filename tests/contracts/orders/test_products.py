"""Anybody may look at what the shop sells."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from .journeys import IPHONE, Fresh, Json, invalid, refusal, success, written

PRODUCT_MEMBERS = {
    *("id", "sku", "name", "price", "currency", "stock", "inStock", "image", "images"),
}
DEMO: list[tuple[str, str, str, int | None]] = [
    (IPHONE, "iPhone 15 Pro", "99999", 5000),
    ("prod_001", "Wireless Mouse", "99.9", 5000),
    ("prod_002", "Mechanical Keyboard", "149.9", 5000),
    ("prod_003", "Desk Lamp", "250", 5000),
    ("prod_004", "Notebook A5", "12.5", 10000),
    ("prod_005", "Paper Clip", "0.01", 1000000),
    ("prod_006", "Headphones", "1499", 1000),
    ("prod_007", "Coffee Mug", "29.99", 3000),
    ("prod_008", "Backpack", "799", 1000),
    ("prod_009", "Water Bottle", "19.95", 3000),
    ("prod_010", "27-inch Monitor", "24990", 200),
    ("prod_011", "USB-C Cable", "49", 5000),
    ("prod_012", "Diamond Ring", "9999999.99", 2000),
    ("prod_few", "Limited Print", "500", 5),
    ("prod_last", "Signed Poster", "500", 1),
    ("prod_soldout", "Sold-out Sneakers", "4999", 0),
    ("prod_gift", "Gift Voucher", "100", None),
]


@pytest.mark.parametrize(("product", "name", "price", "_stock"), DEMO)
def test_each_demo_product_is_as_printed(passer_by: httpx2.Client, product: str, name: str, price: str, _stock: int | None) -> None:
    answer = passer_by.get(f"/api/products/{product}")
    shown = success(answer)
    assert set(shown) == PRODUCT_MEMBERS
    assert (shown["id"], shown["name"], shown["currency"]) == (product, name, "INR")
    assert written(answer, "price") == [price]
    picture = "iphone15pro1" if product == IPHONE else product
    assert shown["image"] == f"https://example.com/{picture}.jpg"
    assert shown["images"][0] == shown["image"]
    assert isinstance(shown["sku"], str)


def test_the_sku_of_the_example_is_its_id(passer_by: httpx2.Client) -> None:
    shown = success(passer_by.get("/api/products/prod_001"))
    assert shown["sku"] == "prod_001"
    assert shown["images"] == ["https://example.com/prod_001.jpg"]


@pytest.mark.parametrize(("product", "_name", "price", "stock"), DEMO)
def test_a_new_shop_opens_with_the_demo_stock(fresh: Fresh, product: str, _name: str, price: str, stock: int | None) -> None:
    shown = next(row for row in fresh.opening if row["id"] == product)
    assert shown["stock"] == stock
    assert type(shown["stock"]) is type(stock)
    assert shown["inStock"] is (stock != 0)
    assert Decimal(shown["price"]) == Decimal(price)


def test_a_new_shop_sells_the_demo_products_and_nothing_else(fresh: Fresh) -> None:
    assert {row["id"] for row in fresh.opening} == {product for product, *_ in DEMO}


def page_of(who: httpx2.Client, **query: Any) -> Json:
    page = success(who.get("/api/products", params=query))
    assert set(page) == {"products", "page", "limit", "total", "hasNext"}
    return page


def test_the_first_page_holds_twenty(passer_by: httpx2.Client) -> None:
    page = page_of(passer_by)
    assert (page["page"], page["limit"]) == (1, 20)
    assert page["total"] >= len(DEMO)
    assert len(page["products"]) == min(20, page["total"])
    assert all(set(row) == PRODUCT_MEMBERS for row in page["products"])


def test_products_stand_by_name(fresh: Fresh) -> None:
    names = [row["name"] for row in fresh.opening]
    assert names in (sorted(names), sorted(names, key=str.casefold))


def test_pages_together_hold_everything_once(passer_by: httpx2.Client) -> None:
    whole = page_of(passer_by, limit=100)
    pages = [page_of(passer_by, page=1, limit=5)]
    while pages[-1]["hasNext"]:
        pages.append(page_of(passer_by, page=len(pages) + 1, limit=5))
    assert [row["id"] for page in pages for row in page["products"]] == [row["id"] for row in whole["products"]]
    assert len(pages) == -(-whole["total"] // 5)


def test_a_page_that_just_fits_has_no_next(passer_by: httpx2.Client) -> None:
    total = page_of(passer_by, limit=1)["total"]
    assert page_of(passer_by, limit=total)["hasNext"] is False
    assert page_of(passer_by, limit=total - 1)["hasNext"] is True


@pytest.mark.parametrize("page", [99, 10**9, 10**18])
def test_a_page_after_the_last_is_empty(passer_by: httpx2.Client, page: int) -> None:
    beyond = page_of(passer_by, page=page)
    assert (beyond["products"], beyond["hasNext"], beyond["page"]) == ([], False, page)
    assert beyond["total"] >= len(DEMO)


@pytest.mark.parametrize("path", ["/api/products", "/api/orders"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("page", value) for value in ("0", "-1", "x", "1.5")),
        *(("limit", value) for value in ("0", "101", "-1", "x", "2.5")),
    ],
)
def test_a_page_that_cannot_be_is_refused(buyer: httpx2.Client, path: str, name: str, value: str) -> None:
    invalid(buyer.get(path, params={name: value}), name)


@pytest.mark.parametrize("product", ["prod_999", "PROD_001", "x" * 50, "x" * 51, "%00", "%F0%9F%8E%81", "a'b", "a%20b"])
def test_what_is_not_sold_is_unknown(passer_by: httpx2.Client, product: str) -> None:
    refusal(passer_by.get(f"/api/products/{product}"), 404, "unknown_product")


def test_an_untracked_product_is_always_in_stock(passer_by: httpx2.Client) -> None:
    shown = success(passer_by.get("/api/products/prod_gift"))
    assert (shown["stock"], shown["inStock"]) == (None, True)


def test_a_sold_out_product_is_shown_as_such(passer_by: httpx2.Client) -> None:
    shown = success(passer_by.get("/api/products/prod_soldout"))
    assert (shown["stock"], shown["inStock"]) == (0, False)
