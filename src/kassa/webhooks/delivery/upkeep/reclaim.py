"""Take back what dead owners held: a lease that is over counts as an attempt that was cut, and the delivery is due at once."""

from __future__ import annotations

from itertools import groupby

from kassa.events import ring
from kassa.kit.context import Context
from kassa.webhooks.delivery.store import lock
from kassa.webhooks.delivery.upkeep import store
from kassa.webhooks.model import WebhookRules

_AT_ONCE = 200


async def reclaim_lapsed(ctx: Context) -> int:
    """Make deliveries due whose lease is over; returns how many. Safe in any number of processes."""
    plan, found = len(ctx.port(WebhookRules).plan), 0
    lapsed = await store.endpoints_with_lapsed(ctx.db, _AT_ONCE)
    for merchant_id, group in groupby(lapsed, key=lambda each: each[0]):
        endpoint_ids = [endpoint_id for _, endpoint_id in group]
        async with ctx.db.transaction("webhooks.reclaim") as tx:
            await lock(tx, merchant_id, endpoint_ids)
            found += await store.reclaim(tx, merchant_id, endpoint_ids, plan)
            tx.after_commit("webhooks.reclaim", lambda: ring(ctx.db))
    return found
