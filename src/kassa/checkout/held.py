"""A checkout in the hands of the one who leads it.

The row with its lease, its journal, order and payment, and, for the length of one request, the card.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kassa import orders, payments
from kassa.cardwatch import Tried
from kassa.checkout import store
from kassa.checkout.model import (
    ORDER,
    ORDER_SERVICE,
    PAYMENT,
    STOCK,
    Checkout,
    CheckoutView,
    Step,
    is_remote,
    shown_status,
    shown_step,
)
from kassa.checkout.wishes import Replies
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Reader, Tx
from kassa.payments.model import Card

MOVED = (store.Overtaken, orders.OrderMoved, payments.PaymentMoved)
"""Somebody was first with a row that a transaction wanted to move: look again."""


def _now_s() -> float:
    # Looked up at each call: a test may have a time of its own.
    return time.monotonic()


@dataclass(slots=True)
class Held:
    """`until` is when the request's time is over (seconds of the monotonic clock, 0 in the background).

    `fresh` holds the act whose intent this process has just committed and not sent yet: only that one may be sent without
    asking first. `leads` is False for somebody who only brings a verdict and has no lease; `leased_at` is when the
    lease was last taken or renewed (seconds of the monotonic clock). `tried` is where it is noted what became of the card.
    """

    checkout: Checkout
    order: orders.Order
    payment: payments.Payment
    steps: dict[str, Step] = field(default_factory=dict)
    card: Card | None = None
    until: float = 0.0
    fresh: str | None = None
    leads: bool = True
    tried: Tried | None = None
    leased_at: float = field(default_factory=_now_s)
    lease_s: float = 5.0

    def key(self, step: str) -> str:
        """The idempotency key of a call to a neighbour."""
        return f"{self.checkout.checkout_id}:{step}"

    def items(self) -> list[dict[str, Any]]:
        """The lines as neighbours are told them."""
        return [{"product_id": line.product_id, "quantity": line.quantity} for line in self.order.lines]

    def status_of(self, act: str) -> str | None:
        """How far an act is in the journal; None when it has not begun."""
        step = self.steps.get(act)
        return step.status if step else None

    def next_act(self, besides: str | None = None) -> str | None:
        """The first call to a neighbour that is not done yet (`besides` one that is done now), in the order of the acts."""
        acts = (act for act in self.checkout.acts if is_remote(act) and act != besides)
        return next((act for act in acts if self.status_of(act) != "done"), None)

    def to_undo(self) -> list[str]:
        """The acts that have happened, or may have, and are not undone yet, the last one first (own stock is let go at the end).

        A completed checkout has something to undo only where its order was cancelled: the acts marked `undoing`.
        """
        standing = {"undoing"} if self.checkout.status == "completed" else {"done", "running", "unknown", "undoing"}
        acts = [act for act in self.checkout.acts if act == PAYMENT or is_remote(act)]
        return [act for act in reversed(acts) if self.status_of(act) in standing]

    def stock_is_held(self) -> bool:
        """Whether the hold on own stock still stands."""
        return self.status_of(STOCK) == "done"

    def is_late(self) -> bool:
        """Whether the deadline has passed, by the database's clock at the last reading."""
        return self.checkout.deadline is not None and self.checkout.read_at >= self.checkout.deadline

    def stays_for(self, wait_s: float) -> bool:
        """Whether the request still runs after `wait_s` seconds, so that its leader may wait itself."""
        return self.leads and time.monotonic() + wait_s < self.until

    def when(self, in_s: float | None) -> store.Next:
        """Look again in so many seconds: with the lease if the leader waits itself, else whoever comes first."""
        if not self.leads:
            return store.Next(in_s, "keep")
        return store.Next(in_s, "renew" if in_s is not None and self.stays_for(in_s) else "release")

    def go_on(self) -> store.Next:
        """The leader goes on at once; if it dies, the checkout is due when the lease is over."""
        return store.Next(0, "renew" if self.leads else "keep")

    def restore_if_undone(self, tx: Tx) -> None:
        """Be again what was read, if `tx` fails after it has changed this in memory."""
        was = self.checkout, self.order, self.payment, self.steps, self.fresh, self.leased_at

        def restore() -> None:
            self.checkout, self.order, self.payment, self.steps, self.fresh, self.leased_at = was

        tx.if_undone(id(self), restore)

    def order_ref(self) -> str | None:
        """What callers know the order by: a neighbour's name for it, else its own id."""
        return _order_ref(self.checkout, self.steps.values())

    def view(self) -> CheckoutView:
        """What a caller may see."""
        return view_of(self.checkout, self.payment, list(self.steps.values()))


