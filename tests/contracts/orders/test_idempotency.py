"""A repeated key gets the first answer byte for byte; another wish under it gets a clear no."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from .journeys import (
    MUMBAI,
    SignIn,
    a_key,
    add,
    buy_for_cash,
    buy_waiting,
    invalid,
    look,
    moved,
    orders_of,
    quantities,
    refusal,
    success,
    track,
    wait_for,
    wish,
)

Keyed = dict[str, str]
Call = Callable[[Keyed], httpx2.Response]


def keyed(key: str | None = None) -> Keyed:
    return {"Idempotency-Key": key or a_key()}


def replayed(first: httpx2.Response, second: httpx2.Response) -> None:
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content)


def put_in(who: httpx2.Client, headers: Keyed, **body: object) -> httpx2.Response:
    return who.post("/api/cart/items", json={"productId": "prod_001", **body}, headers=headers)


def test_an_add_counts_once(buyer: httpx2.Client) -> None:
    key = keyed()
    first = put_in(buyer, key, quantity=2)
    replayed(first, put_in(buyer, key, quantity=2))
    assert quantities(buyer) == {"prod_001": 2}
    assert look(buyer)["version"] == 1


def test_a_change_a_removal_and_a_clearing_count_once(buyer: httpx2.Client) -> None:
    item, other = add(buyer, "prod_001"), add(buyer, "prod_003")
    add(buyer, "prod_004")
    path = f"/api/cart/items/{item['id']}"
    calls: list[Call] = [
        lambda headers: buyer.put(path, json={"quantity": 5}, headers=headers),
        lambda headers: buyer.delete(f"/api/cart/items/{other['id']}", headers=headers),
        lambda headers: buyer.delete("/api/cart", headers=headers),
    ]
    for version, call in enumerate(calls, start=4):
        key = keyed()
        first = call(key)
        assert first.status_code == 200
        replayed(first, call(key))
        assert look(buyer)["version"] == version


def test_a_replayed_removal_is_not_a_404(buyer: httpx2.Client) -> None:
    path, key = f"/api/cart/items/{add(buyer)['id']}", keyed()
    assert buyer.delete(path, headers=key).status_code == 200
    refusal(buyer.delete(path), 404, "not_found")
    assert buyer.delete(path, headers=key).status_code == 200


def test_an_order_is_placed_once_and_still_says_pending(buyer: httpx2.Client) -> None:
    add(buyer)
    key = keyed()
    first = buyer.post("/api/orders", json=wish(), headers=key)
    order = success(first, 201)
    wait_for(buyer, order["id"], "paid")
    add(buyer, "prod_003")
    replayed(first, buyer.post("/api/orders", json=wish(), headers=key))
    assert orders_of(buyer)["total"] == 1
    assert quantities(buyer) == {"prod_003": 1}


def test_a_move_is_made_once(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order = buy_for_cash(buyer)["id"]
    path, key = f"/api/orders/{order}/status", keyed()
    body = {"status": "shipped", "trackingNumber": "1Z999"}
    first = staff.put(path, json=body, headers=key)
    assert first.status_code == 200
    moved(staff, order, "delivered")
    replayed(first, staff.put(path, json=body, headers=key))
    assert [event["status"] for event in track(buyer, order)["events"]][-1] == "delivered"


def test_a_key_may_be_quoted_or_bare(buyer: httpx2.Client) -> None:
    key = a_key()
    replayed(put_in(buyer, keyed(key)), put_in(buyer, keyed(f'"{key}"')))
    assert quantities(buyer) == {"prod_001": 1}


@pytest.mark.parametrize("other", [{"quantity": 2}, {"productId": "prod_003"}, {}])
def test_another_add_under_the_same_key_is_refused(buyer: httpx2.Client, other: dict[str, object]) -> None:
    key = keyed()
    assert put_in(buyer, key, quantity=3).status_code == 201
    refusal(put_in(buyer, key, **other), 422, "idempotency_key_reused")
    assert quantities(buyer) == {"prod_001": 3}


@pytest.mark.parametrize(
    "other",
    [
        {"paymentMethod": "cash_on_delivery"},
        {"paymentDetails": {"cardNumber": "5555555555554444"}},
        {"paymentDetails": None},
        {"shippingAddress": {**MUMBAI, "city": "Pune"}},
    ],
)
def test_another_order_under_the_same_key_is_refused(buyer: httpx2.Client, other: dict[str, object]) -> None:
    key = keyed()
    card = {"cardNumber": "4111111111111111"}
    add(buyer)
    success(buyer.post("/api/orders", json=wish(paymentDetails=card), headers=key), 201)
    add(buyer)
    body = wish(**{"paymentDetails": card, **other})
    answer = buyer.post("/api/orders", json=body, headers=key)
    refusal(answer, 422, "idempotency_key_reused")
    assert "5555555555554444" not in answer.text
    assert (orders_of(buyer)["total"], quantities(buyer)) == (1, {"prod_001": 1})


def test_another_line_under_the_same_key_is_another_wish(buyer: httpx2.Client) -> None:
    mouse, lamp = add(buyer, "prod_001"), add(buyer, "prod_003")
    key = keyed()
    first = buyer.put(f"/api/cart/items/{mouse['id']}", json={"quantity": 5}, headers=key)
    assert first.status_code == 200
    other = buyer.put(f"/api/cart/items/{lamp['id']}", json={"quantity": 5}, headers=key)
    refusal(other, 422, "idempotency_key_reused")
    assert quantities(buyer) == {"prod_001": 5, "prod_003": 1}


def test_two_buyers_may_use_one_key(buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    key = keyed()
    for who in (buyer, stranger):
        answer = put_in(who, key, quantity=2)
        assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
    assert quantities(buyer) == quantities(stranger) == {"prod_001": 2}


def test_two_routes_may_use_one_key(buyer: httpx2.Client) -> None:
    key = keyed()
    assert put_in(buyer, key).status_code == 201
    answer = buyer.post("/api/orders", json=wish(paymentMethod="link:stripe"), headers=key)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)
    assert buyer.delete("/api/cart", headers=key).status_code == 200


@pytest.mark.parametrize(
    "key",
    [b"", b"x" * 7, b"x" * 256, b"two words", b"caf\xe9-caf\xe9", b'"short"', b"x\tx" * 8],
)
def test_a_malformed_key_is_refused_and_nothing_done(buyer: httpx2.Client, key: bytes) -> None:
    answer = buyer.post("/api/cart/items", json={"productId": "prod_001"}, headers={b"Idempotency-Key": key})
    refusal(answer, 400, "invalid_idempotency_key")
    assert look(buyer)["version"] == 0


@pytest.mark.parametrize("key", ["x" * 8, "y" * 255, "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
def test_a_wellformed_key_is_taken(buyer: httpx2.Client, key: str) -> None:
    first = put_in(buyer, keyed(key))
    assert first.status_code == 201
    replayed(first, put_in(buyer, keyed(key)))


# Answers that are not kept


def test_a_mended_wish_may_use_the_same_key(buyer: httpx2.Client) -> None:
    key = keyed()
    invalid(put_in(buyer, key, quantity=0), "quantity")
    bad = buyer.post("/api/cart/items", content=b"{", headers=key)
    refusal(bad, 400, "malformed_json")
    answer = put_in(buyer, key, quantity=2)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)


def test_a_refusal_is_judged_again(buyer: httpx2.Client) -> None:
    key = keyed()
    for _ in range(2):
        answer = put_in(buyer, key, productId="prod_soldout")
        refusal(answer, 409, "stock_insufficient")
        assert "Idempotent-Replayed" not in answer.headers


def test_an_empty_cart_may_be_filled_and_ordered_under_the_same_key(
    buyer: httpx2.Client,
) -> None:
    key = keyed()
    refusal(buyer.post("/api/orders", json=wish(), headers=key), 422, "cart_empty")
    add(buyer)
    success(buyer.post("/api/orders", json=wish(), headers=key), 201)


def test_a_stale_tag_may_be_mended_under_the_same_key(buyer: httpx2.Client) -> None:
    item, key = add(buyer), keyed()
    path, body = f"/api/cart/items/{item['id']}", {"quantity": 2}
    stale = buyer.put(path, json=body, headers={**key, "If-Match": '"0"'})
    refusal(stale, 412, "cart_changed")
    assert buyer.put(path, json=body, headers={**key, "If-Match": '"1"'}).status_code == 200


def test_an_illegal_move_is_judged_again(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    order, key = buy_waiting(buyer)["id"], keyed()
    for _ in range(2):
        answer = staff.put(f"/api/orders/{order}/status", json={"status": "shipped"}, headers=key)
        refusal(answer, 409, "illegal_move")
        assert "Idempotent-Replayed" not in answer.headers


# At once


def test_fifty_identical_posts_are_one_order(sign_in: SignIn) -> None:
    buyer = sign_in()
    add(buyer, "prod_001", 2)
    key, body = keyed(), wish(paymentMethod="link:stripe")
    with ThreadPoolExecutor(25) as hands:
        posts = [hands.submit(buyer.post, "/api/orders", json=body, headers=key, timeout=30) for _ in range(50)]
        answers = [post.result() for post in posts]
    made = [answer for answer in answers if answer.status_code == 201]
    busy = [answer for answer in answers if answer.status_code != 201]
    assert len([answer for answer in made if "Idempotent-Replayed" not in answer.headers]) == 1
    assert len({answer.content for answer in made}) == 1
    for answer in busy:
        refusal(answer, 409, "in_progress")
        assert answer.headers["Retry-After"] == "1"
    assert orders_of(buyer)["total"] == 1
    assert look(buyer)["version"] == 2


def test_fifty_identical_adds_count_once(sign_in: SignIn) -> None:
    buyer = sign_in()
    key = keyed()
    with ThreadPoolExecutor(25) as hands:
        answers = list(hands.map(lambda _: put_in(buyer, key, quantity=2), range(50)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert (quantities(buyer), look(buyer)["version"]) == ({"prod_001": 2}, 1)
