"""What holds for every route: ids, times, users, bodies, verbs, and what strangers cannot see (sections 1 and 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from .journeys import CART, CHECKOUT, INSTANT, ITEM, PURCHASE, UUID7, Buyer, Shop, good, refusal

ROUTES = [
    ("/health", {"GET"}),
    ("/ready", {"GET"}),
    ("/cart", {"GET"}),
    ("/cart/items", {"POST", "DELETE"}),
    ("/checkout", {"POST"}),
    ("/purchases", {"GET"}),
]
LIMIT = 64 * 1024


def of_length(length: int) -> bytes:
    """A good body of exactly so many bytes."""
    empty = len(json.dumps({"ambassador_id": 1, "pad": ""}))
    return json.dumps({"ambassador_id": 1, "pad": "x" * (length - empty)}).encode()


def in_pieces(raw: bytes) -> Iterator[bytes]:
    """A body that does not say beforehand how long it is."""
    for start in range(0, len(raw), 4096):
        yield raw[start : start + 4096]


def test_it_lives_and_is_ready(plain: Shop) -> None:
    assert good(plain.http.get("/health"))["message"] == "ok"
    assert good(plain.http.get("/ready")) == {"message": "ready"}


def test_members_ids_times_and_amounts_are_as_written(shop: Shop, buyer: Buyer) -> None:
    began = datetime.now(UTC) - timedelta(seconds=5)
    [ambassador] = shop.agency.hire(5000000)
    item = good(buyer.put(ambassador), 201)
    assert set(item) == ITEM
    cart = buyer.cart()
    assert set(cart) == CART
    assert cart["items"] == [item]
    first = buyer.check_out()
    purchase = good(first, 201)
    assert list(purchase) == CHECKOUT
    shop.payme.pay(purchase)
    listed = buyer.purchases()
    assert set(listed) == {"purchases", "total"}
    [row] = listed["purchases"]
    assert set(row) == PURCHASE
    for made in (item["id"], cart["id"], purchase["purchase_id"], purchase["payment_id"], row["id"]):
        assert UUID7.fullmatch(made), made
    for moment in (item["created_at"], cart["created_at"], row["created_at"]):
        assert INSTANT.fullmatch(moment), moment
        assert began < datetime.fromisoformat(moment) < datetime.now(UTC) + timedelta(seconds=5)
    assert b'"amount":5000000,' in first.content.replace(b" ", b"")
    assert (item["price"], cart["total"], row["price_paid"]) == (5000000,) * 3
    assert {type(number) for number in (item["price"], cart["total"], row["price_paid"], row["ambassador_id"])} == {int}


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (42, 42),
        (0, 0),
        ("42", 42),
        ("0", 0),
        ("999999999999999999", 999999999999999999),
        (1000000000000000000, "1000000000000000000"),
        ("007", "007"),
        ("-1", "-1"),
        ("4.2", "4.2"),
        ("٤٢", "٤٢"),
        ("ada@example.com", "ada@example.com"),
        ("u" * 255, "u" * 255),
    ],
)
def test_a_user_is_a_number_when_it_reads_as_one(plain: Shop, user: int | str, shown: int | str) -> None:
    seen = plain.buyer(user).cart()["user_id"]
    assert (seen, type(seen)) == (shown, type(shown))


def test_purchases_say_the_user_as_the_cart_does(shop: Shop) -> None:
    [ambassador] = shop.agency.hire(100)
    for user in (f"u{ambassador}", ambassador):
        buyer = shop.buyer(user)
        shop.payme.pay(buyer.buy(ambassador))
        assert [row["user_id"] for row in buyer.purchases()["purchases"]] == [user]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", ""])
def test_the_content_type_does_not_matter(plain: Shop, kind: str) -> None:
    good(plain.buyer().send("POST", "/cart/items", content=b'{"ambassador_id": 1}', headers={"Content-Type": kind}), 201)


def test_a_body_of_64_kib_is_read_and_a_longer_one_is_not(plain: Shop) -> None:
    buyer = plain.buyer()
    good(buyer.send("POST", "/cart/items", content=of_length(LIMIT)), 201)
    for path, method in (("/cart/items", "POST"), ("/cart/items", "DELETE")):
        refusal(buyer.send(method, path, content=of_length(LIMIT + 1)), 413, "too_large")
        refusal(buyer.send(method, path, content=in_pieces(of_length(LIMIT + 1))), 413, "too_large")
        refusal(buyer.send(method, path, content=b"x" * 2_000_000), 413, "too_large")
    assert buyer.in_cart() == [1]


@pytest.mark.parametrize(("path", "verbs"), ROUTES)
def test_other_verbs_are_not_allowed(plain: Shop, path: str, verbs: set[str]) -> None:
    buyer = plain.buyer()
    for verb in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - verbs:
        answer = buyer.send(verb, path)
        assert answer.status_code == 405, (verb, answer.text)
        assert verbs <= set(re.split(r",\s*", answer.headers["Allow"])), verb
        assert verb not in answer.headers["Allow"]
        if path not in {"/health", "/ready"}:
            refusal(answer, 405, answer.json()["code"])


@pytest.mark.parametrize(
    "path", ["/cart/", "/cart/nothing", "/cart/items/", "/cart/items/1", "/checkout/", "/purchases/", "/purchases/1"]
)
def test_unknown_paths_are_not_found_and_nobody_is_sent_elsewhere(plain: Shop, path: str) -> None:
    for verb in ("GET", "POST"):
        answer = plain.buyer().send(verb, path, content=b"{}")
        assert answer.status_code == 404, (verb, answer.headers)
        if not path.startswith("/checkout/"):  # that prefix speaks the checkout contract's words (ruling 30)
            refusal(answer, 404, answer.json()["code"])


def test_nobody_sees_what_belongs_to_another(shop: Shop) -> None:
    [ambassador] = shop.agency.hire(700)
    ada, bob = shop.buyer(), shop.buyer()
    purchase = ada.buy(ambassador)
    shop.payme.pay(purchase)
    ada.add(ambassador)
    assert bob.cart()["items"] == []
    assert bob.cart()["id"] != ada.cart()["id"]
    refusal(bob.drop(ambassador), 404, "not_in_cart")
    refusal(bob.check_out(), 400, "cart_empty")
    assert bob.purchases() == {"purchases": [], "total": 0}
    assert ada.in_cart() == [ambassador]


def test_id_as_number_as_text_and_as_sub_is_one_user(shop: Shop) -> None:
    [ambassador] = shop.agency.hire(700)
    by_id = shop.buyer()
    by_id.add(ambassador)
    for same in (shop.buyer(str(by_id.user)), shop.buyer(None, id=None, sub=str(by_id.user))):
        assert same.cart() == by_id.cart()


def test_whoever_writes_reads_it_at_once(shop: Shop, buyer: Buyer) -> None:
    for ambassador in shop.agency.hire(*range(100, 110)):
        buyer.add(ambassador)
        assert buyer.in_cart()[-1] == ambassador
        assert buyer.drop(ambassador).status_code == 204
        assert buyer.in_cart() == []


def test_the_documents_describe_these_routes(plain: Shop) -> None:
    described = good(plain.http.get("/openapi/purchases.json"))["paths"]
    for path, verbs in ROUTES[2:]:
        assert verbs <= {verb.upper() for verb in described[path]}, path