def view_of(checkout: Checkout, payment: payments.Payment | None, steps: list[Step]) -> CheckoutView:
    """What a caller may see of a checkout; a neighbour's ids where it has named them."""
    return CheckoutView(
        checkout_id=checkout.checkout_id,
        buyer_id=checkout.buyer_id,
        surface=checkout.surface,
        status=shown_status(checkout),
        order_ref=_order_ref(checkout, steps),
        payment_ref=(payment.provider_ref or str(payment.payment_id)) if payment else None,
        total_minor=checkout.total_minor,
        currency=checkout.currency,
        error=checkout.error,
        code=checkout.error_code,
        message=checkout.error_message,
        items=checkout.error_items,
        steps=_shown(steps),
    )


def _order_ref(checkout: Checkout, steps: Iterable[Step]) -> str | None:
    named = next((step.ref for step in steps if step.step == ORDER_SERVICE and step.ref), None)
    return named or (str(checkout.order_id) if checkout.order_id else None)


def _shown(steps: list[Step]) -> list[Step]:
    """The journal as contracts show it: where an order service made the order, that is the step `order`."""
    elsewhere = any(step.step == ORDER_SERVICE for step in steps)
    if not elsewhere:
        return steps
    return [replace(step, step=shown_step(step.step)) for step in steps if step.step != ORDER]


async def load(reader: Reader, checkout: Checkout, *, lease_s: float = 5.0, leads: bool = True) -> Held:
    """Read everything about a checkout that has an order and a payment; `leads` when the reader has just taken its lease."""
    assert checkout.order_id is not None
    assert checkout.payment_id is not None
    order = await orders.find(reader, checkout.merchant_id, checkout.order_id)
    payment = await payments.find(reader, checkout.merchant_id, checkout.payment_id)
    assert order is not None
    assert payment is not None
    steps = await store.steps_of(reader, checkout.merchant_id, checkout.checkout_id)
    return Held(checkout, order, payment, {step.step: step for step in steps}, leads=leads, lease_s=lease_s)


async def look_again(reader: Reader, held: Held) -> bool:
    """Read everything anew; False when the lease went to somebody else."""
    found = await store.find(reader, held.checkout.merchant_id, held.checkout.checkout_id)
    if found is None or (held.leads and found.lease_version != held.checkout.lease_version):
        return False
    anew = await load(reader, found)
    held.checkout, held.order, held.payment, held.steps = anew.checkout, anew.order, anew.payment, anew.steps
    return True


async def keep_answer(ctx: Context, tx: Tx, held: Held) -> None:
    """Store the final answer under the caller's idempotency key, in the transaction that decides it."""
    found = held.checkout.idempotency
    if found is None:
        return
    status, body = ctx.port(Replies).checkout(held.view())
    await once.answer(tx, ctx.keys, idempotency_key(held.checkout), status, body)


def idempotency_key(checkout: Checkout) -> once.Key:
    """The key under which this checkout was asked for (its payload is not needed any more)."""
    found = checkout.idempotency or {}
    return once.Key(checkout.merchant_id, found["caller"], found["operation"], found["key"], b"", timedelta(0))


def seconds_until(at: datetime | None, now: datetime) -> float | None:
    """Seconds from `now` to `at`, never negative; None for never."""
    return None if at is None else max(0.0, (at - now).total_seconds())
