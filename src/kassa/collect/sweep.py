"""Payments of no order that are due: decide what is simulated, close what nobody paid in time, ask again for lost links.

Found by a plain read across merchants, taken merchant by merchant without waiting for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from kassa import events, payments
from kassa.collect.link import get_link
from kassa.collect.model import ProviderLinkFailed, ProviderUnreachable
from kassa.kit import trace
from kassa.kit.context import Context
from kassa.payments import Providers, requests
from kassa.payments.model import Payment, Verdict

log = logging.getLogger("kassa.collect")
_AT_ONCE = 200
_LINK_S = 15.0
"""Seconds for which a worker keeps a payment to itself while it asks for a link."""


async def sweep_payments(ctx: Context) -> int:
    """Settle, expire or ask for the links of merchants' payments that are due, at most 200 a turn; returns how many."""
    by_merchant: dict[str, list[Payment]] = defaultdict(list)
    for payment in await requests.due(ctx.db, _AT_ONCE):
        by_merchant[payment.merchant_id].append(payment)
    taken = 0
    for merchant_id, due in by_merchant.items():
        taken += await _look(ctx, merchant_id, due)
    return taken


async def _look(ctx: Context, merchant_id: str, due: list[Payment]) -> int:
    providers = ctx.port(Providers)
    async with ctx.db.transaction("collect.look") as tx:
        mine = await requests.lock_due(tx, merchant_id, [payment.payment_id for payment in due])
        verdicts = [(payment, verdict) for payment in mine if (verdict := await _decided(providers, payment)) is not None]
        decided = {payment.payment_id for payment, _ in verdicts}
        await payments.settle_all(tx, verdicts)
        lost = [payment for payment in mine if payment.payment_id not in decided]
        if lost:
            await requests.look_again_in(tx, merchant_id, [payment.payment_id for payment in lost], _LINK_S)
    asking = [payment for payment in lost if payment.status == "opened" and payment.provider == "link"]
    for found in await asyncio.gather(*(_ask_again(ctx, payment) for payment in asking), return_exceptions=True):
        if isinstance(found, Exception) and not isinstance(found, ProviderUnreachable | ProviderLinkFailed):
            log.warning("a link could not be asked for: %s", type(found).__name__)
    return len(mine)


async def _ask_again(ctx: Context, payment: Payment) -> None:
    kept = await events.trace_of(ctx.db, payment.merchant_id, f"payment:{payment.payment_id}", "payment.created")
    with trace.go_on("link taken up", kept):
        await get_link(ctx, payment)


async def _decided(providers: Providers, payment: Payment) -> Verdict | None:
    """What is certain of a payment without asking anybody."""
    if payment.expires_at is not None and payment.expires_at <= payment.read_at:
        return Verdict("closed", code="expired")
    provider = providers.by_name.get(payment.provider)
    if provider is None or not provider.local:
        return None
    verdict = await provider.ask(payment)
    if verdict.final:
        return verdict
    left = (payment.expires_at - payment.read_at).total_seconds() if payment.expires_at else None
    return Verdict("waiting", ask_in_s=left)
