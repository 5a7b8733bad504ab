"""A payment in doubt, when somebody wants to know now: ask the provider once more, or take a person's word for it."""

from __future__ import annotations

import uuid
from typing import Any

from kassa import audit, cases, checkout, payments
from kassa.collect.model import HeldByProvider, PaymentMissing
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import requests
from kassa.payments.model import Payment, Refund, RefundVerdict, Verdict

_IN_DOUBT = frozenset({"unknown", "parked"})
_ENDED_BY_A_WORD = ("payment_unknown", "amount_mismatch", "report_contradicts", "report_of_another_provider")
"""Cases of a payment that a person's word about it answers."""


async def resolve(ctx: Context, payment: Payment) -> Payment:
    """Ask what became of a payment in doubt and apply a final answer; the payment after it. Any other one is left as it is."""
    return await checkout.ask_now(ctx, payment) if payment.status in _IN_DOUBT else payment


async def decide(
    ctx: Context, payment_id: uuid.UUID, kind: str, reason: str, ref: str | None = None, *, by: audit.By = audit.UNNAMED
) -> Payment:
    """A person says what became of a payment: `paid`, `declined` or `cancelled`; the payment after it.

    `ref` is the provider's own id of the charge, without which some providers cannot refund it. `by` stands with the reason in the
    audit log, if the word moved the payment. Whatever follows happens as if the
    provider had said it. Raises `PaymentMissing`, and `HeldByProvider` while its buyer is paying it; a verdict that the payment's
    status does not allow changes nothing.
    """
    payment = await payments.find_anywhere(ctx.db, payment_id)
    if payment is None:
        raise PaymentMissing
    if payment.held_by is not None:
        raise HeldByProvider
    verdict = Verdict(kind, ref=ref, code=None if kind == "paid" else "by_hand", message=f"By hand: {reason}")

    async def close(tx: Tx) -> None:
        hand = audit.Hand(ctx.keys, by, reason)
        audit.note(tx, hand, payment.merchant_id, "payment.decide", f"payment:{payment_id}", before=payment.status, word=kind)
        await cases.close_cases(tx, payment.merchant_id, f"payment:{payment_id}", f"by hand: {reason}", kinds=_ENDED_BY_A_WORD)

    if payment.ref_kind == "order":
        brought = await checkout.bring_verdict(ctx, payment.merchant_id, payment_id, verdict, close)
        return brought.payment if brought else payment
    async with ctx.db.transaction("collect.decide") as tx:
        kept = await requests.settle_reference(tx, payment, verdict)
        if kept.settled.moved:
            await close(tx)
    if kept.refund is not None:
        ctx.background.spawn(checkout.send_refund(ctx, kept.refund), name=f"refund {kept.refund.refund_id}")
    return kept.settled.payment


async def mark_refund_done(ctx: Context, refund: Refund, reason: str, *, by: audit.By = audit.UNNAMED) -> Refund:
    """A person gave the money back by hand. Said twice, the second changes nothing."""
    async with ctx.db.transaction("collect.decide") as tx:
        payment = await requests.lock(tx, refund.merchant_id, refund.payment_id)
        after = await checkout.note_refund(tx, payment, refund, RefundVerdict("succeeded", message=f"By hand: {reason}"))
        await cases.close_cases(tx, refund.merchant_id, f"refund:{refund.refund_id}", f"by hand: {reason}")
        if after is not refund:  # else somebody was first
            facts: dict[str, Any] = {"amount_minor": refund.amount_minor, "currency": refund.currency}
            hand, subject = audit.Hand(ctx.keys, by, reason), f"refund:{refund.refund_id}"
            audit.note(tx, hand, refund.merchant_id, "refund.done", subject, payment_id=str(refund.payment_id), **facts)
    return after
