"""With a product service beside it Kassa asks that for prices and stock, and tells it what was sold."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    Json,
    SignIn,
    add,
    buy,
    buy_paid,
    buy_waiting,
    eventually,
    look,
    move,
    moved,
    orders_of,
    people,
    place,
    quantities,
    read,
    refusal,
    success,
    wait_for,
    wish,
    written,
)
from .neighbour import BROKEN, Reply, open_for_business, saying
from .product_shop import ProductShop, shaped


@pytest.fixture(scope="module")
def shelves() -> Iterator[ProductShop]:
    with open_for_business(ProductShop()) as shop:
        yield shop


@pytest.fixture(scope="module")
def beside(start_kassa: Callable[..., Server], shelves: ProductShop) -> Server:
    """A Kassa whose products are its neighbour's."""
    return start_kassa(PRODUCT_SERVICE_URL=shelves.url)


@pytest.fixture
def shop(shelves: ProductShop, beside: Server) -> Iterator[ProductShop]:
    """The neighbour, well behaved again (and trusted again) after each test."""
    yield shelves
    shelves.forgive()
    wellknown = shelves.sell("wellknown")

    def trusted() -> bool:
        url = f"{beside.url}/api/products/{wellknown}"
        return httpx2.get(url, trust_env=False, verify=False).status_code == 200

    assert eventually(trusted, within=15)


@pytest.fixture
def sign_in(beside: Server) -> Iterator[SignIn]:
    with people(beside) as sign_in:
        yield sign_in


def something() -> str:
    return f"ware-{secrets.token_hex(6)}"


# Looking and adding


def test_name_price_picture_and_stock_are_the_neighbours(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), 349.70, 7)
    answer = buyer.get(f"/api/products/{ware}")
    assert success(answer) == {
        "id": ware,
        "sku": f"sku-{ware}",
        "name": f"The {ware}",
        "price": success(answer)["price"],
        "currency": "INR",
        "stock": 7,
        "inStock": True,
        "image": f"https://example.com/{ware}.png",
        "images": [f"https://example.com/{ware}.png"],
    }
    assert written(answer, "price") == ["349.7"]


def test_a_question_carries_the_request_id_and_no_key(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something())
    answer = buyer.post("/api/cart/items", json={"productId": ware}, headers={"X-Request-Id": f"ask-{ware}"})
    assert answer.status_code == 201
    calls = shop.calls("GET", ware)
    assert calls
    for call in calls:
        assert call.path == f"/api/products/{ware}"
        assert call.headers["X-Request-Id"] == f"ask-{ware}"
        assert call.headers["Content-Type"] == "application/json"
        assert call.headers["Idempotency-Key"] is None


def test_the_own_catalogue_is_not_used(shop: ProductShop, buyer: httpx2.Client) -> None:
    refusal(buyer.get("/api/products/prod_001"), 404, "unknown_product")
    answer = buyer.post("/api/cart/items", json={"productId": "prod_001"})
    refusal(answer, 404, "unknown_product")
    assert shop.calls("GET", "prod_001")
    assert look(buyer)["version"] == 0


def test_a_list_is_the_neighbours_page(shop: ProductShop, buyer: httpx2.Client) -> None:
    for _ in range(3):
        shop.sell(something())
    page = success(buyer.get("/api/products", params={"page": 2, "limit": 2}))
    assert set(page) == {"products", "page", "limit", "total", "hasNext"}
    assert (page["page"], page["limit"], page["total"]) == (2, 2, len(shop.products))
    assert page["hasNext"] is (len(shop.products) > 4)
    assert [row["id"] for row in page["products"]] == sorted(shop.products)[2:4]
    [call] = [call for call in shop.calls("GET", "") if call.query["limit"] == ["2"]]
    assert (call.path, call.query["page"]) == ("/api/products", ["2"])


@pytest.mark.parametrize(("price", "shown"), [("99.90", "99.9"), ("100", "100"), (12, "12")])
def test_a_price_may_be_a_number_or_text(shop: ProductShop, buyer: httpx2.Client, price: object, shown: str) -> None:
    ware = shop.sell(something(), price)
    assert written(buyer.get(f"/api/products/{ware}"), "price") == [shown]


def test_no_stock_means_untracked(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=None)
    shown = success(buyer.get(f"/api/products/{ware}"))
    assert (shown["stock"], shown["inStock"]) == (None, True)
    assert add(buyer, ware, 999)["quantity"] == 999


