"""What may be shown of a checkout."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa import payments
from kassa.checkout import store
from kassa.checkout.held import view_of
from kassa.checkout.model import INVENTORY, TAKE, CheckoutView, Step
from kassa.checkout.verdicts import ask_soon
from kassa.kit.context import Context
from kassa.kit.database import Reader


@dataclass(frozen=True, slots=True)
class Journal:
    """A checkout's acts as they were noted, and what it belongs to; one that was refused at once has no order and no payment."""

    checkout_id: uuid.UUID
    order_id: uuid.UUID | None
    payment_id: uuid.UUID | None
    steps: Sequence[Step]


async def read_checkout(ctx: Context, merchant_id: str, checkout_id: uuid.UUID) -> CheckoutView | None:
    """A checkout with its journal, or None; whose it is, is for the surface to judge."""
    checkout = await store.find(ctx.db, merchant_id, checkout_id)
    if checkout is None:
        return None
    steps = await store.steps_of(ctx.db, merchant_id, checkout_id)
    payment = await payments.find(ctx.db, merchant_id, checkout.payment_id) if checkout.payment_id else None
    if payment is not None:
        ask_soon(ctx, payment)
    return view_of(checkout, payment, steps)


async def read_journal(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> Journal | None:
    """The journal of a checkout, or None. It only looks: nobody is asked about a payment in doubt."""
    checkout = await store.find(reader, merchant_id, checkout_id)
    if checkout is None:
        return None
    steps = await store.steps_of(reader, merchant_id, checkout_id)
    return Journal(checkout_id, checkout.order_id, checkout.payment_id, steps)


async def merchant_of(reader: Reader, checkout_id: uuid.UUID) -> str | None:
    """Whose checkout this is, by its id alone; for an operator."""
    return await store.merchant_of(reader, checkout_id)


async def counts_elsewhere(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> bool:
    """Whether a neighbour counts the stock that a checkout sold: an inventory or a product service."""
    found = await store.find(reader, merchant_id, checkout_id)
    return found is not None and any(act == INVENTORY or act.startswith(TAKE) for act in found.acts)
