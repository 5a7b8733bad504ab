"""Claim deliveries of one merchant: from then on this process alone attempts them, until a lease ends.

A claim that a crash of the database undoes is made again: one more request under the same id. So it does not wait for the disk, and
neither does the note of an outcome.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.kit.context import Context
from kassa.webhooks.delivery import store
from kassa.webhooks.delivery.store import Taken
from kassa.webhooks.model import WebhookRules


async def claim_named(
    ctx: Context, merchant_id: str, event_ids: Sequence[uuid.UUID], delivery_ids: Sequence[uuid.UUID] = ()
) -> Taken:
    """Claim what may begin now of the deliveries of these events, and of these deliveries. What is not due is passed over."""
    async with ctx.db.transaction("webhooks.claim", lasting=False) as tx:
        endpoint_ids = await store.lock_live(tx, merchant_id)
        return await store.claim(
            tx, merchant_id, endpoint_ids, ctx.port(WebhookRules).timeout_s, event_ids=event_ids, delivery_ids=delivery_ids
        )


async def claim_oldest(
    ctx: Context, merchant_id: str, endpoint_ids: Sequence[uuid.UUID], delivery_ids: Sequence[uuid.UUID] = ()
) -> Taken:
    """Claim what has been due longest at these endpoints, as much as each may bear; these deliveries are looked at, too."""
    async with ctx.db.transaction("webhooks.claim", lasting=False) as tx:
        await store.lock(tx, merchant_id, endpoint_ids)
        return await store.claim(
            tx, merchant_id, endpoint_ids, ctx.port(WebhookRules).timeout_s, delivery_ids=delivery_ids, oldest=True
        )
