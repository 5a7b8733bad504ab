"""Begin a purchase: freeze lines, prices and address, hold the stock, write order, payment and journal; one transaction.

All of it commits together with the caller's idempotency key, and the intent of the first act with it. Nothing outside is
called before that commit.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kassa import catalog, notices, orders, payments
from kassa.catalog import Channel, Hold, Offer, Shortage
from kassa.checkout import store
from kassa.checkout.finish import announce
from kassa.checkout.held import Held
from kassa.checkout.model import PAYMENT, STOCK, Checkout, Step
from kassa.checkout.rules import CASH, Rules
from kassa.kit import once
from kassa.kit.context import Context, concerns, request_id
from kassa.kit.database import Broken, CommitUnknown, DatabaseAway, Tx
from kassa.kit.errors import Refused
from kassa.kit.ids import unguessable
from kassa.kit.money import Money
from kassa.notices import Contact
from kassa.orders import Order
from kassa.orders.model import Placement
from kassa.payments import Opening, Providers
from kassa.payments.model import CardTrace

HOLD = timedelta(minutes=30)
"""How long stock is held and a buyer is waited for: from the start of the checkout."""


class Short(Refused):
    """Not everything can be had."""

    code = "stock_insufficient"
    advice = "Ask for what is left; the answer names it."

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__()
        self.shortages = shortages


@dataclass(frozen=True, slots=True)
class Purchase:
    """Everything that a checkout, its order and its payment are begun with; ids are made before the transaction."""

    channel: Channel
    surface: str
    buyer_id: str | None
    method: str
    provider: str
    lines: Sequence[tuple[Offer, int]]
    shipping_address: Mapping[str, Any]
    card: CardTrace
    checkout_id: uuid.UUID = field(default_factory=unguessable)
    order_id: uuid.UUID = field(default_factory=unguessable)
    payment_id: uuid.UUID = field(default_factory=unguessable)
    email: str | None = None
    contact: Contact | None = None
    cart_id: uuid.UUID | None = None
    cart_version: int | None = None
    asked: bytes | None = None
    key: once.Key | None = None
    keeps_answer: bool = False
    at: datetime | None = None
    """The moment of the one clock in which the prices were read, where that was here: the purchase begins then."""
    hold: timedelta = HOLD
    pay_url: str | None = None
    """Where the buyer pays, if that is known from the beginning: the checkout then sleeps until the buyer has, or its deadline."""

    @property
    def total(self) -> Money:
        """The sum of price times quantity, at the prices that were read."""
        return Money(sum(offer.price.minor * quantity for offer, quantity in self.lines), self.channel.currency)


async def begin(ctx: Context, tx: Tx, purchase: Purchase, *, order: Order | None = None, carefully: bool = True) -> Held:
    """Write the whole beginning in the caller's transaction. Raises `Short`; the caller's transaction then rolls back.

    `order` is its `draft`, for a caller who has answered with it already.
    When not `carefully`, the hold on own stock travels with the rest, and `StockMoved` instead of `Short` is raised at the end.
    """
    rules, cash = ctx.port(Rules), purchase.provider == CASH
    at = purchase.at or await tx.now()
    order = order or draft(purchase, at)
    acts = rules.acts(purchase.surface, [offer.product_id for offer, _ in purchase.lines], pays_first=not cash)
    checkout = await store.insert(tx, _checkout(purchase, acts, ctx.lease_s, cash=cash), _notes(acts, cash=cash), at)
    await orders.place(tx, order)
    if purchase.contact is not None:
        await notices.address(tx, ctx.keys, order.merchant_id, order.order_id, order.payment_id, purchase.contact)
    payment = await payments.open_payment(tx, _opening(ctx, purchase, at, cash=cash))
    if STOCK in acts:
        holds = [Hold(offer, quantity) for offer, quantity in purchase.lines]
        reserve = catalog.reserve if carefully else catalog.reserve_later
        short = await reserve(tx, purchase.channel, purchase.checkout_id, holds, checkout.deadline)
        if short:
            raise Short(short)
    fresh = None if cash or purchase.pay_url else PAYMENT
    held = Held(checkout, order, payment, _steps(acts, checkout), fresh=fresh, lease_s=ctx.lease_s)
    announce(tx, held, "checkout.started")
    return held


@contextlib.asynccontextmanager
async def starting(ctx: Context, purchase: Purchase) -> AsyncIterator[Tx]:
    """The transaction of a beginning. When its commit was not answered, the database is asked whether it happened.

    So a caller is told "nothing was begun" only when nothing was. Raises `Broken` then, `CommitUnknown` when the
    database cannot be asked either.
    """
    try:
        async with ctx.db.transaction("checkout.start") as tx:
            yield tx
    except CommitUnknown:
        try:
            found = await store.find(ctx.db, purchase.channel.merchant_id, purchase.checkout_id)
        except DatabaseAway:
            raise CommitUnknown from None
        if found is None:
            raise Broken from None
    ids = {"checkout_id": purchase.checkout_id, "order_id": purchase.order_id, "payment_id": purchase.payment_id}
    concerns(merchant_id=purchase.channel.merchant_id, **ids)


def _checkout(purchase: Purchase, acts: list[str], lease_s: float, *, cash: bool) -> store.NewCheckout:
    key = purchase.key
    return store.NewCheckout(
        merchant_id=purchase.channel.merchant_id,
        checkout_id=purchase.checkout_id,
        channel=purchase.channel.channel,
        surface=purchase.surface,
        buyer_id=purchase.buyer_id,
        status="reserved" if cash else "paying",
        method=purchase.method,
        acts=acts,
        currency=purchase.channel.currency,
        total_minor=purchase.total.minor,
        request_id=request_id.get() or None,
        lease_s=lease_s,
        order_id=purchase.order_id,
        payment_id=purchase.payment_id,
        cart_id=purchase.cart_id,
        cart_version=purchase.cart_version,
        asked=purchase.asked,
        customer_email=purchase.email,
        hold=None if cash else purchase.hold,
        sleeps=purchase.pay_url is not None,
        idempotency=scope_of(key) if key and purchase.keeps_answer else None,
    )


def scope_of(key: once.Key) -> dict[str, str]:
    """What of an idempotency key the checkout must remember to store its final answer."""
    return {"caller": key.caller, "operation": key.operation, "key": key.key}


def _notes(acts: list[str], *, cash: bool) -> list[store.Note]:
    notes = [store.Note(STOCK, "done")] if STOCK in acts else []
    return notes if cash else [*notes, store.Note(PAYMENT, "running", sent=True)]


def _steps(acts: list[str], checkout: Checkout) -> dict[str, Step]:
    at = checkout.created_at
    status = {STOCK: "done", PAYMENT: "running"}
    return {act: Step(act, place, status[act], None, 1, at, 0, None, at, at) for place, act in enumerate(acts) if act in status}


def draft(purchase: Purchase, at: datetime) -> Order:
    """The order that this purchase makes, begun at `at`."""
    lines = [
        orders.Line(offer.product_id, offer.name, offer.price.minor, quantity, offer.price.minor * quantity, offer.image)
        for offer, quantity in purchase.lines
    ]
    placement = Placement(
        merchant_id=purchase.channel.merchant_id,
        order_id=purchase.order_id,
        checkout_id=purchase.checkout_id,
        payment_id=purchase.payment_id,
        channel=purchase.channel.channel,
        buyer_id=purchase.buyer_id,
        payment_method=purchase.method,
        currency=purchase.channel.currency,
        lines=lines,
        shipping_address=purchase.shipping_address,
        delivery=timedelta(days=purchase.channel.delivery_days),
        payment_url=purchase.pay_url,
        at=at,
    )
    return orders.draft(placement)


def _opening(ctx: Context, purchase: Purchase, at: datetime, *, cash: bool) -> Opening:
    provider = ctx.port(Providers).by_name[purchase.provider]
    return Opening(
        merchant_id=purchase.channel.merchant_id,
        payment_id=purchase.payment_id,
        ref_kind="order",
        ref=str(purchase.order_id),
        provider=purchase.provider,
        method=purchase.method,
        amount=purchase.total,
        provider_key=f"{purchase.checkout_id}:payment",
        script=purchase.surface,
        card=purchase.card,
        sending=not provider.local and not provider.begins_again,
        expires_in=None if cash else purchase.hold,
        routed_to=purchase.method.partition(":")[2] or None,
        url=purchase.pay_url,
        at=at,
    )
