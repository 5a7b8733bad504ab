"""What a provider reports of a payment or a refund (payments contract, section 4), believed after its signature was checked.

Each accepted report is a row of the inbox, written in the transaction of its effect; reported a hundred times at once it takes
effect once. A report of a payment that is not known is kept and tried again every second, for 72 h, then it is a case.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kassa import cases, checkout, payments
from kassa.collect import store
from kassa.kit.context import Context, concerns
from kassa.kit.database import Tx
from kassa.kit.errors import Busy
from kassa.kit.money import InvalidMoney, from_major
from kassa.payments import requests
from kassa.payments.model import Payment, Refund, RefundVerdict, Verdict

REPORTED_BY_WEBHOOK = frozenset({"link", "external"})
_NOTHING_NEW = frozenset({"pending", "processing"})
_LOOKS = 8
HOUSE = "1"

UPDATED, PROCESSED, MISMATCH, OTHER, MISSING, NO_REFUND = (
    "payment updated",
    "already processed",
    "amount mismatch",
    "other provider",
    "payment not found",
    "refund not found",
)


class TooBusy(Busy):
    """This payment is being moved by others; report it again."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it came. `price` is text of major units; both it and `currency` are compared where they are given."""

    payment_id: uuid.UUID
    status: str
    refund_id: uuid.UUID | None = None
    price: str | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report, in the contract's words, and the payment after it."""

    message: str
    payment: Payment | None


async def take_report(ctx: Context, report: Report) -> Reported:
    """Apply a report. Taken twice, the second changes nothing."""
    concerns(merchant_id=None, payment_id=report.payment_id, refund_id=report.refund_id)
    for look in range(_LOOKS):
        payment = await payments.find_anywhere(ctx.db, report.payment_id)
        if payment is None:
            await store.keep_unmatched(ctx.db, report)
            return Reported(MISSING, None)
        concerns(merchant_id=payment.merchant_id)
        try:
            return await _apply(ctx, payment, report)
        except (payments.PaymentMissing, requests.ReferenceTaken):
            await asyncio.sleep(0.01 * look)
    raise TooBusy


async def _apply(ctx: Context, payment: Payment, report: Report) -> Reported:
    if payment.provider not in REPORTED_BY_WEBHOOK:
        return await _list(ctx, payment, report, OTHER, "report_of_another_provider")
    if report.refund_id is None and not _same_sum(payment, report):
        return await _list(ctx, payment, report, MISMATCH, "amount_mismatch")
    if report.status in _NOTHING_NEW:
        async with ctx.db.transaction("collect.report") as tx:
            await store.note_report(tx, payment, report, UPDATED)
        return Reported(UPDATED, payment)
    if report.refund_id is not None:
        return await _apply_to_refund(ctx, payment, report, report.refund_id)
    return await _apply_to_payment(ctx, payment, report)


async def _apply_to_payment(ctx: Context, payment: Payment, report: Report) -> Reported:
    verdict = Verdict("paid") if report.status == "finished" else Verdict("declined", code="provider_declined")
    if payment.ref_kind == "order":

        async def note(tx: Tx) -> None:
            await store.note_report(tx, payment, report, UPDATED)

        brought = await checkout.bring_verdict(ctx, payment.merchant_id, payment.payment_id, verdict, note)
        if brought is not None and brought.moved:
            return Reported(UPDATED, brought.payment)
        return await _processed(ctx, brought.payment if brought else payment, report)
    async with ctx.db.transaction("collect.report") as tx:
        kept = await requests.settle_reference(tx, payment, verdict)
        if kept.settled.moved:
            await store.note_report(tx, kept.settled.payment, report, UPDATED)
    if not kept.settled.moved:
        return await _processed(ctx, kept.settled.payment, report)
    if kept.refund is not None:
        ctx.background.spawn(checkout.send_refund(ctx, kept.refund), name=f"refund {kept.refund.refund_id}")
    return Reported(UPDATED, kept.settled.payment)


async def _processed(ctx: Context, payment: Payment, report: Report) -> Reported:
    """A report that changes nothing; a no after a yes is something that an operator should see."""
    contradicts = report.status != "finished" and payment.captured_minor > 0
    if contradicts:
        return await _list(ctx, payment, report, PROCESSED, "report_contradicts")
    async with ctx.db.transaction("collect.report") as tx:
        await store.note_report(tx, payment, report, PROCESSED)
    return Reported(PROCESSED, payment)


async def _apply_to_refund(ctx: Context, payment: Payment, report: Report, refund_id: uuid.UUID) -> Reported:
    refund = await requests.find_refund(ctx.db, payment.merchant_id, refund_id)
    if refund is None:
        await store.keep_unmatched(ctx.db, report)
        return Reported(NO_REFUND, None)
    if refund.payment_id != payment.payment_id:
        await _list(ctx, payment, report, NO_REFUND, "report_unmatched")
        return Reported(NO_REFUND, None)
    verdict = RefundVerdict("succeeded" if report.status == "refunded" else "failed", message=f"reported {report.status}"[:64])
    async with ctx.db.transaction("collect.report") as tx:
        after = await checkout.note_refund(tx, payment, refund, verdict)
        changed = _is_final(after) and not _is_final(refund)
        await store.note_report(tx, payment, report, UPDATED if changed else PROCESSED)
    now = await payments.find(ctx.db, payment.merchant_id, payment.payment_id)
    return Reported(UPDATED if changed else PROCESSED, now)


def _is_final(refund: Refund) -> bool:
    return refund.status in {"succeeded", "failed"}


async def _list(ctx: Context, payment: Payment, report: Report, outcome: str, kind: str) -> Reported:
    """Change nothing, and list the report for a person."""
    async with ctx.db.transaction("collect.report") as tx:
        await store.note_report(tx, payment, report, outcome)
        told = " ".join(part for part in (report.status, report.price, report.currency) if part)
        await cases.open_case(
            tx, payment.merchant_id, kind, f"payment:{payment.payment_id}", act=report.status, last_answer=f"reported {told}",
            amount_minor=payment.amount_minor, currency=payment.currency,
        )  # fmt: skip
    return Reported(outcome, payment)


def _same_sum(payment: Payment, report: Report) -> bool:
    if report.currency is not None and report.currency != payment.currency:
        return False
    if report.price is None:
        return True
    try:
        return from_major(Decimal(report.price), payment.currency).minor == payment.amount_minor
    except (InvalidMoney, InvalidOperation):
        return False


async def sweep_unmatched(ctx: Context) -> int:
    """Try the reports of what was unknown again; after 72 h each becomes a case. Returns how many found what they are about."""
    found = 0
    for message_id, report, over in await store.unmatched_due(ctx.db):
        payment = await payments.find_anywhere(ctx.db, report.payment_id)
        if payment is not None and await _is_known(ctx, payment, report):
            await take_report(ctx, report)
            await store.forget_unmatched(ctx.db, message_id)
            found += 1
        elif over:
            async with ctx.db.transaction("collect.unmatched") as tx:
                await store.give_up_unmatched(tx, message_id)
                subject = f"payment:{report.payment_id}" if report.refund_id is None else f"refund:{report.refund_id}"
                merchant_id = payment.merchant_id if payment is not None else HOUSE
                last = f"reported {report.status}"
                await cases.open_case(tx, merchant_id, "report_unmatched", subject, act=report.status, last_answer=last)
    return found


async def _is_known(ctx: Context, payment: Payment, report: Report) -> bool:
    if report.refund_id is None:
        return True
    return await requests.find_refund(ctx.db, payment.merchant_id, report.refund_id) is not None
