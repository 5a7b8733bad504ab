"""A small world without HTTP: a context over a real database, a shop with products, and neighbours that do as they are told.

    async with open_world(dsn) as ctx:
        shop = await open_shop(ctx, mouse=10)
        bought = await shop.buy({"mouse": 2})

Every shop is a merchant of its own, so tests share a database without seeing each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from kassa import carts, cases, catalog, checkout, collect, merchants, orders, payments, verify
from kassa.catalog import Channel, Hold, Offer, Publication, Sources
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules, start, store
from kassa.checkout.held import Held
from kassa.checkout.wishes import Bought, CartWish, ItemAsked, ItemsWish, MoveWish, Placed, Replayed, Replies
from kassa.collect import CollectRules, Refunded, RefundWish, Report, Reported, Requested
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.kit.neighbour import Answer, NoAnswer
from kassa.kit.secrets import Keys
from kassa.merchants import Plan, Subscription
from kassa.payments import Opening, Payment, Providers, Refund, Verdict, requests
from kassa.payments.model import Card, CardTrace, Details, RefundVerdict
from kassa.payments.providers import Cash, Simulated
from kassa.payments.settle import Settled

SECRET = b"a secret of thirty-two bytes, ok"
CURRENCY = "INR"
PRICE = 9990
"""What every product of a test shop costs, in minor units, unless a test says otherwise."""
CARD = Card("credit_card", "4111111111111111", "12/25", "123")
METHODS = frozenset({"credit_card", "upi", "net_banking", "cash_on_delivery", "link"})
ADDRESS = {"street": "Rua das Flores", "city": "São Paulo"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# ── the world ────────────────────────────────────────────────────────────────────────────────────────────────────────


def world(
    db: Database,
    *,
    providers: Sequence[Any] = (),
    neighbours: Neighbours | None = None,
    rules: Rules | None = None,
    source: Any = None,
    lease_s: float = 8.0,
    keys: Keys | None = None,
    collecting: CollectRules | None = None,
) -> Context:
    """A context over `db`: own products, simulated cards and cash, and whatever the test puts in their place."""
    named = {provider.name: provider for provider in (Simulated(), Cash(), *providers)}
    ports = {
        Sources: Sources({"shop": source or OwnSource()}),
        Providers: Providers(named),
        Neighbours: neighbours or Neighbours(),
        Rules: rules or Rules(payment_service="card" in named),
        Replies: Replies(checkout=render_checkout),
        CollectRules: collecting or CollectRules(),
    }
    return Context(db, keys or Keys(SECRET), ports=ports, lease_s=lease_s)


@contextlib.asynccontextmanager
async def open_world(dsn: str, *, size: int = 16, **options: Any) -> AsyncIterator[Context]:
    """A context with a pool of its own; at the end its background work is waited for."""
    db = await Database.connect(dsn, size=size)
    ctx = world(db, **options)
    try:
        yield ctx
    finally:
        await ctx.background.drain(5)
        await db.close()


def render_checkout(view: Any) -> tuple[int, bytes]:
    """How a surface might answer a checkout that has ended."""
    return 200 if view.status == "completed" else 422, orjson.dumps({"id": str(view.checkout_id), "status": view.status})


def render_order(placed: Placed) -> tuple[int, bytes]:
    """How a surface might answer with an order."""
    return 201, orjson.dumps({"id": str(placed.order.order_id)})


# ── shops ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shop:
    """A merchant's shop and what can be done in it."""

    ctx: Context
    channel: Channel

    @property
    def merchant_id(self) -> str:
        return self.channel.merchant_id

    @property
    def db(self) -> Database:
        return self.ctx.db

    async def offer(self, product_id: str) -> Offer:
        return await catalog.offer_of(self.ctx, self.channel, product_id)

    async def level(self, product_id: str) -> tuple[int, int]:
        """On hand and reserved."""
        row = await self.db.row(
            """
            SELECT available, (SELECT coalesce(sum(quantity), 0)::bigint FROM reservations r WHERE r.merchant_id = s.merchant_id
                                  AND r.product_id = s.product_id AND r.state = 'held' AND r.source = 'own') AS reserved
              FROM stock_levels s WHERE merchant_id = $1 AND product_id = $2
            """,
            self.merchant_id, product_id,
        )  # fmt: skip
        assert row is not None
        return row["available"] + row["reserved"], row["reserved"]

    async def journal(self, product_id: str) -> list[tuple[str, int]]:
        """What moved the stock, in any order but sorted."""
        rows = await self.db.rows(
            "SELECT kind, quantity FROM stock_journal WHERE merchant_id = $1 AND product_id = $2 ORDER BY kind, reference",
            self.merchant_id,
            product_id,
        )
        return [(row["kind"], row["quantity"]) for row in rows]

    async def holds(self, **wanted: int) -> list[Hold]:
        return [Hold(await self.offer(product_id), quantity) for product_id, quantity in wanted.items()]

    # carts

    async def add(self, buyer_id: str, product_id: str, quantity: int = 1, version: int | None = None) -> carts.Cart:
        offer = await self.offer(product_id)
        async with self.db.transaction("cart.add") as tx:
            cart, _ = await carts.add_line(tx, self.merchant_id, "shop", buyer_id, product_id, offer, quantity, version)
        return cart

    async def cart(self, buyer_id: str) -> carts.Cart:
        return await carts.open_cart(self.db, self.merchant_id, "shop", buyer_id)

    # purchases

    async def buy(self, items: Mapping[str, int], *, card: Card = CARD, key: str | None = None) -> Bought | Replayed:
        """Buy explicit items as a guest and wait for the end, at most as long as a request may take."""
        asked = [ItemAsked(product_id, quantity) for product_id, quantity in items.items()]
        wish = ItemsWish(self.channel, None, "guest@example.com", ADDRESS, asked, card, self.key(key) if key else None)
        return await checkout.buy_items(self.ctx, wish)

    async def order(
        self, buyer_id: str, items: Mapping[str, int], *, method: str = "credit_card", last4: str = "1111"
    ) -> orders.Order:
        """Fill the buyer's cart, order it, and wait until nothing goes on in the background."""
        for product_id, quantity in items.items():
            await self.add(buyer_id, product_id, quantity)
        wish = CartWish(self.channel, buyer_id, None, ADDRESS, method, CardTrace(last4=last4), (b"asked",))
        placed = await checkout.order_from_cart(self.ctx, wish, render_order)
        assert isinstance(placed, Placed)
        await self.ctx.background.drain(5)
        return await self.order_of(placed.order.order_id)

    async def move(self, order: orders.Order, to: str, *, by_staff: bool = True, note: str | None = None) -> orders.Order:
        """Move an order by hand and wait until nothing goes on in the background."""
        await checkout.move_order(self.ctx, MoveWish(self.merchant_id, order.order_id, to, by_staff, note), render_order)
        await self.ctx.background.drain(5)
        return await self.order_of(order.order_id)

    async def begin(self, items: Mapping[str, int], *, provider: str = "card", surface: str = "checkout", **more: Any) -> Held:
        """Commit the beginning of a purchase; nobody leads it on until `saga.drive` is called with what this gives."""
        lines = [(await self.offer(product_id), quantity) for product_id, quantity in items.items()]
        method = {"link": "link:stripe", "cash_on_delivery": "cash_on_delivery"}.get(provider, "credit_card")
        purchase = start.Purchase(
            channel=self.channel,
            surface=surface,
            buyer_id=None,
            method=method,
            provider=provider,
            lines=lines,
            shipping_address=ADDRESS,
            card=CardTrace("visa", "411111", "1111", b"f"),
            **more,
        )
        async with self.db.transaction("checkout.start") as tx:
            held = await start.begin(self.ctx, tx, purchase)
        held.card = CARD
        return held

    def key(self, text: str, payload: bytes = b"payload") -> once.Key:
        return once.Key(self.merchant_id, "guest", "POST /checkout/process", text, payload, timedelta(days=30))

    # looking

    async def order_of(self, order_id: uuid.UUID) -> orders.Order:
        found = await orders.find(self.db, self.merchant_id, order_id)
        assert found is not None
        return found

    async def payment_of(self, payment_id: uuid.UUID) -> Payment:
        found = await payments.find(self.db, self.merchant_id, payment_id)
        assert found is not None
        return found

    async def checkout_of(self, checkout_id: uuid.UUID) -> Any:
        found = await store.find(self.db, self.merchant_id, checkout_id)
        assert found is not None
        return found

    async def events(self, subject: str) -> list[tuple[int, str]]:
        """Number and type of everything that was told about a subject."""
        rows = await self.db.rows(
            "SELECT sequence, type FROM events WHERE merchant_id = $1 AND subject = $2 ORDER BY sequence", self.merchant_id, subject
        )
        return [(row["sequence"], row["type"]) for row in rows]

    async def entries(self, payment_id: uuid.UUID) -> list[tuple[str, int]]:
        """Kind and amount of what the ledger says of a payment."""
        rows = await self.db.rows(
            """
            SELECT e.kind, p.amount_minor FROM ledger_entries e JOIN ledger_postings p USING (merchant_id, entry_id)
             WHERE e.merchant_id = $1 AND e.payment_id = $2 ORDER BY e.occurred_at, e.kind
            """,
            self.merchant_id,
            payment_id,
        )
        return [(row["kind"], row["amount_minor"]) for row in rows]


