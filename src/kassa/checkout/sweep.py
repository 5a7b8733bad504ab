"""Take up what a crash or a wait left: checkouts and refunds that are due and that nobody leads.

Due work is found by a plain read across merchants and claimed merchant by merchant, in turn, without waiting for anybody.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict

from kassa import payments
from kassa.checkout import store
from kassa.checkout.model import Checkout
from kassa.checkout.refunds import send_again
from kassa.checkout.saga import resume
from kassa.kit.context import Context

log = logging.getLogger("kassa.checkout")
_AT_ONCE = 32
_PER_MERCHANT = 8


async def sweep_checkouts(ctx: Context) -> int:
    """Resume due checkouts, at most 32 a turn and 8 of one merchant while others wait; returns how many were taken up."""
    by_merchant: dict[str, list[uuid.UUID]] = defaultdict(list)
    for merchant_id, checkout_id in await store.due(ctx.db, _AT_ONCE * 4):
        by_merchant[merchant_id].append(checkout_id)
    claimed: list[Checkout] = []
    share = _AT_ONCE if len(by_merchant) == 1 else _PER_MERCHANT
    for merchant_id, checkout_ids in by_merchant.items():
        room = min(share, _AT_ONCE - len(claimed))
        if room <= 0:
            break
        claimed += await store.claim_due(ctx.db, merchant_id, checkout_ids[:room], ctx.lease_s)
    for checkout in claimed:
        ctx.background.spawn(resume(ctx, checkout), name=f"checkout {checkout.checkout_id}")
    return len(claimed)


async def sweep_refunds(ctx: Context) -> int:
    """Send due refunds again; returns how many were sent."""
    due = await payments.due_refunds(ctx, _AT_ONCE)
    results = await asyncio.gather(*(send_again(ctx, refund) for refund in due), return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, payments.RefundTaken):
            log.warning("a refund could not be sent: %s", type(result).__name__)
    return sum(not isinstance(result, BaseException) for result in results)
