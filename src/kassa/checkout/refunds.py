"""Refunds that are sent to a provider: whatever comes of one is noted with all that it means, in one transaction.

A refund that needs a person is listed with the very commit that parks it. Where a whole refund of an order failed, the order shows
its payment as paid again.
"""

from __future__ import annotations

import uuid

from kassa import cases, events, orders, payments
from kassa.kit import trace
from kassa.kit.context import Context, concerns
from kassa.kit.database import Tx
from kassa.payments.model import Payment, Refund, RefundVerdict


async def send_refund(ctx: Context, refund: Refund) -> Refund:
    """Send one refund and note the answer. Raises `RefundTaken` when somebody else sends it."""
    concerns(merchant_id=refund.merchant_id, payment_id=refund.payment_id, refund_id=refund.refund_id)
    return await payments.send_refund(ctx, refund, note_refund)


async def send_again(ctx: Context, refund: Refund) -> Refund:
    """The same by a worker, in the trace in which the refund was begun."""
    kept = await events.trace_of(ctx.db, refund.merchant_id, f"payment:{refund.payment_id}", "refund.created")
    with trace.go_on("refund taken up", kept):
        return await send_refund(ctx, refund)


async def note_refund(tx: Tx, payment: Payment, refund: Refund, verdict: RefundVerdict) -> Refund:
    """Note what a provider, or a person, said of a refund. Said twice, the second changes nothing."""
    order = None
    if payment.ref_kind == "order" and verdict.kind == "failed":  # by the order of locks before the payment
        order = await orders.lock(tx, payment.merchant_id, uuid.UUID(payment.ref))
    after = await payments.conclude_refund(tx, payment, refund, verdict)
    if order is not None and after.status == "failed":
        await _given_back_in_vain(tx, payment, order)
    if after.status == "parked" and refund.status != "parked":
        if payment.provider == "payme":
            await _list(tx, after, "refund_at_provider")
        else:
            await _list(tx, after, "refund_parked")
    elif after.status == "succeeded" and refund.status == "parked":
        await cases.close_cases(tx, after.merchant_id, f"refund:{after.refund_id}", after.message or "given back")
    return after


async def _list(tx: Tx, refund: Refund, kind: str) -> None:
    """A person must see to it that this money goes back."""
    await cases.open_case(
        tx, refund.merchant_id, kind, f"refund:{refund.refund_id}", last_answer=refund.message, amount_minor=refund.amount_minor,
        currency=refund.currency,
    )  # fmt: skip


async def _given_back_in_vain(tx: Tx, payment: Payment, order: orders.Order) -> None:
    """The sum is the merchant's again; if the order was cancelled meanwhile, it is owed to the buyer."""
    if order.status == "cancelled":
        await payments.begin_refund(tx, payment, owed=True, reason="order cancelled")
    else:
        await orders.note_payment(tx, order, "paid")