_numbers = itertools.count(1)


async def open_shop(ctx: Context, *, price: int = PRICE, currency: str = CURRENCY, **stock: int | None) -> Shop:
    """A new merchant whose products are named by the keywords, with that many pieces of each (None: not counted)."""
    channel = Channel(f"m{next(_numbers)}-{new_id().hex[-8:]}", "shop", currency, 5, METHODS, frozenset({"stripe"}))
    products = [Publication(name, name.title(), Money(price, currency), pieces) for name, pieces in stock.items()]
    async with ctx.db.transaction("seed") as tx:
        await catalog.publish_channel(tx, "A shop", channel)
        await catalog.publish(tx, channel, products)
    return Shop(ctx, channel)


# ── payments without a checkout ──────────────────────────────────────────────────────────────────────────────────────


async def open_payment(shop: Shop, amount: int = 10_000, *, provider: str = "card", **more: Any) -> Payment:
    """A payment for an outside reference, opened and committed."""
    payment_id = more.pop("payment_id", None) or new_id()
    given = {"ref_kind": "outside", "ref": str(payment_id), "method": "credit_card", "provider_key": f"{payment_id}:payment"}
    opening = Opening(
        merchant_id=shop.merchant_id, payment_id=payment_id, provider=provider, amount=Money(amount, CURRENCY), **(given | more)
    )
    async with shop.db.transaction("payments.open") as tx:
        return await payments.open_payment(tx, opening)