def test_no_more_is_added_than_the_neighbour_has(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=3)
    add(buyer, ware, 2)
    answer = buyer.post("/api/cart/items", json={"productId": ware, "quantity": 2})
    assert refusal(answer, 409, "stock_insufficient") == {
        "productId": ware,
        "requested": 4,
        "available": 3,
    }


def test_a_hundred_lines_fit_and_no_more(shop: ProductShop, buyer: httpx2.Client) -> None:
    wares = [shop.sell(something(), stock=5) for _ in range(101)]
    for ware in wares[:100]:
        add(buyer, ware)
    answer = buyer.post("/api/cart/items", json={"productId": wares[100]})
    refusal(answer, 409, "cart_full")
    assert add(buyer, wares[0])["quantity"] == 2
    cart = look(buyer)
    assert (len(cart["items"]), cart["version"], cart["totalItems"]) == (100, 101, 101)


# The cart is live


def test_a_price_that_rose_must_be_agreed_to(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), 100)
    item = add(buyer, ware, 2)
    shop.sell(ware, 120.5)
    cart = look(buyer)
    [problem] = cart["problems"]
    assert (cart["totalAmount"], cart["items"][0]["price"]) == (241, problem["price"])
    assert problem.pop("message")
    assert problem == {
        "itemId": item["id"],
        "productId": ware,
        "code": "price_changed",
        "oldPrice": 100,
        "price": problem["price"],
    }
    assert str(problem["price"]) == "120.5"
    answer = buyer.post("/api/orders", json=wish())
    details = refusal(answer, 409, "price_changed")
    assert details["total"] == 241
    assert [problem["code"] for problem in details["problems"]] == ["price_changed"]
    refusal(buyer.post("/api/orders", json=wish(expectedTotal=200)), 409, "price_changed")
    assert quantities(buyer) == {ware: 2}
    assert place(buyer, expectedTotal=241)["totalAmount"] == 241


def test_an_edit_agrees_to_the_new_price(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), 100)
    item = add(buyer, ware, 2)
    shop.sell(ware, 120)
    success(buyer.put(f"/api/cart/items/{item['id']}", json={"quantity": 3}))
    assert look(buyer)["problems"] == []
    assert place(buyer)["totalAmount"] == 360


def test_a_price_that_fell_is_simply_used(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), 100)
    add(buyer, ware, 2)
    shop.sell(ware, 80)
    assert [problem["code"] for problem in look(buyer)["problems"]] == ["price_changed"]
    assert place(buyer)["totalAmount"] == 160


def test_what_is_no_longer_sold_stops_the_order(shop: ProductShop, buyer: httpx2.Client) -> None:
    gone, kept = shop.sell(something(), 70), shop.sell(something(), 30)
    item = add(buyer, gone, 2)
    add(buyer, kept)
    del shop.products[gone]
    cart = look(buyer)
    [problem] = cart["problems"]
    assert problem.pop("message")
    assert problem == {"itemId": item["id"], "productId": gone, "code": "no_longer_sold"}
    line = cart["items"][0]
    assert (line["productName"], line["price"], line["quantity"]) == (f"The {gone}", 70, 2)
    assert cart["totalAmount"] == 30
    details = refusal(buyer.post("/api/orders", json=wish()), 409, "stock_insufficient")
    assert details == {"items": [{"productId": gone, "requested": 2, "available": 0}]}
    success(buyer.delete(f"/api/cart/items/{item['id']}"))
    assert place(buyer)["totalAmount"] == 30


def test_stock_that_shrank_stops_the_order(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=5)
    add(buyer, ware, 4)
    shop.sell(ware, stock=1)
    [problem] = look(buyer)["problems"]
    assert (problem["code"], problem["available"]) == ("stock_insufficient", 1)
    details = refusal(buyer.post("/api/orders", json=wish()), 409, "stock_insufficient")
    assert details == {"items": [{"productId": ware, "requested": 4, "available": 1}]}
    assert shop.changes(ware) == []


def test_what_open_orders_hold_is_not_sold_twice(shop: ProductShop, buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=5)
    add(stranger, ware, 3)
    order = buy_waiting(buyer, ware, 3)
    details = refusal(stranger.post("/api/orders", json=wish()), 409, "stock_insufficient")
    assert details == {"items": [{"productId": ware, "requested": 3, "available": 2}]}
    moved(buyer, order["id"], "cancelled")
    place(stranger)
    assert eventually(lambda: shop.products[ware]["stock"] == 2)


