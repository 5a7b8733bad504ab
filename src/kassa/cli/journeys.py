"""Buyers for `kassa simulate`: each lives one realistic journey through the public API and notes what became of it.

A buyer knows nothing of Kassa's inside: it speaks HTTP, presses buttons twice, changes its mind, pays with a card that is declined.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATIENCE_S = 15
"""How long a buyer watches an order before it counts as not finished."""
_KINDS = {
    "credit_card": 40,
    "upi": 14,
    "net_banking": 6,
    "cash_on_delivery": 12,
    "declined": 8,
    "guest": 14,
    "just looking": 6,
}
_ADDRESS = {
    "street": "123 Main St",
    "city": "Mumbai",
    "state": "Maharashtra",
    "postalCode": "400001",
    "country": "India",
}
_GUEST_ADDRESS = {
    "street": "Rua das Flores",
    "number": "123",
    "city": "São Paulo",
    "state": "SP",
    "zip_code": "01234-567",
}
_GOOD_CARD, _BAD_CARD = "4111111111111111", "4000000000000002"


@dataclass
class Tally:
    """What happened: outcomes of journeys, refusals by code, and how long each kind of call took, in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Answers that must not happen: 5xx, and calls without any answer."""
    took_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def percentile(self, step: str, share: float) -> float:
        """The time that this share (0 to 1) of the calls of a step did not exceed, in milliseconds."""
        ordered = sorted(self.took_s[step])
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Buyer:
    """One buyer with a session of its own choosing: `luck` decides everything, so a run can be repeated."""

    http: aiohttp.ClientSession
    url: str
    token: str
    luck: random.Random
    tally: Tally

    async def live(self) -> None:
        """Live one journey. Never raises: what went wrong is in the tally."""
        kind = self.luck.choices(list(_KINDS), list(_KINDS.values()))[0]
        try:
            products = await self._browse()
            if kind == "just looking":
                self.tally.outcomes["just looked"] += 1
            elif kind == "guest":
                await self._buy_as_guest(products)
            else:
                await self._buy(products, kind)
        except _Stopped:
            self.tally.outcomes["gave up"] += 1

    async def _browse(self) -> list[dict[str, Any]]:
        page = await self._call("browse", "GET", "/api/products?limit=50")
        products: list[dict[str, Any]] = page["data"]["products"]
        await self._call("look", "GET", f"/api/products/{self.luck.choice(products)['id']}")
        return products

    async def _buy(self, products: list[dict[str, Any]], kind: str) -> None:
        for product in self.luck.sample(products, k=min(len(products), self.luck.randint(1, 3))):
            with contextlib.suppress(_Stopped):  # sold out: the buyer takes what else is in the cart
                await self._call(
                    "add to cart",
                    "POST",
                    "/api/cart/items",
                    {"productId": product["id"], "quantity": self.luck.randint(1, 3)},
                )
        cart = await self._call("see cart", "GET", "/api/cart")
        if not cart["data"]["items"]:
            raise _Stopped
        order = await self._order(kind)
        order = await self._watch(order)
        if order["status"] == "pending":
            self.tally.outcomes["not finished"] += 1
        elif order["status"] == "cancelled":
            self.tally.outcomes["declined"] += 1
        elif self.luck.random() < 0.1:
            await self._call(
                "cancel", "PUT", f"/api/orders/{order['id']}/status", {"status": "cancelled", "note": "changed my mind"}
            )
            self.tally.outcomes["cancelled by buyer"] += 1
        else:
            self.tally.outcomes["cash on delivery" if kind == "cash_on_delivery" else "paid"] += 1

    async def _order(self, kind: str) -> dict[str, Any]:
        method = "credit_card" if kind == "declined" else kind
        body = {"shippingAddress": _ADDRESS, "paymentMethod": method}
        if method == "credit_card":
            body["paymentDetails"] = {
                "cardNumber": _BAD_CARD if kind == "declined" else _GOOD_CARD,
                "expiryDate": "12/30",
            }
        key = str(uuid.UUID(int=self.luck.getrandbits(128), version=4))
        clicks = 2 if self.luck.random() < 0.1 else 1
        answers = await asyncio.gather(
            *(self._call("order", "POST", "/api/orders", body, {"Idempotency-Key": key}) for _ in range(clicks)),
            return_exceptions=True,
        )
        orders = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not orders:
            raise _Stopped
        self.tally.outcomes["orders placed"] += 1
        if len({order["data"]["id"] for order in orders}) > 1:
            self.tally.faults["one click, two orders"] += 1
        found: dict[str, Any] = orders[0]["data"]
        return found

    async def _watch(self, order: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while order["status"] == "pending" and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            order = (await self._call("watch", "GET", f"/api/orders/{order['id']}"))["data"]
        return order

    async def _buy_as_guest(self, products: list[dict[str, Any]]) -> None:
        chosen = self.luck.sample(products, k=min(len(products), self.luck.randint(1, 2)))
        card = _BAD_CARD if self.luck.random() < 0.1 else _GOOD_CARD
        body = {
            "payment_method": {"type": "credit_card", "card_number": card, "card_expiry": "12/30", "card_cvv": "123"},
            "customer_email": "guest@example.com",
            "shipping_address": _GUEST_ADDRESS,
            "items": [{"product_id": product["id"], "quantity": self.luck.randint(1, 2)} for product in chosen],
        }
        key = str(uuid.UUID(int=self.luck.getrandbits(128), version=4))
        try:
            answer = await self._call("guest checkout", "POST", "/checkout/process", body, {"Idempotency-Key": key}, signed=False)
        except _Stopped:
            self.tally.outcomes["guest refused"] += 1
            return
        self.tally.outcomes["orders placed"] += 1
        self.tally.outcomes["paid" if answer["status"] == "completed" else "not finished"] += 1

    async def _call(
        self,
        step: str,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        signed: bool = True,
    ) -> dict[str, Any]:
        """One call, measured. Raises `_Stopped` for anything but success, after counting it."""
        headers = dict(headers or {}) | ({"Authorization": f"Bearer {self.token}"} if signed else {})
        began = time.perf_counter()
        try:
            async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.tally.faults[f"{step}: {type(error).__name__}"] += 1
            raise _Stopped from error
        self.tally.took_s[step].append(time.perf_counter() - began)
        if answer.status < 400:
            found: dict[str, Any] = content
            return found
        self._count_refusal(step, answer.status, content)
        raise _Stopped

    def _count_refusal(self, step: str, status: int, content: Any) -> None:
        if status >= 500:
            self.tally.faults[f"{step}: {status}"] += 1
        else:
            self.tally.refused[_code_of(content) or str(status)] += 1


class _Stopped(Exception):
    """The journey ends here; the tally says why."""


def _code_of(content: Any) -> str | None:
    """The stable code in an error answer, whichever contract it is of."""
    for path in (("error", "code"), ("detail", "code"), ("code",)):
        found = content
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return None


async def send_buyers(
    url: str, buyers: int, at_once: int, make_token: Callable[[str], str], seed: int, step: Callable[[], None]
) -> Tally:
    """Send `buyers` buyers, at most `at_once` at a time, to the server at `url`; `step` is called after each. Returns the tally."""
    tally, places = Tally(), asyncio.Semaphore(at_once)
    run = f"{seed:x}-{int(time.time()):x}"
    limits = aiohttp.ClientTimeout(total=30, connect=10)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once * 2), timeout=limits) as http:

        async def one(number: int) -> None:
            async with places:
                # Luck, not secrecy: the same seed sends the same buyers.
                luck = random.Random(f"{seed}:{number}")  # noqa: S311 - see above
                await Buyer(http, url, make_token(f"sim-{run}-{number}"), luck, tally).live()
                step()

        await asyncio.gather(*(one(number) for number in range(buyers)))
    return tally