async def settle(shop: Shop, payment: Payment, verdict: Verdict | str) -> Settled:
    """Bring one verdict in a transaction of its own."""
    brought = Verdict(verdict, ask_in_s=0 if verdict == "unknown" else None) if isinstance(verdict, str) else verdict
    async with shop.db.transaction("settle") as tx:
        return await payments.settle(tx, payment, brought)


async def paid_payment(shop: Shop, amount: int = 10_000, **more: Any) -> Payment:
    """A payment of `amount` that was paid."""
    return (await settle(shop, await open_payment(shop, amount, **more), "paid")).payment


# ── merchants who ask for payments ───────────────────────────────────────────────────────────────────────────────────


async def subscribe(
    ctx: Context, merchant_id: str, tokens: int, plan_id: str | None = None, *, active: bool = True
) -> Subscription:
    """Sell a plan of so many tokens to a merchant; a plan of its own unless one is named."""
    plan = Plan(plan_id or f"plan-{next(_numbers)}-{new_id().hex[-6:]}", "A plan", 999, "USD", max(1, tokens))
    async with ctx.db.transaction("subscribe") as tx:
        await merchants.add_plan(tx, plan)
        return await merchants.subscribe(tx, merchant_id, plan.plan_id, tokens=tokens, active=active)


async def open_till(ctx: Context, *, tokens: int = 1000, aliases: Sequence[str] = ("stripe",), **stock: int | None) -> Till:
    """A merchant with a subscription, aliases that lead to a provider of the same name, and a shop beside."""
    shop = await open_shop(ctx, price=PRICE, currency=CURRENCY, **stock)
    till = Till(shop, (await subscribe(ctx, shop.merchant_id, tokens)).plan_id)
    for alias in aliases:
        await till.route(alias, requests.Rule(1, alias))
    return till


