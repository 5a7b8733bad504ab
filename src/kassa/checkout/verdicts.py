"""Bring in a verdict from outside: a provider's webhook, or a person's word. It enters by the same door as any other."""

from __future__ import annotations

import uuid

from kassa import orders, payments
from kassa.checkout import store
from kassa.checkout.held import load
from kassa.checkout.saga import drive
from kassa.checkout.settle import conclude
from kassa.kit.context import Context
from kassa.payments import Payment, Verdict

_LOOKS = 8


async def bring_verdict(ctx: Context, merchant_id: str, payment_id: uuid.UUID, verdict: Verdict) -> Payment | None:
    """Apply `verdict` to the payment of an order and go on with its checkout; None when there is no such payment.

    Brought twice, or by a hundred at once, it takes effect once.
    """
    for _ in range(_LOOKS):
        payment = await payments.find(ctx.db, merchant_id, payment_id)
        if payment is None or payment.ref_kind != "order":
            return None
        order = await orders.find(ctx.db, merchant_id, uuid.UUID(payment.ref))
        checkout = await store.find(ctx.db, merchant_id, order.checkout_id) if order else None
        if checkout is None:
            return None
        if not payments.MOVES.allows(payment.status, verdict.kind):
            return payment
        held = await load(ctx.db, checkout, leads=False)
        try:
            await conclude(ctx, held, verdict)
        except (store.Overtaken, orders.OrderMoved):
            continue
        claimed = await store.claim(ctx.db, merchant_id, checkout.checkout_id, ctx.lease_s)
        if claimed is not None:
            going_on = drive(ctx, await load(ctx.db, claimed, lease_s=ctx.lease_s))
            ctx.background.spawn(going_on, name=f"checkout {claimed.checkout_id}")
        return held.payment
    raise store.Overtaken
