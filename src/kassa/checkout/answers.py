"""First answers: what a repeat of an idempotency key is told."""

from __future__ import annotations

import asyncio
import time
import uuid

from kassa import orders
from kassa.checkout import store
from kassa.checkout.wishes import Placed, RenderOrder, Replayed
from kassa.kit import once
from kassa.kit.context import Context

LINK_WAIT_S = 3.0
"""Seconds that the first answer to an order waits for the link to pay it at most."""
_ABANDONED_S = 2 * LINK_WAIT_S
"""Seconds after which a key without an answer has lost its owner. It is sooner known where another process leads the checkout."""
_LOOK_S = 0.05


async def repeat(ctx: Context, key: once.Key, render: RenderOrder) -> Replayed | Placed | None:
    """What a repeat of an order's key is told; None when the key is unknown.

    The first answer, waited for up to one second. If the first one's process died before the answer was kept, the order
    itself, and that answer is kept now. Raises `InProgress` while the first one still runs, `KeyReused` for another payload.
    """
    found = await once.find(ctx.db, ctx.keys, key)
    if found is None:
        return None
    return await wait_for_answer(ctx, key, found) or await _take_over(ctx, key, found, render)


async def wait_for_answer(ctx: Context, key: once.Key, found: once.Found) -> Replayed | None:
    """Look again and again, up to one second, until the answer is there; None when it is not."""
    until = time.monotonic() + once.WAIT_S
    while True:
        if found.state == "done" and found.status is not None and found.body is not None:
            return Replayed(found.status, found.body)
        if found.state == "accepted" or time.monotonic() >= until:
            return None
        await asyncio.sleep(_LOOK_S)
        found = await once.find(ctx.db, ctx.keys, key) or found


async def _take_over(ctx: Context, key: once.Key, found: once.Found, render: RenderOrder) -> Placed:
    order = await orders.find(ctx.db, key.merchant_id, uuid.UUID(found.subject)) if found.subject else None
    if order is None or not (found.age_s > _ABANDONED_S or await _is_led_anew(ctx, order, found)):
        raise once.InProgress
    placed = Placed(order, created=True)
    async with ctx.db.transaction("checkout.answer") as tx:
        await once.answer(tx, ctx.keys, key, *render(placed))
    return placed


async def _is_led_anew(ctx: Context, order: orders.Order, found: once.Found) -> bool:
    """Whether another process took the checkout over, and has the link or has had the time that the first one has for it."""
    ready = order.payment_url is not None or found.age_s > LINK_WAIT_S
    return ready and await store.was_taken_over(ctx.db, order.merchant_id, order.checkout_id)
