"""Give money back: reserve the sum under the payment's row, tell the provider under a key of its own, note the answer.

The refund and its key are committed before the provider hears of it, and every repetition carries that key. An owed
refund (a cancelled order, money that came late) never fails: when its plan is over a person looks too, and it is tried on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from kassa.events import Event, record
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, Refused
from kassa.kit.ids import new_id
from kassa.kit.money import Money, fixed_text
from kassa.ledger import post
from kassa.ledger.model import refund as refund_entry
from kassa.payments import store
from kassa.payments.figures import count_refund
from kassa.payments.model import Payment, Refund, RefundLine, RefundVerdict
from kassa.payments.provider import Providers


@dataclass(frozen=True, slots=True)
class Plan:
    """When a refund without a final answer is sent again.

    After each of `first_s`, then every `then_s`, after `slow_after` every `slowly_s`; after `park_after` a person looks too.
    """

    first_s: tuple[float, ...]
    then_s: float
    slow_after: timedelta
    slowly_s: float
    park_after: timedelta


CARD = Plan((1, 2, 5, 15, 30), 60, timedelta(hours=1), 900, timedelta(hours=24))
"""Checkout contract, section 5."""
LINK = Plan((5, 30, 300, 1800), 3600, timedelta(hours=72), 3600, timedelta(hours=72))
"""Payments contract, section 6."""
PLANS = {"link": LINK, "external": LINK}
"""By provider; every other one has the plan of cards."""

Conclude = Callable[[Tx, Payment, Refund, RefundVerdict], Awaitable[Refund]]
"""How an answer about a refund is noted: `conclude_refund`, and whatever a conductor does with it in the same transaction."""


class NotRefundable(Refused):
    """Payment is not refundable"""  # noqa: D400 - the contract's own words

    code = "not_refundable"
    advice = "Read the payment: only captured money that has not gone back can be given back."


class RefundTooLarge(Refused):
    """Refund exceeds captured amount"""  # noqa: D400

    code = "refund_exceeds_captured"
    advice = "Give back at most what `refundable` says."


class RefundTaken(Conflict):
    """Somebody else is sending this refund."""

    code = "in_progress"


async def begin_refund(
    tx: Tx,
    payment: Payment,
    *,
    owed: bool,
    reason: str | None,
    amount: Money | None = None,
    provider_key: str | None = None,
    lines: Sequence[RefundLine] = (),
) -> tuple[Payment, Refund]:
    """Reserve `amount` (all that is left if None) for a refund in the caller's transaction.

    `provider_key` is the key under which the provider is told; by default the payment's own key and the refund's id. Raises
    `NotRefundable` or `RefundTooLarge`; any number at once never exceed the captured sum. The caller sends it after the commit
    with `send_refund`, and a worker does if the caller dies.
    """
    payment = await store.lock(tx, payment.merchant_id, payment.payment_id)
    if payment.status != "paid" or payment.refundable_minor <= 0:
        raise NotRefundable
    wanted = payment.refundable_minor if amount is None else amount.minor
    if wanted > payment.refundable_minor:
        raise RefundTooLarge(refundable=fixed_text(payment.refundable_minor, payment.currency))
    refund_id = new_id()
    key = provider_key or f"{payment.provider_key.removesuffix(':payment')}:refund:{refund_id}"
    payment, refund = await store.insert_refund(tx, payment, refund_id, wanted, key, owed=owed, reason=reason)
    if lines:
        await store.insert_refund_lines(tx, refund, lines)
        refund = replace(refund, lines=tuple(sorted(lines, key=lambda line: line.line_id)))
    record(tx, Event(payment.merchant_id, f"payment:{payment.payment_id}", "refund.created", refund.event_data(payment)))
    count_refund(tx, payment.provider, refund, "begun")
    return payment, refund


async def send_refund(ctx: Context, refund: Refund, conclude: Conclude | None = None) -> Refund:
    """Tell the provider of a refund and note its answer (by `conclude_refund`, if nothing else is said); the refund after it.

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
        return await (conclude or conclude_refund)(tx, payment, held, verdict)


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
    payment = await store.lock(tx, payment.merchant_id, payment.payment_id)  # always before its refunds
    plan = PLANS.get(payment.provider, CARD)
    after = _status_after(plan, refund, verdict)
    written = await store.write_refund_verdict(tx, refund, after, verdict, _wait(plan, refund, verdict))
    if written is None:
        return refund
    payment = await store.apply_refund(tx, payment, written)
    subject = f"payment:{payment.payment_id}"
    if after not in {"pending", refund.status}:
        count_refund(tx, payment.provider, refund, after)
    if after == "succeeded":
        amount = Money(refund.amount_minor, refund.currency)
        await post(tx, refund_entry(payment.merchant_id, payment.payment_id, refund.refund_id, payment.account, amount))
        record(tx, Event(payment.merchant_id, subject, "refund.succeeded", written.event_data(payment)))
        if payment.status == "refunded":
            record(tx, Event(payment.merchant_id, subject, "payment.refunded", payment.event_data()))
    elif after == "failed":
        record(tx, Event(payment.merchant_id, subject, "refund.failed", written.event_data(payment)))
    return written


async def due_refunds(ctx: Context, limit: int = 100) -> list[Refund]:
    """Refunds whose next attempt is due, oldest first, across merchants (a plain read; claiming names the merchant)."""
    return await store.due_refunds(ctx.db, limit)


def _status_after(plan: Plan, refund: Refund, verdict: RefundVerdict) -> str:
    if verdict.kind == "succeeded":
        return "succeeded"
    if verdict.kind == "failed" and not refund.owed:
        return "failed"
    began = refund.first_sent_at or refund.read_at
    late = refund.read_at - began > plan.park_after
    return "parked" if late or verdict.kind in {"failed", "impossible"} else "pending"


def _wait(plan: Plan, refund: Refund, verdict: RefundVerdict) -> float | None:
    if verdict.kind in {"succeeded", "impossible", "failed"}:
        return None
    if refund.sends <= len(plan.first_s):
        return plan.first_s[max(0, refund.sends - 1)]
    began = refund.first_sent_at or refund.read_at
    return plan.then_s if refund.read_at - began < plan.slow_after else plan.slowly_s