def render_payment(payment_id: uuid.UUID, url: str | None) -> tuple[int, bytes]:
    """How a surface might answer with a payment."""
    return 200, orjson.dumps({"payment_id": str(payment_id), "payment_url": url})


def render_refund(given: Refunded) -> tuple[int, bytes]:
    """How a surface might answer with a refund."""
    refund, payment = given.refund, given.payment
    shown = {"refund_id": str(refund.refund_id), "status": refund.shown_status, "refundable": payment.refundable_minor}
    return 201, orjson.dumps(shown)


@dataclass(frozen=True)
class Till:
    """What a merchant's own systems do with payments, and what can be seen of it. `plan` is what the merchant is subscribed to."""

    shop: Shop
    plan: str = ""

    @property
    def ctx(self) -> Context:
        return self.shop.ctx

    @property
    def db(self) -> Database:
        return self.shop.ctx.db

    @property
    def merchant_id(self) -> str:
        return self.shop.merchant_id

    @property
    def links(self) -> ScriptedLinks:
        """The provider of links, where the test put a scripted one."""
        found = self.ctx.port(Providers).by_name["link"]
        assert isinstance(found, ScriptedLinks)
        return found

    @property
    def cards(self) -> ScriptedCards:
        """The provider of cards, where the test put a scripted one."""
        found = self.ctx.port(Providers).by_name["card"]
        assert isinstance(found, ScriptedCards)
        return found

    def at(self, ctx: Context) -> Till:
        """The same merchant, in another process."""
        return replace(self, shop=replace(self.shop, ctx=ctx))

    async def route(self, alias: str, *rules: requests.Rule) -> None:
        async with self.db.transaction("routes") as tx:
            for rule in rules:
                await requests.add_route(tx, self.merchant_id, alias, rule)

    def key(self, text: str, payload: bytes = b"payload", operation: str = "POST /api/v1/payments") -> once.Key:
        return once.Key(self.merchant_id, "merchant", operation, text, payload, timedelta(days=30))

    # asking for money

    def wish(self, order_id: str = "A-1", price: int = 10_000, *, key: str | None = None, **more: Any) -> collect.PaymentWish:
        given: dict[str, Any] = {
            "order_is_number": False,
            "quantity": "1",
            "alias": "stripe",
            "plan_id": None,
            "event_ref": "evt-1",
        }
        return collect.PaymentWish(
            merchant_id=self.merchant_id, order_id=order_id, price=Money(price, CURRENCY),
            key=self.key(key) if key else None, **(given | more),
        )  # fmt: skip

    async def request(self, order_id: str = "A-1", price: int = 10_000, **more: Any) -> Requested | collect.Replayed:
        return await collect.request_payment(self.ctx, self.wish(order_id, price, **more), render_payment)

    async def requested(self, order_id: str = "A-1", price: int = 10_000, **more: Any) -> Payment:
        """A payment that waits for its buyer."""
        made = await self.request(order_id, price, **more)
        assert isinstance(made, Requested)
        return made.payment

    async def paid(self, order_id: str = "A-1", price: int = 10_000, **more: Any) -> Payment:
        """A payment whose money has come."""
        payment = await self.requested(order_id, price, **more)
        assert (await self.report(payment)).message == "payment updated"
        return await self.payment(payment)

    async def report(
        self, payment: Payment | uuid.UUID, status: str = "finished", refund: Refund | uuid.UUID | None = None, **said: Any
    ) -> Reported:
        payment_id = payment if isinstance(payment, uuid.UUID) else payment.payment_id
        refund_id = refund.refund_id if isinstance(refund, Refund) else refund
        return await collect.take_report(self.ctx, Report(payment_id, status, refund_id, **said))

    async def give_back(
        self, payment: Payment, amount: int | None = None, key: str | None = None, *, payload: bytes = b"payload", **more: Any
    ) -> Refunded | collect.Replayed:
        """Ask for a refund, under a key of its own unless one is given."""
        money = None if amount is None else Money(amount, payment.currency)
        given = self.key(key or f"refund-{next(_numbers)}", payload, "POST refunds")
        wish = RefundWish(self.merchant_id, payment.payment_id, given, money, **more)
        return await collect.refund_payment(self.ctx, wish, render_refund)

    async def given_back(self, payment: Payment, amount: int | None = None, key: str | None = None, **more: Any) -> Refund:
        """A refund that was made just now."""
        given = await self.give_back(payment, amount, key, **more)
        assert isinstance(given, Refunded)
        return given.refund

    # looking

    async def payment(self, payment: Payment | uuid.UUID) -> Payment:
        return await self.shop.payment_of(payment if isinstance(payment, uuid.UUID) else payment.payment_id)

    async def details(self, payment: Payment) -> Details:
        return await requests.details(self.db, self.merchant_id, payment.payment_id)

    async def payments(self, order_id: str | None = None) -> list[Payment]:
        """All payments of the merchant, or of one order, oldest first."""
        found = await requests.page(self.db, self.merchant_id, payments.model.Filter(ref=order_id), 0, 1000)
        return sorted(found, key=lambda payment: (payment.created_at, payment.payment_id))

    async def statuses(self, order_id: str | None = None) -> list[str]:
        return [payment.status for payment in await self.payments(order_id)]

    async def refunds(self, payment: Payment) -> list[Refund]:
        return list(await payments.refunds_of(self.db, self.merchant_id, payment.payment_id))

    async def used(self, plan: str | None = None) -> int:
        """How many tokens of a plan are used."""
        found = await merchants.subscriptions_of(self.db, self.merchant_id)
        return next(each.tokens_used for each in found if each.plan_id == (plan or self.plan))

    async def told(self, payment: Payment) -> list[str]:
        return [type_ for _, type_ in await self.shop.events(f"payment:{payment.payment_id}")]

    async def noted(self, payment: Payment) -> list[tuple[str, str]]:
        """What stands in the inbox about a payment: what was reported, and what became of it."""
        rows = await self.db.rows(
            "SELECT status, outcome FROM inbox WHERE merchant_id = $1 AND payment_id = $2 ORDER BY received_at, message_id",
            self.merchant_id, payment.payment_id,
        )  # fmt: skip
        return [(row["status"], row["outcome"]) for row in rows]

    async def listed(self) -> list[tuple[str, str]]:
        """The open cases: kind and subject."""
        found = await cases.find_cases(self.db, merchant_id=self.merchant_id)
        return [(case.kind, case.subject) for case in found]

    async def keys(self) -> list[tuple[str, str]]:
        """The idempotency keys that are known, and their states."""
        rows = await self.db.rows("SELECT key, state FROM idempotency_keys WHERE merchant_id = $1 ORDER BY key", self.merchant_id)
        return [(row["key"], row["state"]) for row in rows]

    async def breaches(self) -> list[str]:
        """What `kassa verify` finds wrong with this merchant."""
        found = await verify.run(self.ctx)
        return [f"{each.invariant} {each.subject}: {each.text}" for each in found if each.merchant_id in {self.merchant_id, "*"}]

    async def rest(self) -> None:
        """Wait until nothing goes on in the background."""
        await self.ctx.background.drain(5)


