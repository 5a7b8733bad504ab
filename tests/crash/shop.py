"""A shop that two processes serve, so that nothing in one of them can hide a race, and what its buyers do there by the hundred."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from tests import rig

from kassa.catalog import Publication, publish
from kassa.demo import SHOP
from kassa.kit.database import Database
from kassa.kit.money import Money

from .asking import Ask, Said
from .field import Field
from .history import History
from .lines import Lines
from .nursery import Born
from .playing import Town
from .stories import Buyer

PRICE = Money(5_000, "INR")


@dataclass
class Shop:
    """A town with two servers, and the history of what was said to them."""

    field: Field
    town: Town
    servers: list[Born]
    history: History = field(default_factory=History)

    def stocks(self, stock: dict[str, int], price: Money = PRICE) -> None:
        """Put new products up for sale, with so many pieces each."""

        async def put() -> None:
            db = await Database.connect(self.town.dsn, size=1)
            try:
                async with db.transaction("stock") as tx:
                    await publish(tx, SHOP, [Publication(name, name, price, pieces) for name, pieces in stock.items()])
            finally:
                await db.close()

        rig.run_alone(put)

    def judge(self) -> None:
        """All is at rest and everything holds."""
        self.field.judge(self.town, self.servers[0], self.history)


def opened(field_: Field, *neighbours: str, **settings: Any) -> Shop:
    """A town with two servers that both do everything, ready."""
    town = field_.town(*neighbours, **settings)
    servers = [town.made("dev", town.home, **({"HTTP_PORT": rig.free_port()} if number else {})) for number in range(2)]
    for server in servers:
        server.start()
        assert server.alive(), server.log_text()[-2000:]
    return Shop(field_, town, servers)


def again(ask: Ask, word: str) -> Ask:
    """The same question under another key."""
    return dataclasses.replace(ask, key=f"{ask.key}-{word}")


def statuses(said: Sequence[Said | None]) -> Counter[int]:
    """How often each status was heard; 0 for no answer."""
    return Counter(each.status if each else 0 for each in said)


async def fills(lines: Lines, shop: Shop, buyer: Buyer, *items: tuple[str, int]) -> None:
    """Put these things into the buyer's cart."""
    for product, quantity in items:
        said = await lines.insist(shop.servers, buyer.puts(product, quantity))
        assert said is not None, "no answer to a cart"
        assert said.status in {200, 201}, said.raw


async def ordered(lines: Lines, shop: Shop, buyer: Buyer, method: str, *items: tuple[str, int]) -> str:
    """An order of these things; its id."""
    await fills(lines, shop, buyer, *items)
    said = await lines.insist(shop.servers, buyer.orders(method))
    assert said is not None, "no answer to an order"
    assert said.status == 201, said.raw
    return str(said.json["data"]["id"])


async def order_of(lines: Lines, shop: Shop, buyer: Buyer, order: str) -> dict[str, Any]:
    """The order as its buyer sees it."""
    said = await lines.insist(shop.servers, Ask("GET", f"/api/orders/{order}", user=buyer.user))
    assert said is not None, "no answer to a reader"
    found: dict[str, Any] = said.json["data"]
    return found


async def becomes(lines: Lines, shop: Shop, buyer: Buyer, order: str, *wanted: str, within_s: float = 20) -> dict[str, Any]:
    """The order once it has one of these statuses."""
    until = time.monotonic() + within_s
    while (found := await order_of(lines, shop, buyer, order))["status"] not in wanted:
        assert time.monotonic() < until, f"order {order} is {found['status']}, not {wanted}"
        await asyncio.sleep(0.03)
    return found


def accept(link: str) -> None:
    """The buyer pays on the page behind this link, at the provider."""
    httpx2.post(link.replace("/pay/", "/payments/") + "/accept", trust_env=False, timeout=30)
