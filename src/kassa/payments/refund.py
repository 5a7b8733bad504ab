"""Give money back: reserve the sum under the payment's row, tell the provider under a key of its own, note the answer.

The refund and its key are committed before the provider hears of it, and every repetition carries that key. An owed
refund (a cancelled order, money that came late) never fails: after 24 h a person looks too, and it is tried on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from kassa.events import Event, record
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, Refused
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.ledger import post
from kassa.ledger.model import refund as refund_entry
from kassa.payments import store
from kassa.payments.model import Payment, Refund, RefundVerdict
from kassa.payments.provider import Providers

RETRY_S = (1, 2, 5, 15, 30)
MINUTELY_S = 60
SLOWLY_S = 900
SLOW_AFTER = timedelta(hours=1)
PARK_AFTER = timedelta(hours=24)


class NotRefundable(Refused):
    """This payment holds nothing that could be given back."""

    code = "not_refundable"


class RefundTooLarge(Refused):
    """More than what is left of the captured sum."""

    code = "refund_exceeds_captured"


class RefundTaken(Conflict):
    """Somebody else is sending this refund."""

    code = "in_progress"


async def begin_refund(
    tx: Tx, payment: Payment, *, provider_key: str, owed: bool, reason: str | None, amount: Money | None = None
) -> tuple[Payment, Refund]:
    """Reserve `amount` (all that is left if None) for a refund in the caller's transaction.

    Raises `NotRefundable` or `RefundTooLarge`; any number at once never exceed the captured sum. The caller sends it
    after the commit with `send_refund`, and a worker does if the caller dies.
    """
    payment = await store.lock(tx, payment.merchant_id, payment.payment_id)
    if payment.status != "paid" or payment.refundable_minor <= 0:
        raise NotRefundable
    wanted = payment.refundable_minor if amount is None else amount.minor
    if wanted > payment.refundable_minor:
        raise RefundTooLarge
    payment, refund = await store.insert_refund(tx, payment, new_id(), wanted, provider_key, owed=owed, reason=reason)
    record(tx, Event(payment.merchant_id, f"payment:{payment.payment_id}", "refund.created", refund.event_data(payment)))
    return payment, refund


async def send_refund(ctx: Context, refund: Refund) -> Refund:
    """Tell the provider of a refund and note its answer; returns the refund after it.

    Called twice, or by two at once: one of them sends, under the refund's own key; `RefundTaken` for the other.
    """
    held = await store.claim_refund(ctx.db, refund, ctx.lease_s)
    if held is None:
        raise RefundTaken
    payment = await store.find(ctx.db, held.merchant_id, held.payment_id)
    if payment is None:
        raise NotRefundable
    verdict = await _keep_lease(ctx, held, ctx.port(Providers).of(payment).refund(payment, held))
    async with ctx.db.transaction("payments.refund") as tx:
        return await conclude_refund(tx, payment, held, verdict)


async def _keep_lease(ctx: Context, held: Refund, call: Coroutine[Any, Any, RefundVerdict]) -> RefundVerdict:
    """Await `call` and hold the lease meanwhile: it is short, so that a refund whose sender died is soon sent again."""
    task = asyncio.ensure_future(call)
    try:
        while not (await asyncio.wait({task}, timeout=ctx.lease_s / 3))[0]:
            await store.renew_refund(ctx.db, held, ctx.lease_s)
        return task.result()
    finally:
        task.cancel()


async def conclude_refund(tx: Tx, payment: Payment, refund: Refund, verdict: RefundVerdict) -> Refund:
    """Note what a provider (or a person) said of a refund, with its ledger entry and events. Once."""
    after = _status_after(refund, verdict)
    written = await store.write_refund_verdict(tx, refund, after, verdict, _wait(refund, verdict))
    if written is None:
        return refund
    payment = await store.apply_refund(tx, payment, written)
    subject = f"payment:{payment.payment_id}"
    if after == "succeeded":
        amount = Money(refund.amount_minor, refund.currency)
        await post(tx, refund_entry(payment.merchant_id, payment.payment_id, refund.refund_id, payment.provider, amount))
        record(tx, Event(payment.merchant_id, subject, "refund.succeeded", written.event_data(payment)))
        if payment.status == "refunded":
            record(tx, Event(payment.merchant_id, subject, "payment.refunded", payment.event_data()))
    elif after == "failed":
        record(tx, Event(payment.merchant_id, subject, "refund.failed", written.event_data(payment)))
    return written


async def note_refund_done(tx: Tx, payment: Payment, refund: Refund) -> Refund:
    """A person says that the money was given back by hand."""
    return await conclude_refund(tx, payment, refund, RefundVerdict("succeeded", message="by hand"))


async def due_refunds(ctx: Context, limit: int = 100) -> list[Refund]:
    """Refunds whose next attempt is due, oldest first, across merchants (a plain read; claiming names the merchant)."""
    return await store.due_refunds(ctx.db, limit)


def _status_after(refund: Refund, verdict: RefundVerdict) -> str:
    if verdict.kind == "succeeded":
        return "succeeded"
    if verdict.kind == "failed" and not refund.owed:
        return "failed"
    began = refund.first_sent_at or refund.read_at
    late = refund.read_at - began > PARK_AFTER
    return "parked" if late or verdict.kind in {"failed", "impossible"} else "pending"


def _wait(refund: Refund, verdict: RefundVerdict) -> float | None:
    if verdict.kind in {"succeeded", "impossible", "failed"}:
        return None
    if refund.sends <= len(RETRY_S):
        return RETRY_S[max(0, refund.sends - 1)]
    began = refund.first_sent_at or refund.read_at
    return MINUTELY_S if refund.read_at - began < SLOW_AFTER else SLOWLY_S