# Taking and giving back


def test_what_was_paid_is_taken_line_by_line_in_product_order(shop: ProductShop, buyer: httpx2.Client) -> None:
    wares = sorted(shop.sell(something(), stock=10) for _ in range(3))
    for ware, quantity in zip(reversed(wares), (3, 2, 1), strict=True):
        add(buyer, ware, quantity)
    order = place(buyer, paymentDetails={"cardNumber": "4929123412348815"})["id"]
    wait_for(buyer, order, "paid", "paid")
    assert eventually(lambda: len(shop.changes(*wares)) == 3)
    assert shop.changes(*wares) == [
        (ware, -quantity, f"{order}:take:{ware}") for ware, quantity in zip(wares, (1, 2, 3), strict=True)
    ]
    for call in shop.calls("PATCH", wares[0]):
        assert call.path == f"/api/products/{wares[0]}/stock"
        assert call.body == {"quantity": -1}
        assert call.headers["Content-Type"] == "application/json"
        assert call.headers["X-Request-Id"]
    assert "4929123412348815" not in str(shop.diary)
    assert "Mumbai" not in str(shop.diary)


def test_cash_on_delivery_takes_at_once(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=10)
    order = buy(buyer, ware, 4, paymentMethod="cash_on_delivery")["id"]
    wait_for(buyer, order, "processing")
    assert eventually(lambda: shop.changes(ware) == [(ware, -4, f"{order}:take:{ware}")])


def test_ten_cancels_give_back_once(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=10)
    order = buy_paid(buyer, ware, 4)["id"]
    assert eventually(lambda: shop.products[ware]["stock"] == 6)
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda _: move(buyer, order, "cancelled"), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    wait_for(buyer, order, "cancelled", "refunded")
    assert eventually(lambda: shop.products[ware]["stock"] == 10)
    assert shop.changes(ware) == [
        (ware, -4, f"{order}:take:{ware}"),
        (ware, 4, f"{order}:return:{ware}"),
    ]


def test_what_was_never_taken_is_not_given_back(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware, marker = shop.sell(something()), shop.sell(something())
    moved(buyer, buy_waiting(buyer, ware, 4)["id"], "cancelled")
    success(buyer.delete("/api/cart"))
    buy_paid(buyer, marker)
    assert eventually(lambda: shop.changes(marker))
    assert shop.changes(ware) == []


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_a_refusal_gives_everything_back(shop: ProductShop, buyer: httpx2.Client, status: int) -> None:
    first, second = sorted(shop.sell(something(), stock=10) for _ in range(2))
    shop.will("PATCH", second, saying(status, success=False, message="no"))
    add(buyer, second, 2)
    add(buyer, first, 3)
    order = place(buyer)["id"]
    wait_for(buyer, order, "cancelled", "refunded")
    assert eventually(lambda: len(shop.changes(first, second)) == 3)
    assert shop.changes(first, second) == [
        (first, -3, f"{order}:take:{first}"),
        (second, -2, f"{order}:take:{second}"),
        (first, 3, f"{order}:return:{first}"),
    ]
    assert (shop.products[first]["stock"], shop.products[second]["stock"]) == (10, 10)


@pytest.mark.parametrize(
    "reply",
    [
        BROKEN,
        Reply(500, b"oops", works=True),
        Reply(cut=True),
        Reply(cut=True, works=True),
    ],
    ids=["error", "works, then error", "cut", "works, then cut"],
)
def test_silence_is_asked_again_under_the_same_key(shop: ProductShop, buyer: httpx2.Client, reply: Reply) -> None:
    ware = shop.sell(something(), stock=10)
    shop.will("PATCH", ware, reply)
    order = buy(buyer, ware, 4)["id"]
    assert eventually(lambda: len(shop.changes(ware)) == 2, within=6)
    wait_for(buyer, order, "paid", "paid")
    assert shop.changes(ware) == [(ware, -4, f"{order}:take:{ware}")] * 2
    assert shop.products[ware]["stock"] == 6


def test_a_yes_that_cannot_be_read_is_no_refusal(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=10)
    shop.will("PATCH", ware, Reply(200, b"{", works=True))
    order = buy(buyer, ware, 4)["id"]
    wait_for(buyer, order, "paid", "paid", within=6)
    assert set(shop.changes(ware)) == {(ware, -4, f"{order}:take:{ware}")}
    assert shop.products[ware]["stock"] == 6


def test_an_unsure_return_is_asked_again_too(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), stock=10)
    order = buy_paid(buyer, ware, 4)["id"]
    assert eventually(lambda: shop.products[ware]["stock"] == 6)
    shop.will("PATCH", ware, Reply(500, b"oops", works=True))
    moved(buyer, order, "cancelled")
    assert eventually(lambda: len(shop.changes(ware)) == 3, within=6)
    assert shop.changes(ware)[1:] == [(ware, 4, f"{order}:return:{ware}")] * 2
    assert shop.products[ware]["stock"] == 10


