"""Take up what a crash or a wait left: checkouts and refunds that are due and that nobody leads.

Due work is found by a plain read across merchants and claimed merchant by merchant, in turn, without waiting for anybody.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict

from kassa import payments
from kassa.checkout import store
from kassa.checkout.model import Checkout
from kassa.checkout.saga import resume
from kassa.kit.context import Context

_AT_ONCE = 32
_PER_MERCHANT = 8


async def sweep_checkouts(ctx: Context) -> int:
    """Resume due checkouts, at most 32 at once and 8 of one merchant per turn; returns how many were taken up."""
    by_merchant: dict[str, list[uuid.UUID]] = defaultdict(list)
    for merchant_id, checkout_id in await store.due(ctx.db, _AT_ONCE * 4):
        by_merchant[merchant_id].append(checkout_id)
    claimed: list[Checkout] = []
    for merchant_id, checkout_ids in by_merchant.items():
        claimed += await store.claim_due(ctx.db, merchant_id, checkout_ids[:_PER_MERCHANT], ctx.lease_s)
    for checkout in claimed:
        ctx.background.spawn(resume(ctx, checkout), name=f"checkout {checkout.checkout_id}")
    return len(claimed)


async def sweep_refunds(ctx: Context) -> int:
    """Send due refunds again; returns how many were sent."""
    due = await payments.due_refunds(ctx, _AT_ONCE)
    results = await asyncio.gather(
        *(payments.send_refund(ctx, refund) for refund in due), return_exceptions=True
    )
    return sum(not isinstance(result, BaseException) for result in results)
