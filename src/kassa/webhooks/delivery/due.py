"""Find what is due, for the broker: each is marked as being on its way, so that it is published once a minute at most."""

from __future__ import annotations

from itertools import groupby

from kassa.kit.context import Context
from kassa.webhooks.delivery import store
from kassa.webhooks.delivery.model import Due

EACH = 100
"""Deliveries of one endpoint that are on their way at the same time; what is behind them waits in the database."""


async def mark_due(ctx: Context, limit: int) -> list[Due]:
    """Due deliveries of all merchants, at most `limit`, that are not on their way yet, marked so for 60 s."""
    found = sorted(await store.due_for_broker(ctx.db, limit, EACH), key=lambda each: each.merchant_id)
    marked: list[Due] = []
    for merchant_id, group in groupby(found, key=lambda each: each.merchant_id):
        mine = list(group)
        async with ctx.db.transaction("webhooks.queue", lasting=False) as tx:
            await store.lock(tx, merchant_id, list({each.endpoint_id for each in mine}))
            still = await store.mark_queued(tx, merchant_id, mine)
        marked += [each for each in mine if each.delivery_id in still]
    return marked
