"""A shop that tells its buyers by a way that does as it is told."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.factories import Shop, Till

from kassa import orders
from kassa.checkout import order_from_cart
from kassa.checkout.wishes import CartWish, ItemAsked, ItemsWish, Placed
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.notices import Contact, send_due
from kassa.notices.model import SENT, Notice, Outcome
from kassa.payments.model import CardTrace

ASHA = Contact("7", "asha@example.com", "Asha Rao")


@dataclass
class Scripted:
    """A way of telling: it remembers what it was given, and answers as planned, then yes."""

    limit_s: float = 5.0
    told: list[tuple[Notice, Contact]] = field(default_factory=list)
    plans: deque[Outcome | Exception] = field(default_factory=deque)
    plan_of: Callable[[Notice], Outcome | None] = lambda _: None
    busy: int = 0
    busiest: int = 0
    pause: asyncio.Event | None = None

    async def tell(self, _ctx: Context, notice: Notice, contact: Contact) -> Outcome:
        self.told.append((notice, contact))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await (self.pause.wait() if self.pause else asyncio.sleep(0))
        finally:
            self.busy -= 1
        planned = self.plan_of(notice) or (self.plans.popleft() if self.plans else SENT)
        if isinstance(planned, Exception):
            raise planned
        return planned

    def types(self, order: orders.Order | None = None) -> list[str]:
        return [notice.event_type for notice, _ in self.told if order is None or notice.order_id == order.order_id]


@dataclass(frozen=True)
class Talk:
    """A shop, its till, and whoever tells its buyers."""

    till: Till
    way: Scripted

    @property
    def ctx(self) -> Context:
        return self.till.ctx

    @property
    def db(self) -> Database:
        return self.till.db

    @property
    def shop(self) -> Shop:
        return self.till.shop

    async def order(self, contact: Contact = ASHA, *, token: str | None = None, method: str = "credit_card") -> orders.Order:
        """Fill the buyer's cart, order it and wait until nothing goes on."""
        assert contact.buyer_id is not None
        await self.shop.add(contact.buyer_id, "mouse")
        wish = CartWish(
            self.shop.channel, contact.buyer_id, contact.email, {"city": "Pune"}, method, CardTrace(last4="1111"),
            (uuid.uuid4().bytes,), name=contact.name, token=token, language=contact.language,
        )  # fmt: skip
        placed = await order_from_cart(self.ctx, wish, lambda _: (201, b"{}"))
        assert isinstance(placed, Placed)
        await self.ctx.background.drain(5)
        return await self.shop.order_of(placed.order.order_id)

    async def buy(self, email: str, *, buyer_id: str | None = None, name: str | None = None, language: str = "en") -> orders.Order:
        """Buy a mouse in one call."""
        from tests.factories import ADDRESS, CARD

        from kassa import checkout

        wish = ItemsWish(self.shop.channel, buyer_id, email, ADDRESS, [ItemAsked("mouse", 1)], CARD, name=name, language=language)
        bought = await checkout.buy_items(self.ctx, wish)
        await self.ctx.background.drain(5)
        found = await orders.find_by_checkout(self.db, self.shop.merchant_id, bought.view.checkout_id)  # type: ignore[union-attr]
        assert found is not None
        return found

    async def send(self) -> int:
        """Tell until nothing is due."""
        tried = 0
        while more := await send_due(self.ctx):
            tried += more
        return tried

    async def later(self, **by: float) -> None:
        """Move the clock."""
        await clock.move(self.db, timedelta(**by))

    async def notices(self, order: orders.Order | None = None) -> list[dict[str, Any]]:
        """What is written down, in order."""
        rows = await self.db.rows(
            """
            SELECT * FROM notices WHERE merchant_id = $1 AND ($2::uuid IS NULL OR order_id = $2) ORDER BY created_at, place
            """,
            self.shop.merchant_id,
            order.order_id if order else None,
        )
        return [dict(row.items()) for row in rows]

    async def shown(self, order: orders.Order) -> list[tuple[str, str]]:
        """Each notice of an order with its status."""
        return [(row["event_type"], row["status"]) for row in await self.notices(order)]