# When the neighbour is away

WRONG_ANSWERS = {
    "not JSON": Reply(200, b"<html>"),
    "a list": shaped([]),
    "no data": saying(200, success=True),
    "no price": shaped({"sku": "s", "name": "n", "images": [], "stock": 1}),
    "no name": shaped({"sku": "s", "images": [], "price": 1, "stock": 1}),
    "three decimals": shaped({"sku": "s", "name": "n", "images": [], "price": 9.999, "stock": 1}),
    "words for a price": shaped({"sku": "s", "name": "n", "images": [], "price": "1,5"}),
    "a price below zero": shaped({"sku": "s", "name": "n", "images": [], "price": -1}),
    "text for stock": shaped({"sku": "s", "name": "n", "images": [], "price": 1, "stock": "5"}),
    "half a piece": shaped({"sku": "s", "name": "n", "images": [], "price": 1, "stock": 1.5}),
    "an error": BROKEN,
    "a cut line": Reply(cut=True),
    "over 64 KiB": shaped({"sku": "s", "name": "n" * 70_000, "images": [], "price": 1}),
}


@pytest.mark.parametrize("reply", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
def test_an_answer_that_makes_no_sense_sells_nothing(shop: ProductShop, buyer: httpx2.Client, reply: Reply) -> None:
    ware = shop.sell(something())
    shop.will("GET", ware, *[reply] * 4)
    answer = buyer.post("/api/cart/items", json={"productId": ware})
    refusal(answer, 503, "product_service_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    shop.forgive()
    assert look(buyer)["version"] == 0


def test_a_redirect_is_not_followed(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware, other = shop.sell(something()), shop.sell(something())
    target = {"Location": f"{shop.url}/api/products/{other}"}
    shop.will("GET", ware, *[Reply(302, b"{}", target)] * 4)
    answer = buyer.get(f"/api/products/{ware}")
    refusal(answer, 503, "product_service_unavailable")
    assert shop.calls("GET", other) == []


def test_a_silent_neighbour_is_not_waited_for(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something())
    shop.will("GET", ware, *[Reply(delay=4, works=True)] * 4)
    began = time.monotonic()
    answer = buyer.post("/api/cart/items", json={"productId": ware})
    refusal(answer, 503, "product_service_unavailable")
    assert time.monotonic() - began < 3.5
    shop.forgive()
    assert look(buyer)["version"] == 0


def test_a_list_that_cannot_be_had_is_unavailable(shop: ProductShop, buyer: httpx2.Client) -> None:
    shop.will("GET", "", *[BROKEN] * 3)
    answer = buyer.get("/api/products")
    refusal(answer, 503, "product_service_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_cart_shows_the_last_it_knew_but_nothing_is_sold(shop: ProductShop, buyer: httpx2.Client) -> None:
    ware = shop.sell(something(), 349.7)
    before: Json = add(buyer, ware, 2)
    shop.will("GET", ware, *[BROKEN] * 12)
    cart = look(buyer)
    assert cart["items"] == [before]
    assert str(cart["totalAmount"]) == "699.4"
    for answer in (
        buyer.post("/api/cart/items", json={"productId": ware}),
        buyer.post("/api/orders", json=wish()),
    ):
        refusal(answer, 503, "product_service_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    shop.forgive()
    assert eventually(lambda: buyer.get(f"/api/products/{ware}").status_code == 200, within=15)
    assert (look(buyer)["version"], orders_of(buyer)["total"]) == (1, 0)
    assert read(buyer, place(buyer)["id"])["items"][0]["quantity"] == 2
