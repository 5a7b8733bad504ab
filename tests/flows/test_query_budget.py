"""Each route has a budget of statements, and a hundred lines cost no more of them than one.

Counted through HTTP, in one process, by the database pool itself: everything that a request sends and everything that it leaves to the
background, until the order is paid. `BEGIN`, `COMMIT` and `ROLLBACK` are not counted.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests import rig

from kassa import catalog, demo
from kassa.bootstrap import Kassa, assemble
from kassa.catalog import Publication
from kassa.kit.money import Money
from kassa.settings import Settings

ADDING, ADDING_WITHOUT_KEY, READING, ORDERING, PROCESSING = 4, 1, 3, 3, 3
SIZES = (1, 100)

_numbers = itertools.count(1)
_ADDRESS = {"street": "1 Hill Road", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}
_TOWN = {"street": "Flores", "number": "1", "city": "Recife", "state": "PE", "zip_code": "50000"}


class Counted:
    """A Kassa without workers, and how many statements one call of it took."""

    def __init__(self, kassa: Kassa, client: httpx2.AsyncClient) -> None:
        self.kassa, self.client = kassa, client

    async def count(self, method: str, path: str, expect: int, **options: Any) -> tuple[int, Any]:
        """The statements of one call with everything it leaves to the background, and its JSON."""
        before = self.kassa.ctx.db.statements
        headers = {"Idempotency-Key": f"budget-{next(_numbers):08d}"} | options.pop("headers", {})
        answer = await self.client.request(method, path, headers=headers, **options)
        assert answer.status_code == expect, answer.text
        await self.kassa.ctx.background.drain(5)
        return self.kassa.ctx.db.statements - before, answer.json()

    async def buyer(self, lines: int) -> dict[str, str]:
        """The header of a buyer whose cart has so many lines."""
        headers = signed_in()
        for place in range(lines):
            body = {"productId": product(place), "quantity": 1}
            (await self.client.post("/api/cart/items", json=body, headers=headers)).raise_for_status()
        return headers


def product(place: int) -> str:
    return f"shelf_{place:03d}"


def signed_in() -> dict[str, str]:
    claims = {"id": next(_numbers) + 7000, "exp": int(time.time()) + 3600}
    return {"Authorization": f"Bearer {jwt.encode({'alg': 'HS256'}, claims, OctKey.import_key(rig.JWT_SECRET))}"}


@pytest.fixture
async def counted(database_server: rig.DatabaseServer, tmp_path: Path) -> AsyncIterator[Counted]:
    # Watched as in production: who buys without sending a card to anybody pays nothing for that.
    given = {"DATABASE_URL": database_server.fresh(), "JWT_SECRET": rig.JWT_SECRET, "KASSA_HOME": tmp_path, "CARD_LIMITS": "on"}
    settings = Settings.load(True, **given)
    async with assemble(settings) as kassa:
        await kassa.seed()
        goods = [Publication(product(place), f"Thing {place}", Money(100, "INR"), 10_000) for place in range(100)]
        async with kassa.ctx.db.transaction("shelves") as tx:
            await catalog.publish(tx, demo.SHOP, goods)
        transport = httpx2.ASGITransport(kassa.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://kassa") as client:
            (await client.get("/api/products")).raise_for_status()  # the channel is remembered from here on
            yield Counted(kassa, client)


async def test_adding_to_a_cart(counted: Counted) -> None:
    taken = []
    for lines in (0, 1, 99):
        buyer = await counted.buyer(lines)
        body = {"productId": "prod_001", "quantity": 1}
        taken.append((await counted.count("POST", "/api/cart/items", 201, json=body, headers=buyer))[0])
    assert max(taken) <= ADDING, taken
    assert len(set(taken)) == 1, taken


async def test_adding_to_a_cart_without_a_key(counted: Counted) -> None:
    """What it costs, and one statement that is a whole transaction."""
    before = counted.kassa.ctx.db.statements
    await counted.buyer(10)
    assert counted.kassa.ctx.db.statements - before <= 10 * ADDING_WITHOUT_KEY


async def test_reading_a_cart(counted: Counted) -> None:
    taken = []
    for lines in SIZES:
        buyer = await counted.buyer(lines)
        statements, found = await counted.count("GET", "/api/cart", 200, headers=buyer)
        assert len(found["data"]["items"]) == lines
        taken.append(statements)
    assert max(taken) <= READING, taken
    assert len(set(taken)) == 1, taken


@pytest.mark.parametrize("method", ["credit_card", "cash_on_delivery"])
async def test_placing_an_order_until_it_is_paid(counted: Counted, method: str) -> None:
    taken = []
    for lines in SIZES:
        buyer = await counted.buyer(lines)
        wish: dict[str, Any] = {"shippingAddress": _ADDRESS, "paymentMethod": method}
        if method == "credit_card":
            wish["paymentDetails"] = {
                "cardNumber": "4111111111111111",
                "expiryDate": "12/30",
                "cvv": "123",
                "cardholderName": "A Buyer",
            }
        statements, placed = await counted.count("POST", "/api/orders", 201, json=wish, headers=buyer)
        taken.append(statements)
        found = await counted.client.get(f"/api/orders/{placed['data']['id']}", headers=buyer)
        assert found.json()["data"]["status"] == ("paid" if method == "credit_card" else "processing")
        assert len(found.json()["data"]["items"]) == lines
    assert max(taken) <= ORDERING, taken
    assert len(set(taken)) == 1, taken


@pytest.mark.parametrize("guest", [True, False], ids=["a guest", "a buyer"])
async def test_buying_in_one_call(counted: Counted, *, guest: bool) -> None:
    taken = []
    for lines in SIZES:
        form = {
            "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
            "customer_email": "somebody@example.com",
            "shipping_address": _TOWN,
            "items": [{"product_id": product(place), "quantity": 1} for place in range(lines)],
        }
        headers = {} if guest else signed_in()
        statements, bought = await counted.count("POST", "/checkout/process", 200, json=form, headers=headers)
        assert bought["status"] == "completed"
        taken.append(statements)
    assert max(taken) <= PROCESSING, taken
    assert len(set(taken)) == 1, taken


async def test_ten_at_once_cost_ten_times_one(counted: Counted) -> None:
    """Nobody pays for the others by trying again and again."""
    form = {
        "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"},
        "customer_email": "somebody@example.com",
        "shipping_address": _TOWN,
        "items": [{"product_id": product(0), "quantity": 1}, {"product_id": product(1), "quantity": 1}],
    }
    one, _ = await counted.count("POST", "/checkout/process", 200, json=form)
    before = counted.kassa.ctx.db.statements
    await asyncio.gather(*(counted.count("POST", "/checkout/process", 200, json=form) for _ in range(10)))
    assert counted.kassa.ctx.db.statements - before == 10 * one
