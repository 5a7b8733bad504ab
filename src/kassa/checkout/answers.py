"""First answers: what a repeat of an idempotency key is told."""

from __future__ import annotations

import asyncio
import time
import uuid

from kassa import orders
from kassa.checkout.wishes import Placed, RenderOrder, Replayed
from kassa.kit import once
from kassa.kit.context import Context

_LOOK_S = 0.05
_ABANDONED_S = 6.0
"""An order's first answer waits 3 s for a link at most; a key that is older and has no answer has lost its owner."""


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
    abandoned = found.subject is not None and found.age_s > _ABANDONED_S
    order = await orders.find(ctx.db, key.merchant_id, uuid.UUID(found.subject)) if abandoned and found.subject else None
    if order is None:
        raise once.InProgress
    placed = Placed(order, created=True)
    async with ctx.db.transaction("checkout.answer") as tx:
        await once.answer(tx, ctx.keys, key, *render(placed))
    return placed
