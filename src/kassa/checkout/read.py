"""What may be shown of a checkout."""

from __future__ import annotations

import uuid

from kassa import payments
from kassa.checkout import store
from kassa.checkout.held import view_of
from kassa.checkout.model import CheckoutView
from kassa.kit.context import Context


async def read_checkout(ctx: Context, merchant_id: str, checkout_id: uuid.UUID) -> CheckoutView | None:
    """A checkout with its journal, or None; whose it is, is for the surface to judge."""
    checkout = await store.find(ctx.db, merchant_id, checkout_id)
    if checkout is None:
        return None
    steps = await store.steps_of(ctx.db, merchant_id, checkout_id)
    payment = await payments.find(ctx.db, merchant_id, checkout.payment_id) if checkout.payment_id else None
    return view_of(checkout, payment, steps)
