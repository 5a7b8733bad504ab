"""A shop that is paid at Payme, and Payme itself: it calls us by `collect.payme`, and answers our calls as a test tells it to."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from tests.factories import SECRET, Shop, world
from tests.rig import DatabaseServer

from kassa import catalog, checkout, orders, payments, verify
from kassa.catalog import Channel, Publication
from kassa.checkout import Rules
from kassa.collect import payme as calls
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.money import Money
from kassa.kit.neighbour import Answer
from kassa.kit.secrets import Keys
from kassa.payments import Payment, Refund, payme
from kassa.payments.payme.give_back import Subscribe
from kassa.payments.payme.model import Cashbox, PaymeRules
from kassa.payments.payme.subscribe import Receipts
from kassa.payments.providers import Payme as Provider

_numbers = itertools.count(1)
Said = Callable[[dict[str, Any]], Awaitable[Any]]


class No(Exception):
    """Payme refuses a call, with this code."""


@dataclass
class Wire:
    """What stands behind the address of Payme's API. `says`: by method, a value, an exception to raise, or what is done to answer.

    A `No` is answered as an error member; any other exception is raised as the neighbour would.
    """

    says: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, **sent: Any) -> Answer:
        body = sent["body"]
        self.asked.append(body["method"])
        self.keys.append(sent["headers"]["X-Auth"])
        said = self.says[body["method"]]
        try:
            found = await said(body["params"]) if callable(said) else said
            if isinstance(found, Exception):
                raise found
        except No as no:
            return Answer(200, {"id": body["id"], "error": {"code": int(str(no)), "message": "No"}}, {})
        return Answer(200, {"id": body["id"], "result": found}, {})


@dataclass
class Town:
    """The shop, its cashbox, and both directions to Payme."""

    ctx: Context
    shop: Shop
    box: Cashbox
    wire: Wire

    @property
    def db(self) -> Database:
        return self.ctx.db

    @property
    def merchant_id(self) -> str:
        return self.shop.merchant_id

    async def ordered(self) -> orders.Order:
        return await self.shop.order(f"buyer-{next(_numbers)}", {"mouse": 1}, method="payme")

    async def paid(self) -> tuple[orders.Order, str]:
        """An order that Payme has performed, and the id of its receipt."""
        order = await self.ordered()
        payme_id = secrets.token_hex(12)
        await self.create(order, payme_id)
        await calls.perform(self.ctx, self.box, payme_id)
        return order, payme_id

    async def create(self, order: orders.Order, payme_id: str) -> None:
        payment = await self.payment(order)
        now = time.time_ns() // 1_000_000
        await calls.create(self.ctx, self.box, payme_id, now, payment.amount_minor, {"order_id": str(order.order_id)})

    async def payment(self, order: orders.Order) -> Payment:
        return await self.shop.payment_of(order.payment_id)

    async def refunds(self, order: orders.Order) -> list[Refund]:
        return await payments.refunds_of(self.db, self.merchant_id, order.payment_id)

    async def due(self) -> int:
        """Send what refunds of this shop are due, as the worker does."""
        found = [refund for refund in await payments.due_refunds(self.ctx) if refund.merchant_id == self.merchant_id]
        for refund in found:
            with contextlib.suppress(payments.RefundTaken):  # it was ended meanwhile
                await checkout.send_refund(self.ctx, refund)
        return len(found)

    def receipt(self, order: orders.Order, payme_id: str, state: int) -> dict[str, Any]:
        """How Payme shows the receipt of an order."""
        account = [{"name": "order_id", "value": str(order.order_id)}]
        return {"receipt": {"_id": payme_id, "state": state, "amount": order.total_minor, "account": account}}

    async def cases(self) -> list[str]:
        rows = await self.db.rows(
            "SELECT kind FROM cases WHERE merchant_id = $1 AND closed_at IS NULL ORDER BY kind", self.merchant_id
        )
        return [row["kind"] for row in rows]

    async def attempt(self, payme_id: str) -> tuple[int, int | None]:
        found = await payme.find(self.db, self.merchant_id, payme_id)
        assert found is not None
        return found.state, found.reason

    async def charge(self, order: orders.Order) -> tuple[str, str | None] | None:
        row = await self.db.row(
            "SELECT state, message FROM payme_charges WHERE merchant_id = $1 AND payment_id = $2",
            self.merchant_id,
            order.payment_id,
        )
        return (row["state"], row["message"]) if row else None

    async def is_given_back_once(self, order: orders.Order) -> None:
        payment = await self.payment(order)
        assert (payment.status, payment.refunded_minor, payment.refunding_minor) == ("refunded", payment.amount_minor, 0)
        assert [refund.status for refund in await self.refunds(order)] == ["succeeded"]
        assert await self.shop.entries(order.payment_id) == [("capture", payment.amount_minor), ("refund", payment.amount_minor)]
        told = [type_ for _, type_ in await self.shop.events(f"payment:{order.payment_id}")]
        assert (told.count("refund.succeeded"), told.count("payment.refunded")) == (1, 1)

    async def later(self, seconds: float) -> None:
        """So much time has passed for what is due, in this shop alone."""
        for table in ("refunds", "payme_charges"):
            await self.db.execute(
                f"UPDATE {table} SET next_at = next_at - make_interval(secs => $2::float8) WHERE merchant_id = $1",
                self.merchant_id,
                seconds,
            )


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def market(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """Shared by the tests of a file: nobody sweeps here but the tests, and nobody moves the clock."""
    db = await Database.connect(database_server.fresh(), size=24)
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def town(market: Database) -> AsyncIterator[Town]:
    """A merchant with a cashbox of its own; at the end its books must balance."""
    wire, rules, keys = Wire(), PaymeRules(), Keys(SECRET)
    api = Subscribe(Receipts({False: wire, True: wire}), market, keys, rules)  # type: ignore[dict-item]
    ctx = world(market, providers=[Provider(api)], keys=keys, rules=Rules(payme=True))
    ctx = Context(ctx.db, ctx.keys, ports={**ctx.ports, PaymeRules: rules, Subscribe: api})
    channel = Channel(f"payme-{uuid.uuid4().hex[-8:]}", "shop", "UZS", 5, frozenset({"payme"}), frozenset())
    box = Cashbox(channel.merchant_id, secrets.token_hex(12), "a-key-of-a-cashbox-%&?@#$-0000000000", is_test=True)
    async with market.transaction("seed") as tx:
        await catalog.publish_channel(tx, "A shop in Tashkent", channel)
        await catalog.publish(tx, channel, [Publication("mouse", "Mouse", Money(1_500_000, "UZS"), 100)])
        await payme.set_cashbox(tx, keys, box)
    town = Town(ctx, Shop(ctx, channel), box, wire)
    yield town
    await ctx.background.drain(5)
    breaches = [each for each in await verify.run(ctx) if each.merchant_id in {channel.merchant_id, "*"}]
    assert [f"{each.invariant} {each.subject}: {each.text}" for each in breaches] == []
    assert {*wire.keys} <= {f"{box.cashbox_id}:{box.key}"}
