"""Bring in a verdict from outside: a provider's webhook, or a person's word. It enters by the same door as any other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kassa import orders, payments
from kassa.checkout import store
from kassa.checkout.held import MOVED, Held, load
from kassa.checkout.model import PURCHASES
from kassa.checkout.payme import lock_together, pay
from kassa.checkout.saga import drive
from kassa.checkout.settle import conclude
from kassa.kit.context import Context, concerns
from kassa.kit.database import Tx
from kassa.payments import Payment, Verdict

_LOOKS = 8
_SOON_S = 10.0
"""A question that is due sooner by its plan is not brought forward."""


Note = Callable[[Tx], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Brought:
    """The payment after a verdict was brought, and whether the verdict moved it."""

    payment: Payment
    moved: bool


async def bring_verdict(
    ctx: Context, merchant_id: str, payment_id: uuid.UUID, verdict: Verdict, note: Note | None = None
) -> Brought | None:
    """Apply `verdict` to the payment of an order and go on with its checkout; None when there is no such payment.

    `note` writes what belongs to the same transaction. Brought twice, or by a hundred at once, it takes effect once.
    """
    concerns(merchant_id=merchant_id, payment_id=payment_id)
    for _ in range(_LOOKS):
        payment = await payments.find(ctx.db, merchant_id, payment_id)
        if payment is None or payment.ref_kind != "order":
            return None
        concerns(order_id=payment.ref)
        order = await orders.find(ctx.db, merchant_id, uuid.UUID(payment.ref))
        checkout = await store.find(ctx.db, merchant_id, order.checkout_id) if order else None
        if checkout is None:
            return None
        if not payments.MOVES.allows(payment.status, verdict.kind):
            return Brought(payment, moved=False)
        try:
            if checkout.surface == PURCHASES and verdict.kind == "paid":
                held, moved = await _pay_purchase(ctx, payment, verdict, note)
            else:
                held = await load(ctx.db, checkout, leads=False)
                moved = await conclude(ctx, held, verdict, note)
        except MOVED:
            continue
        await go_on(ctx, merchant_id, checkout.checkout_id)
        return Brought(held.payment, moved=moved)
    raise store.Overtaken


async def _pay_purchase(ctx: Context, payment: Payment, verdict: Verdict, note: Note | None) -> tuple[Held, bool]:
    """A yes to a purchase whose cart has kept its lines: they leave it, and its other purchases close."""
    async with ctx.db.transaction("checkout.settle") as tx:
        together = await lock_together(tx, payment)
        await pay(ctx, tx, together, verdict)
        moved = payments.has_moved(tx, together.held.payment.payment_id)
        if note is not None and moved:
            await note(tx)
    return together.held, moved


async def go_on(ctx: Context, merchant_id: str, checkout_id: uuid.UUID) -> None:
    """Lead a checkout on in the background, if it has something to do and nobody leads it."""
    claimed = await store.claim(ctx.db, merchant_id, checkout_id, ctx.lease_s)
    if claimed is not None:
        going_on = drive(ctx, await load(ctx.db, claimed, lease_s=ctx.lease_s))
        ctx.background.spawn(going_on, name=f"checkout {claimed.checkout_id}")


async def ask_now(ctx: Context, payment: Payment) -> Payment:
    """Ask what became of an order's payment that is not known, and apply the answer if it is one; the payment after it.

    The plan of questions is left as it is: this is one more, because somebody wants to know now.
    """
    if payment.ref_kind != "order" or payment.status not in {"unknown", "parked"}:
        return payment
    verdict = await payments.ask(ctx, payment)
    if not verdict.final:
        return payment
    brought = await bring_verdict(ctx, payment.merchant_id, payment.payment_id, verdict)
    return brought.payment if brought else payment


def ask_soon(ctx: Context, payment: Payment) -> None:
    """Ask in the background about an unknown payment that somebody reads, unless its plan asks within seconds anyway.

    So whoever waits for an answer in the slow end of the plan need not wait for its turn.
    """
    if payment.status != "unknown" or payment.next_ask_at is None:
        return
    due_in = (payment.next_ask_at - payment.read_at).total_seconds()
    what = ("ask", payment.payment_id)
    if due_in <= _SOON_S or not ctx.once_at_a_time.begin(what):
        return

    async def ask() -> None:
        try:
            await ask_now(ctx, payment)
        finally:  # not at once, so that a page that is loaded again and again does not ask each time
            asyncio.get_running_loop().call_later(_SOON_S, ctx.once_at_a_time.end, what)

    ctx.background.spawn(ask(), name=f"ask about {payment.payment_id}")
