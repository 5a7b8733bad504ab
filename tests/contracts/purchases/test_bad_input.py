"""Whatever a client sends: a clear no, never a 500, never its own words back (section 11)."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from tests.contracts.orders.tokens import claims, jwt

from .journeys import Buyer, Shop, a_key, bad_field, good, refusal

UNREADABLE = {
    "empty": b"",
    "not JSON": b"{ambassador_id: 1}",
    "cut": b'{"ambassador_id": 1',
    "two": b'{"ambassador_id": 1}{}',
    "not UTF-8": b'{"ambassador_id": 1, "x": "\xff"}',
    "UTF-16": '{"ambassador_id": 1}'.encode("utf-16"),
    "NaN": b"NaN",
    "NaN inside": b'{"ambassador_id": 1, "x": NaN}',
    "NaN as id": b'{"ambassador_id": NaN}',
    "Infinity": b'{"ambassador_id": Infinity}',
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"ambassador_id"',
    "null": b"null",
    "true": b"true",
    "deep": b"[" * 30_000,
    "a form": b"ambassador_id=1",
}
BAD_IDS = {
    "null": "null",
    "text": '"1"',
    "fraction": "1.0",
    "exponent": "1e0",
    "true": "true",
    "false": "false",
    "list": "[1]",
    "object": '{"id": 1}',
    "zero": "0",
    "minus zero": "-0",
    "negative": "-1",
    "2^63": "9223372036854775808",
    "2^64": "18446744073709551616",
    "5000 digits": "9" * 5000,
    "empty text": '""',
}
SECRET_WORD = "kassandra-was-here"


def quiet(answer: httpx2.Response) -> None:
    """Nothing of what was sent, and nothing of our inside."""
    text = answer.text
    assert SECRET_WORD not in text
    assert "Traceback" not in text
    assert 'File "' not in text


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_body_that_is_no_object_is_refused(plain: Shop, method: str, body: bytes) -> None:
    answer = plain.buyer().send(method, "/cart/items", content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_body"
    assert set(answer.json()) <= {"detail", "code", "errors"}
    quiet(answer)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("written", BAD_IDS.values(), ids=BAD_IDS.keys())
def test_an_id_is_an_integer_from_one_on(plain: Shop, method: str, written: str) -> None:
    body = f'{{"ambassador_id": {written}, "x": "{SECRET_WORD}"}}'
    answer = plain.buyer().send(method, "/cart/items", content=body.encode())
    bad_field(answer)
    quiet(answer)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_id_must_be_there(plain: Shop, method: str) -> None:
    for body in ({}, {"id": 1}, {"ambassadorId": 1}, {"Ambassador_id": 1}):
        bad_field(plain.buyer().send(method, "/cart/items", json=body))


def test_an_id_is_never_echoed(plain: Shop) -> None:
    for value in (SECRET_WORD, [SECRET_WORD], {SECRET_WORD: 1}):
        answer = plain.buyer().put(value)
        bad_field(answer)
        quiet(answer)


@pytest.mark.parametrize("ambassador", [6, 99, 9223372036854775807])
def test_an_unknown_ambassador_is_not_found(plain: Shop, ambassador: int) -> None:
    buyer = plain.buyer()
    assert refusal(buyer.put(ambassador), 404, "ambassador_not_found")["detail"] == "Ambassador not found"
    refusal(buyer.drop(ambassador), 404, "not_in_cart")
    assert buyer.cart()["items"] == []


def test_what_a_client_says_of_prices_and_owners_is_ignored(plain: Shop) -> None:
    ada, bob = plain.buyer(), plain.buyer()
    more: dict[str, Any] = {
        "price": 1,
        "user_id": ada.user,
        "cart_id": ada.cart()["id"],
        "id": "x",
        "quantity": 9,
        "currency": None,
    }
    item = good(bob.send("POST", "/cart/items", json={"ambassador_id": 4, **more}), 201)
    assert (item["ambassador_id"], item["price"]) == (4, 2500000)
    assert ada.in_cart() == []
    assert bob.in_cart() == [4]
    assert bob.send("DELETE", "/cart/items", json={"ambassador_id": 4, **more}).status_code == 204
    assert bob.in_cart() == []


@pytest.mark.parametrize("query", ["page=0", "limit=0", "limit=101", "page=x", "page=-1", "limit=-1", "page=2147483648", "limit=x"])
def test_pages_and_limits_have_bounds(plain: Shop, query: str) -> None:
    answer = plain.buyer().send("GET", f"/purchases?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_body"
    assert set(answer.json()) <= {"detail", "code", "errors"}


@pytest.mark.parametrize("query", ["page=1.0", "page=", "limit=", "limit=%2B1x", "page=9" + "9" * 5000, "page=1e3", "limit=%00"])
def test_odd_pages_are_refused_too(plain: Shop, query: str) -> None:
    assert plain.buyer().send("GET", f"/purchases?{query}").status_code == 422


@pytest.mark.parametrize("query", ["", "?ambassador_id=", "?ambassador_id=x", "?ambassador_id=0", "?ambassador_id=-1", "?ambassador_id=1.0",
                                   "?ambassador_id=9223372036854775808", "?id=1", "?ambassador_id=%00"])  # fmt: skip
def test_a_removal_by_address_needs_a_good_id(plain: Shop, query: str) -> None:
    buyer = plain.buyer()
    buyer.add(1)
    assert buyer.send("DELETE", f"/cart/items{query}").status_code == 422
    assert buyer.in_cart() == [1]


def test_an_id_in_the_address_does_not_add(plain: Shop) -> None:
    buyer = plain.buyer()
    assert buyer.send("POST", "/cart/items?ambassador_id=1").status_code == 422
    assert buyer.in_cart() == []


def test_odd_addresses_and_headers_break_nothing(plain: Shop) -> None:
    buyer = plain.buyer()
    for path in ("/cart?x=%00", "/cart?%ff=%fe", "/purchases?page=1&user_id=7", "/cart?" + "a=b&" * 500):
        assert buyer.send("GET", path).status_code == 200
    headers = {"X-Merchant-Id": "2", "X-Http-Method-Override": "DELETE", "X-Forwarded-For": "' OR 1=1"}
    assert buyer.send("GET", "/cart", headers=headers).status_code == 200


def test_the_order_of_members_and_white_space_do_not_matter(plain: Shop) -> None:
    for body in (b' \n{"ambassador_id"\t:\r\n1 } ', json.dumps({"z": [{}], "ambassador_id": 1, "a": None}).encode()):
        good(plain.buyer().send("POST", "/cart/items", content=body), 201)


ODD_MEMBERS = {
    "half a character": r'"\ud800"',
    "a NUL": r'"\u0000"',
    "5000 digits": "9" * 5000,
    "over the greatest float": "1e999",
    "deep": "[" * 500 + "]" * 500,
    "very deep": "[" * 20_000 + "]" * 20_000,
    "an odd name": r'1, "\ud800\u0000": 1',
    "the same name twice": '1, "x": 2',
}


@pytest.mark.parametrize("key", [None, "with-a-key-"])
@pytest.mark.parametrize("written", ODD_MEMBERS.values(), ids=ODD_MEMBERS.keys())
def test_an_odd_unknown_member_is_ignored_or_refused(plain: Shop, written: str, key: str | None) -> None:
    """With an idempotency key the whole body is compared, unknown members too."""
    headers = {"Idempotency-Key": a_key()} if key else {}
    body = f'{{"ambassador_id": 1, "x": {written}}}'.encode()
    answer = plain.buyer().send("POST", "/cart/items", content=body, headers=headers)
    assert answer.status_code in {201, 422}, answer.text
    quiet(answer)


@pytest.mark.parametrize("user", ["a\x00b", "\x00", "\ud800", "\u202e", " ", "💳" * 255, "a\nb"])
def test_an_odd_user_is_a_user_or_nobody(plain: Shop, user: str) -> None:
    token = jwt(claims(id=user), plain.server.secret)
    buyer = Buyer(user, token, plain.http)
    for answer in (buyer.send("GET", "/cart"), buyer.put(1), buyer.check_out(), buyer.send("GET", "/purchases")):
        assert answer.status_code in {200, 201, 401}, answer.text
        quiet(answer)


def test_after_all_that_the_house_is_well(plain: Shop, shop: Shop) -> None:
    for one in (plain, shop):
        one.is_well()


def test_somebody_without_a_cart_can_remove_and_list(buyer: Buyer) -> None:
    refusal(buyer.drop(1), 404, "not_in_cart")
    assert buyer.purchases() == {"purchases": [], "total": 0}