def payment_as_read(**changes: Any) -> Payment:
    """A payment as it might be read, without any database."""
    first = Payment(
        merchant_id="1",
        payment_id=new_id(),
        ref_kind="order",
        ref=str(new_id()),
        provider="card",
        method="credit_card",
        script=None,
        status="opened",
        currency=CURRENCY,
        amount_minor=10_000,
        captured_minor=0,
        refunded_minor=0,
        refunding_minor=0,
        provider_key="key:payment",
        provider_ref=None,
        pay_url=None,
        reason=None,
        message=None,
        card_last4="1111",
        sends=1,
        last_sent_at=NOON,
        asks=0,
        unanswerable=0,
        next_ask_at=None,
        unknown_since=None,
        expires_at=None,
        created_at=NOON,
        quantity="1",
        ref_is_number=False,
        routed_to=None,
        held_by=None,
        read_at=NOON,
    )
    return replace(first, **changes)


def refund_as_read(**changes: Any) -> Refund:
    """A refund as it might be read, without any database."""
    first = Refund(
        merchant_id="1",
        refund_id=new_id(),
        payment_id=new_id(),
        amount_minor=100,
        currency=CURRENCY,
        status="pending",
        owed=True,
        reason=None,
        provider_key="key:refund",
        message=None,
        sends=1,
        first_sent_at=NOON,
        next_at=None,
        lease_version=1,
        created_at=NOON,
        read_at=NOON,
    )
    return replace(first, **changes)


