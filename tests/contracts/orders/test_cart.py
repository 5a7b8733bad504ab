"""One open cart per buyer, with a version that moves with each change of its lines."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from .journeys import (
    CART_MEMBERS,
    ITEM_MEMBERS,
    UUID7,
    SignIn,
    add,
    anybody,
    invalid,
    look,
    quantities,
    refusal,
    success,
    written,
)

NOBODYS_ID = "019b76da-9f2b-7e60-b3c4-0d9a8e7f6a51"


def test_a_new_buyer_finds_an_empty_cart(sign_in: SignIn) -> None:
    user = anybody()
    answer = sign_in(user).get("/api/cart")
    cart = success(answer)
    assert answer.json()["message"] == "Cart retrieved successfully"
    assert UUID7.fullmatch(cart.pop("id"))
    assert cart == {
        "userId": user,
        "version": 0,
        "currency": "INR",
        "items": [],
        "totalItems": 0,
        "totalAmount": 0,
        "problems": [],
    }
    assert written(answer, "totalAmount") == ["0"]
    assert answer.headers["ETag"] == '"0"'


def test_a_filled_cart_is_shown_field_by_field(sign_in: SignIn) -> None:
    user = anybody()
    buyer = sign_in(user)
    mouse = add(buyer, "prod_001", 2)
    keyboard = add(buyer, "prod_002")
    answer = buyer.get("/api/cart")
    cart = success(answer)
    assert set(cart) == CART_MEMBERS
    assert all(set(item) == ITEM_MEMBERS for item in cart["items"])
    assert cart["items"] == [mouse, keyboard]
    assert (cart["userId"], cart["version"], cart["currency"]) == (user, 2, "INR")
    assert (cart["totalItems"], cart["problems"]) == (3, [])
    assert written(answer, "totalAmount") == ["349.7"]
    assert written(answer, "totalPrice") == ["199.8", "149.9"]
    assert written(answer, "price") == ["99.9", "149.9"]
    assert answer.headers["ETag"] == '"2"'


def test_the_cart_stays_the_same_cart(buyer: httpx2.Client) -> None:
    first = look(buyer)["id"]
    add(buyer)
    assert look(buyer)["id"] == first


def test_a_quantity_can_be_replaced(buyer: httpx2.Client) -> None:
    item = add(buyer, "prod_001", 2)
    answer = buyer.put(f"/api/cart/items/{item['id']}", json={"quantity": 7})
    changed = success(answer)
    assert set(changed) == ITEM_MEMBERS
    assert (changed["id"], changed["productId"], changed["quantity"]) == (
        item["id"],
        "prod_001",
        7,
    )
    assert written(answer, "totalPrice") == ["699.3"]
    assert answer.headers["ETag"] == '"2"'
    assert quantities(buyer) == {"prod_001": 7}


def test_a_quantity_beyond_the_stock_is_refused(buyer: httpx2.Client) -> None:
    item = add(buyer, "prod_010", 1)
    left = success(buyer.get("/api/products/prod_010"))["stock"]
    answer = buyer.put(f"/api/cart/items/{item['id']}", json={"quantity": left + 1})
    assert refusal(answer, 409, "stock_insufficient") == {
        "productId": "prod_010",
        "requested": left + 1,
        "available": left,
    }
    assert quantities(buyer) == {"prod_010": 1}
    assert look(buyer)["version"] == 1


def test_a_line_can_be_removed_once(buyer: httpx2.Client) -> None:
    mouse, lamp = add(buyer, "prod_001"), add(buyer, "prod_003", 2)
    answer = buyer.delete(f"/api/cart/items/{mouse['id']}")
    cart = success(answer)
    assert set(cart) == CART_MEMBERS
    assert cart["items"] == [lamp]
    assert (cart["version"], cart["totalItems"], cart["totalAmount"]) == (3, 2, 500)
    assert answer.headers["ETag"] == '"3"'
    refusal(buyer.delete(f"/api/cart/items/{mouse['id']}"), 404, "not_found")
    assert look(buyer)["version"] == 3


def test_a_cart_can_be_cleared_as_often_as_one_likes(buyer: httpx2.Client) -> None:
    add(buyer, "prod_001")
    add(buyer, "prod_003")
    for _ in range(2):
        answer = buyer.delete("/api/cart")
        cart = success(answer)
        assert set(cart) == CART_MEMBERS
        assert (cart["items"], cart["totalItems"], cart["totalAmount"]) == ([], 0, 0)
        assert cart["version"] == 3
        assert answer.headers["ETag"] == '"3"'


def test_clearing_an_untouched_cart_changes_nothing(buyer: httpx2.Client) -> None:
    assert success(buyer.delete("/api/cart"))["version"] == 0


@pytest.mark.parametrize("item", ["nothing", "0", NOBODYS_ID, NOBODYS_ID[:-1], "507f1f77bcf86cd799439013", "%00", "x" * 300])
def test_a_line_that_is_not_there_is_not_found(buyer: httpx2.Client, item: str) -> None:
    add(buyer)
    refusal(buyer.put(f"/api/cart/items/{item}", json={"quantity": 1}), 404, "not_found")
    refusal(buyer.delete(f"/api/cart/items/{item}"), 404, "not_found")
    assert look(buyer)["version"] == 1


def test_a_strangers_line_does_not_exist(buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    item = add(buyer, "prod_001", 2)
    refusal(stranger.put(f"/api/cart/items/{item['id']}", json={"quantity": 1}), 404, "not_found")
    refusal(stranger.delete(f"/api/cart/items/{item['id']}"), 404, "not_found")
    assert (look(stranger)["items"], look(stranger)["version"]) == ([], 0)
    assert look(buyer)["items"] == [item]


def test_not_even_staff_reach_into_a_cart(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    item = add(buyer)
    refusal(staff.delete(f"/api/cart/items/{item['id']}"), 404, "not_found")
    assert quantities(buyer) == {"prod_001": 1}


def test_staff_have_carts_of_their_own(staff: httpx2.Client) -> None:
    add(staff, "prod_003")
    assert quantities(staff) == {"prod_003": 1}


# If-Match

Change = Callable[[httpx2.Client, str, dict[str, str]], httpx2.Response]
CHANGES: dict[str, Change] = {
    "add": lambda who, _, headers: who.post("/api/cart/items", json={"productId": "prod_003"}, headers=headers),
    "change": lambda who, item, headers: who.put(f"/api/cart/items/{item}", json={"quantity": 5}, headers=headers),
    "remove": lambda who, item, headers: who.delete(f"/api/cart/items/{item}", headers=headers),
    "clear": lambda who, _, headers: who.delete("/api/cart", headers=headers),
}
any_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


@any_change
@pytest.mark.parametrize("tag", ['"2"', "*"])
def test_a_change_of_the_version_one_knows_is_done(buyer: httpx2.Client, change: Change, tag: str) -> None:
    add(buyer)
    item = add(buyer)
    answer = change(buyer, item["id"], {"If-Match": tag})
    assert answer.is_success, answer.text
    assert answer.headers["ETag"] == '"3"'


@any_change
@pytest.mark.parametrize("tag", ['"0"', '"1"', '"3"', '"1000"'])
def test_a_change_of_another_version_is_refused(buyer: httpx2.Client, change: Change, tag: str) -> None:
    add(buyer)
    item = add(buyer)
    answer = change(buyer, item["id"], {"If-Match": tag})
    assert refusal(answer, 412, "cart_changed") == {"version": 2}
    cart = look(buyer)
    assert (cart["version"], quantities(buyer)) == (2, {"prod_001": 2})


@any_change
@pytest.mark.parametrize("tag", ['W/"1"', '"1", "2"', "1", '""', '"x"', "x", '"1', '"-1"', '"1.0"', "**"])
def test_a_tag_that_names_no_version_is_refused(buyer: httpx2.Client, change: Change, tag: str) -> None:
    item = add(buyer)
    refusal(change(buyer, item["id"], {"If-Match": tag}), 400, "invalid_if_match")
    cart = look(buyer)
    assert (cart["version"], quantities(buyer)) == (1, {"prod_001": 1})


def test_a_first_add_may_name_the_empty_cart(buyer: httpx2.Client) -> None:
    answer = buyer.post("/api/cart/items", json={"productId": "prod_001"}, headers={"If-Match": '"0"'})
    assert answer.status_code == 201


def test_refusals_tell_the_version_too(buyer: httpx2.Client) -> None:
    add(buyer)
    stale = buyer.delete("/api/cart", headers={"If-Match": '"7"'})
    sold_out = buyer.post("/api/cart/items", json={"productId": "prod_soldout"})
    nothing = buyer.delete(f"/api/cart/items/{NOBODYS_ID}")
    assert [answer.status_code for answer in (stale, sold_out, nothing)] == [412, 409, 404]
    assert [answer.headers.get("ETag") for answer in (stale, sold_out, nothing)] == ['"1"'] * 3


# Who one is


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("0", 0),
        ("999999999999999999", 999999999999999999),
        ("1000000000000000000", "1000000000000000000"),
        ("007", "007"),
        ("-5", "-5"),
        ("Asha-7f3c", "Asha-7f3c"),
        ("यूज़र", "यूज़र"),
        ("u" * 255, "u" * 255),
        ("1.5", "1.5"),
    ],
)
def test_a_user_is_shown_as_a_number_if_it_looks_like_one(sign_in: SignIn, user: str, shown: int | str) -> None:
    answer = sign_in(user).get("/api/cart")
    assert answer.json()["data"]["userId"] == shown
    assert type(answer.json()["data"]["userId"]) is type(shown)


def test_a_leading_zero_makes_another_user(sign_in: SignIn) -> None:
    user = anybody()
    add(sign_in(user))
    assert look(sign_in(f"0{user}"))["items"] == []


def test_a_quantity_must_be_named_to_be_changed(buyer: httpx2.Client) -> None:
    item = add(buyer)
    for body in ({}, {"quantity": None}):
        invalid(buyer.put(f"/api/cart/items/{item['id']}", json=body), "quantity")
    assert look(buyer)["version"] == 1
