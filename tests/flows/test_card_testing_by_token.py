"""Tokens of stolen cards, tried through orders that are paid at Payme: one more door for whoever tests cards (F72)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests import rig

if TYPE_CHECKING:
    from tests.conftest import StartKassa

SELL_IN_UZS = """
    WITH prices AS (UPDATE products SET currency = 'UZS' WHERE merchant_id = '1' AND channel = 'shop')
    UPDATE channels SET currency = 'UZS', methods = array_append(methods, 'payme') WHERE merchant_id = '1' AND channel = 'shop'"""
HOME = {"street": "1 Navoiy", "city": "Tashkent", "state": "Tashkent", "postalCode": "100000", "country": "Uzbekistan"}


@pytest.fixture
def shop(start_kassa: StartKassa) -> Iterator[rig.Server]:
    server = start_kassa(CARD_LIMITS="on")
    server.sql(SELL_IN_UZS)
    server.restart()
    yield server
    server.stop()


def order(shop: rig.Server, user: int, token: str | None) -> Any:
    client = shop.client(user)
    assert client.post("/api/cart/items", json={"productId": "prod_001", "quantity": 1}).status_code == 201
    more = {"paymentDetails": {"cardToken": token}} if token else {}
    return client.post("/api/orders", json={"shippingAddress": HOME, "paymentMethod": "payme", **more})


def test_the_sixth_token_of_a_buyer_is_not_tried_and_orders_without_one_go_on(shop: rig.Server) -> None:
    thief, buyer = secrets.randbelow(10**9) + 10**9, secrets.randbelow(10**9) + 3 * 10**9
    answers = [order(shop, thief, secrets.token_hex(16)) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 3
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    assert shop.sql("SELECT count(*) AS n FROM payme_charges")[0]["n"] == 5
    assert shop.sql("SELECT count(*) AS n FROM orders")[0]["n"] == 5
    cart = shop.client(thief).get("/api/cart").json()["data"]
    assert [line["quantity"] for line in cart["items"]] == [3], "the cart is as it was"
    assert order(shop, thief, None).status_code == 201
    assert order(shop, buyer, secrets.token_hex(16)).status_code == 201
