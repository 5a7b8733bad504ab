"""Where ambassadors are sold and Payme calls: what buyers, Payme and staff do, and what can be seen of it, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests import factories
from tests.factories import Shop, Till, render_order, render_payment, world

from kassa import carts, catalog, checkout, collect, orders, verify
from kassa.catalog import Channel, Publication, Sources
from kassa.catalog.sources import OwnSource
from kassa.catalog.sources.ambassadors import OwnAmbassadors
from kassa.checkout import PurchaseWish, Rules
from kassa.checkout.wishes import MoveWish, Placed
from kassa.collect import PaymentWish, Requested, payme
from kassa.collect.payme import Cashbox, PaymeRefusal
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.orders import Order
from kassa.payments import Payment
from kassa.payments import payme as attempts
from kassa.payments.payme.model import PaymeRules
from kassa.payments.providers import Payme

PRICES = {"1": 5_000_000, "2": 7_500_000, "3": 10_000_000, "4": 2_500_000, "5": 15_000_000}
"""What the ambassadors of a desk cost, in tiyin."""
HALF_A_DAY = 43_200_000
BUSY, NOT_NOW, UNKNOWN_ORDER, PAID_ALREADY, CLOSED = -31051, -31008, -31050, -31052, -31053
WRONG_SUM, NO_ATTEMPT, HANDED_OVER = -31001, -31003, -31007

Answer = dict[str, Any] | int
"""What Payme is told: the result, or the number of the refusal."""

_numbers = itertools.count(1)


def a_buyer() -> str:
    """Somebody who never bought anything."""
    return str(next(_numbers) + 40_000)


def an_id() -> str:
    """An id that Payme never gave before: 24 characters."""
    return new_id().hex[-24:]


def selling(
    db: Database, *, rules: PaymeRules | None = None, providers: Sequence[Any] = (), source: Any = None, **more: Any
) -> Context:
    """A context that sells ambassadors of our own tables, and goods, for cashboxes at Payme."""
    ctx = world(db, providers=[Payme(), *providers], rules=more.pop("rules_of_checkout", None) or Rules(payme=True), **more)
    ports = {
        **ctx.ports,
        Sources: Sources({"shop": source or OwnSource(), "ambassadors": OwnAmbassadors()}),
        PaymeRules: rules or PaymeRules(),
    }
    return replace(ctx, ports=ports)


async def open_desk(ctx: Context, cashbox_id: str | None = None) -> Desk:
    """A new merchant with a cashbox of its own, who sells the five ambassadors."""
    merchant_id = f"p{next(_numbers)}-{new_id().hex[-8:]}"
    channel = Channel(merchant_id, "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())
    goods = [Publication(name, f"Ambassador {name}", Money(price, "UZS"), None) for name, price in PRICES.items()]
    box = Cashbox(merchant_id, cashbox_id or new_id().hex[-24:], "a key of this cashbox", is_test=True)
    async with ctx.db.transaction("seed") as tx:
        await catalog.publish_channel(tx, "A desk", channel)
        await catalog.publish(tx, channel, goods)
        await attempts.set_cashbox(tx, ctx.keys, box)
    return Desk(ctx, channel, box)


async def open_goods(desk: Desk, price: int = 9_990_00, **stock: int | None) -> Shop:
    """The shop of the same merchant: goods for tiyin, which are paid at Payme too."""
    channel = Channel(desk.merchant_id, "shop", "UZS", 5, factories.METHODS | {"payme"}, frozenset({"stripe"}))
    products = [Publication(name, name.title(), Money(price, "UZS"), pieces) for name, pieces in stock.items()]
    async with desk.db.transaction("seed") as tx:
        await catalog.publish_channel(tx, "A desk", channel)
        await catalog.publish(tx, channel, products)
    return Shop(desk.ctx, channel)


@dataclass(frozen=True)
class Fate:
    """What became of one purchase."""

    attempts: tuple[int, ...]
    """The states of its attempts, sorted."""
    payment: str
    order: str
    checkout: str
    bought: int
    """Lines that the buyer has."""


@dataclass(frozen=True)
class Desk:
    """A merchant who sells ambassadors, and Payme's calls at that merchant's cashbox."""

    ctx: Context
    channel: Channel
    box: Cashbox

    @property
    def db(self) -> Database:
        return self.ctx.db

    @property
    def merchant_id(self) -> str:
        return self.channel.merchant_id

    @property
    def till(self) -> Till:
        """The same merchant, asking for payments of orders of its own."""
        return Till(Shop(self.ctx, replace(self.channel, channel="shop")))

    def outside_wish(self, order_id: str, price: int = 700_000, *, alias: str = "payme", key: str | None = None) -> PaymentWish:
        """That this merchant's own system asks for so much, to be paid at Payme unless another alias is named."""
        wish = self.till.wish(order_id, price, alias=alias, key=key)
        return replace(wish, price=Money(price, "UZS"))

    async def asked(self, order_id: str, price: int = 700_000, *, alias: str = "payme", key: str | None = None) -> Payment:
        """A payment for an order of the merchant's own that waits to be paid. The merchant has a subscription."""
        made = await collect.request_payment(self.ctx, self.outside_wish(order_id, price, alias=alias, key=key), render_payment)
        assert isinstance(made, Requested)
        return made.payment

    # buyers

    async def put(self, buyer: str, *products: str) -> None:
        """Lay ambassadors into the cart of a buyer."""
        for product_id in products:
            offer = await catalog.offer_of(self.ctx, self.channel, product_id)
            async with self.db.transaction("cart.add") as tx:
                await carts.put_once(tx, self.merchant_id, "ambassadors", buyer, product_id, offer)

    async def take_out(self, buyer: str, product_id: str) -> None:
        async with self.db.transaction("cart.remove") as tx:
            await carts.drop_product(tx, self.merchant_id, "ambassadors", buyer, product_id)

    async def purchase(self, buyer: str) -> Order:
        """Press the button: the order of this version of the cart."""
        placed = await checkout.purchase(self.ctx, PurchaseWish(self.channel, buyer), render_order)
        assert isinstance(placed, Placed)
        return placed.order

    async def ordered(self, *products: str, buyer: str | None = None) -> Order:
        """A purchase that waits to be paid: of ambassador 1 unless others are named."""
        who = buyer or a_buyer()
        await self.put(who, *(products or ("1",)))
        return await self.purchase(who)

    async def in_cart(self, buyer: str | None) -> list[str]:
        """Ambassadors in a cart, sorted."""
        cart = await carts.read_cart(self.db, self.merchant_id, "ambassadors", buyer or "")
        return sorted(line.product_id for line in cart.lines) if cart else []

    async def has(self, buyer: str | None) -> list[str]:
        """Ambassadors that a buyer has, sorted."""
        page = await orders.bought_page(self.db, self.merchant_id, "ambassadors", buyer or "", 1, 100)
        return sorted(row.product_id for row in page.rows)

    # Payme: what it is told, a refusal by its number

    def account(self, order: Order | uuid.UUID) -> dict[str, Any]:
        return {self.box.account_field: str(order if isinstance(order, uuid.UUID) else order.order_id)}

    async def check_perform(self, order: Order) -> Answer:
        return await told(payme.check_perform(self.ctx, self.box, order.total_minor, self.account(order)))

    async def create(
        self, wanted: Order | Payment, payme_id: str, *, time_ms: int | None = None, amount: int | None = None
    ) -> Answer:
        """Create an attempt to pay an order, or a payment that the merchant asked for."""
        time = time_ms if time_ms is not None else await self.now_ms()
        total = wanted.total_minor if isinstance(wanted, Order) else wanted.amount_minor
        account = self.account(wanted if isinstance(wanted, Order) else wanted.payment_id)
        return await told(payme.create(self.ctx, self.box, payme_id, time, total if amount is None else amount, account))

    async def perform(self, payme_id: str) -> Answer:
        return await told(payme.perform(self.ctx, self.box, payme_id))

    async def cancel(self, payme_id: str, reason: int = 3) -> Answer:
        return await told(payme.cancel(self.ctx, self.box, payme_id, reason))

    async def check(self, payme_id: str) -> Answer:
        return await told(payme.check(self.ctx, self.box, payme_id))

    async def statement(self, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        with await payme.statement(self.ctx, self.box, from_ms, to_ms) as file:
            found: list[dict[str, Any]] = json.loads(file.read())["transactions"]
        return found

    async def created(self, order: Order | Payment) -> str:
        """An attempt that holds this order."""
        payme_id = an_id()
        assert state_of(await self.create(order, payme_id)) == 1
        return payme_id

    async def performed(self, order: Order | Payment) -> str:
        """An attempt that has paid this order."""
        payme_id = await self.created(order)
        assert state_of(await self.perform(payme_id)) == 2
        return payme_id

    # others

    async def move(self, order: Order, to: str = "cancelled") -> Order:
        """Staff moves an order. Raises `IllegalMove`."""
        placed = await checkout.move_order(self.ctx, MoveWish(self.merchant_id, order.order_id, to, by_staff=True), render_order)
        assert isinstance(placed, Placed)
        return placed.order

    async def sweep(self) -> None:
        """One turn of the workers that end what has run out of time."""
        await payme.sweep_attempts(self.ctx)
        await checkout.sweep_checkouts(self.ctx)
        await self.rest()

    async def rest(self) -> None:
        await self.ctx.background.drain(5)

    # looking

    async def now_ms(self) -> int:
        return int((await clock.now(self.db)).timestamp() * 1000)

    async def fate(self, order: Order) -> Fate:
        row = await self.db.row(
            """
            SELECT ARRAY(SELECT state::int FROM payme_transactions t
                          WHERE t.merchant_id = o.merchant_id AND t.payment_id = o.payment_id ORDER BY state) AS attempts,
                   p.status AS payment, o.status AS "order", c.status AS checkout,
                   (SELECT count(*)::int FROM bought_lines b
                     WHERE b.merchant_id = o.merchant_id AND b.order_id = o.order_id AND given_back_at IS NULL) AS bought
              FROM orders o JOIN payments p USING (merchant_id, payment_id) JOIN checkouts c USING (merchant_id, checkout_id)
             WHERE o.merchant_id = $1 AND o.order_id = $2
            """,
            self.merchant_id, order.order_id,
        )  # fmt: skip
        assert row is not None
        return Fate(tuple(row["attempts"]), row["payment"], row["order"], row["checkout"], row["bought"])

    async def entries(self, order: Order) -> list[tuple[str, int]]:
        """Kind and amount of what the ledger says of the payment of an order."""
        return await self.till.shop.entries(order.payment_id)

    async def told_of(self, order: Order) -> Counter[str]:
        """Every event of an order, its payment and its checkout, and how often."""
        rows = await self.db.rows(
            "SELECT type, count(*)::int AS times FROM events WHERE merchant_id = $1 AND subject = ANY ($2) GROUP BY type",
            self.merchant_id, [f"order:{order.order_id}", f"payment:{order.payment_id}", f"checkout:{order.checkout_id}"],
        )  # fmt: skip
        return Counter({row["type"]: row["times"] for row in rows})

    async def cases(self) -> list[tuple[str, str]]:
        return await self.till.listed()

    async def breaches(self) -> list[str]:
        """What `kassa verify` finds wrong in the whole database."""
        return [f"{each.invariant} {each.subject}: {each.text}" for each in await verify.run(self.ctx)]


@contextlib.asynccontextmanager
async def locked(desk: Desk, table: str, **where: object) -> AsyncIterator[None]:
    """Somebody else holds a row meanwhile; those who wait for it go on in the order in which they came."""
    ((column, value),) = where.items()
    aside = await desk.db._hosts.connect()
    try:
        async with aside.transaction():
            await aside.execute(f"SELECT FROM {table} WHERE {column} = $1 FOR UPDATE", value)
            yield
    finally:
        await aside.close()


async def told(call: Awaitable[dict[str, Any]]) -> Answer:
    """What Payme is told. Whatever is no answer of Payme's is raised: a caller must not see it."""
    try:
        return await call
    except PaymeRefusal as refusal:
        return refusal.number


def state_of(answer: Answer) -> int:
    """The state in an answer, or the number of the refusal."""
    return answer if isinstance(answer, int) else answer["state"]


_CHANCE = random.Random(5)


async def later(work: Awaitable[Any], within_s: float = 0.01) -> Any:
    """Do something at once, or a moment later."""
    await asyncio.sleep(_CHANCE.choice((0, _CHANCE.random() * within_s)))
    return await work


async def together(*works: Awaitable[Any]) -> list[Any]:
    """Do all of this at the same moment, more or less, so that each has a chance to be first. An error of one is raised."""
    return list(await asyncio.gather(*map(later, works)))


async def in_turns(stories: Sequence[Awaitable[Any]], at_once: int = 10) -> list[Any]:
    """Play all stories, so many at a time."""
    gate = asyncio.Semaphore(at_once)

    async def play(story: Awaitable[Any]) -> Any:
        async with gate:
            return await story

    return list(await asyncio.gather(*map(play, stories)))