# ── strangers that do as they are told ───────────────────────────────────────────────────────────────────────────────


@dataclass
class ScriptedCards:
    """Provider `card` with a book of its own: each act takes the next word of its script, then the default.

    `begins`: `paid`, `declined`, `silent` (not booked), `silent_paid` (booked, but no answer), `silent_declined`.
    `asks`: `truth` (what the book says), `silent`, `no_route`. `refunds`: `succeeded`, `silent`, `impossible`, `failed`.
    """

    begins: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    charged: dict[str, int] = field(default_factory=dict)
    charges: dict[str, int] = field(default_factory=dict)
    declined: set[str] = field(default_factory=set)
    returned: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: int = 0
    without_card: int = 0
    name = "card"
    local = False
    begins_again = False

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:
        if card is None:
            self.without_card += 1
            return Verdict("unknown", ask_in_s=0)
        word = self.begins.pop(0) if self.begins else "paid"
        key = payment.provider_key
        await asyncio.sleep(0)
        if word in {"paid", "silent_paid"}:
            self.charges[key] = self.charges.get(key, 0) + (key not in self.charged)
            self.charged[key] = payment.amount_minor
        if word in {"declined", "silent_declined"}:
            self.declined.add(key)
        await asyncio.sleep(0)
        return Verdict("unknown", ask_in_s=0) if word.startswith("silent") else self._known(key)

    async def ask(self, payment: Payment) -> Verdict:
        self.asked += 1
        word = self.asks.pop(0) if self.asks else "truth"
        if word == "silent":
            return Verdict("unknown")
        if word == "no_route":
            return Verdict("unknown", unanswerable=True, message="cannot be asked")
        return self._known(payment.provider_key)

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        word = self.refunds.pop(0) if self.refunds else "succeeded"
        await asyncio.sleep(0)
        if word == "succeeded":
            self.returned[refund.provider_key] = (payment.provider_key, refund.amount_minor)
        return RefundVerdict({"silent": "pending"}.get(word, word), ref="r-1" if word == "succeeded" else None)

    def net(self, key: str) -> int:
        """What is left of a charge, in minor units."""
        return self.charged.get(key, 0) - sum(amount for of, amount in self.returned.values() if of == key)

    def summary(self) -> list[tuple[str, int, Decimal]]:
        """Key, number of charges, and what is left in major units of a currency with two decimals."""
        return [(key, self.charges[key], Decimal(self.net(key)).scaleb(-2)) for key in self.charged]

    def _known(self, key: str) -> Verdict:
        if key in self.charged:
            return Verdict("paid", ref=f"t-{key[:8]}")
        if key in self.declined:
            return Verdict("declined", code="card_declined", message="The card was declined")
        return Verdict("unknown", never_seen=True)


class Died(Exception):
    """The process ends here, as far as the test is concerned: nothing after it happens."""


@dataclass
class ScriptedLinks:
    """Provider `link` with a book of its own: a URL at once, or silence as often as it is told to be silent.

    `begins`: the next words, for whichever provider is asked: `link`, `silent` (a cut or a time-out), `away` (nothing was sent),
    `busy` (503) or `refused` (a 400, or a link that is none). `by` has words for one provider by its name. `meanwhile` is awaited
    while the provider thinks; a `gate` that is not open holds its answer back. `refunds`: `succeeded`, `pending`, `failed`,
    `impossible`, `cut` (given back, and the answer lost), or `dies` (given back, and this process was killed: `Died`).
    """

    silences: int = 0
    refunds: list[str] = field(default_factory=list)
    begins: list[str] = field(default_factory=list)
    by: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[uuid.UUID, str]] = field(default_factory=list)
    """Every question for a link: the payment, and the provider that it was routed to."""
    sent: list[str] = field(default_factory=list)
    """The key of every refund that was sent, in turn."""
    returned: dict[str, int] = field(default_factory=dict)
    """What was given back, by the refund's key."""
    meanwhile: Callable[[Payment], Awaitable[Any]] | None = None
    gate: asyncio.Event | None = None
    name = "link"
    local = False
    begins_again = True

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:
        self.asked.append((payment.payment_id, payment.account))
        words = self.by.get(payment.account, self.begins)
        word = words.pop(0) if words else "link"
        if self.meanwhile is not None:
            await self.meanwhile(payment)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.silences:
            self.silences -= 1
            word = "silent"
        match word:
            case "link":
                return Verdict("waiting", url=f"https://pay.example/{payment.account}/{payment.payment_id}")
            case "silent":
                return Verdict("unknown", code="provider_unreachable")
            case "away":
                return Verdict("unknown", code="provider_unreachable", elsewhere=True)
            case "busy":
                return Verdict("unknown", code="provider_link_failed", elsewhere=True)
            case _:
                return Verdict("unknown", code="provider_link_failed")

    async def ask(self, payment: Payment) -> Verdict:
        return Verdict("waiting" if payment.pay_url else "unknown", unanswerable=True)

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        self.sent.append(refund.provider_key)
        word = self.refunds.pop(0) if self.refunds else "succeeded"
        await asyncio.sleep(0)
        if word in {"succeeded", "cut", "dies"}:
            self.returned[refund.provider_key] = refund.amount_minor
        if word == "dies":
            raise Died
        return RefundVerdict({"cut": "pending"}.get(word, word), message=f"as scripted: {word}")


@dataclass
class ScriptedExternal(ScriptedLinks):
    """Provider `external`: the caller's own system collects; a report settles it."""

    name = "external"
    begins_again = False

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:
        return Verdict("waiting")


@dataclass
class ScriptedNeighbour:
    """A neighbour service that answers each act by the next word of its script, else `yes`.

    Words: `yes`, `no` (422), `silent` (no answer), `silent_yes` (done, but no answer), `error` (500), `no_route` (404). Asked
    again under a key that was decided, it says the same again.
    """

    script: dict[str, list[str]] = field(default_factory=dict)
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    decided: dict[str | None, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, *, act: str, timeout_s: float, key: str | None = None, **_: Any) -> Answer:
        self.calls.append((act, key))
        words = self.script.get(act, [])
        word = words.pop(0) if words else "yes"
        await asyncio.sleep(0)
        word = self.decided.get(key, word) if not word.startswith("silent") else word
        if word in {"yes", "no", "silent_yes"}:
            self.decided.setdefault(key, word.removeprefix("silent_"))
        await asyncio.sleep(0)
        if word.startswith("silent"):
            raise NoAnswer
        status = {"yes": 200, "no": 422, "error": 500, "no_route": 404}[word]
        body = {"success": status == 200, "message": "as scripted", "orderId": "order_1"}
        return Answer(status, body, {})


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def at_once(*works: Any) -> list[Any]:
    """Begin all of them behind one barrier and give what each returned or raised, in order."""
    gate = asyncio.Event()

    async def wait(work: Any) -> Any:
        await gate.wait()
        return await work

    tasks = [asyncio.create_task(wait(work)) for work in works]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class RemoteShelf:
    """A source of products as a product service is one: it says how many there are, and we hold against that."""

    stock: dict[str, int]
    read_at: datetime | None = None

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        at = self.read_at or await ctx.db.value("SELECT clock_timestamp()")
        return {
            product_id: Offer(
                product_id, product_id, product_id.title(), Money(PRICE, channel.currency), (), self.stock[product_id],
                "product_service", self.stock[product_id], at,
            )
            for product_id in product_ids
            if product_id in self.stock
        }  # fmt: skip
