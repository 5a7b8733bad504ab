"""A merchant gives money back, whole or in part, by amount or by line (payments contract, section 6; rulings, 17).

The sum is reserved under the payment's row lock, so any number of refunds at once never exceed what was captured. The refund, its
key and the claim of the caller's key are committed before a provider hears of it; what the provider said is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kassa import audit, catalog, checkout, orders, payments
from kassa.collect.model import (
    AboveLimit,
    LineNotRefundable,
    NoLines,
    PaymentMissing,
    RefundAtProvider,
    Refunded,
    RenderRefund,
    Replayed,
    RestockImpossible,
)
from kassa.collect.resolve import resolve
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.payments import Providers, requests
from kassa.payments.model import Payment, Refund, RefundLine, RefundVerdict
from kassa.payments.payme.give_back import Subscribe
from kassa.payments.payme.model import PROVIDER

_POLL_S = 0.05
_SENT_AT_ONCE = frozenset({"simulated"})
"""Providers that give back in the refund's own transaction: no money moves."""


@dataclass(frozen=True, slots=True)
class LineAsked:
    """So many pieces of one line of an order; `restock` puts them back on the shelf, too."""

    line_id: str
    quantity: int
    restock: bool = False


@dataclass(frozen=True, slots=True)
class RefundWish:
    """Give back `amount`, or `lines`, or all that is left when neither is said.

    `by` is who wants it, and `why`, for the audit log: it must name no buyer. `most_minor`: how much of the payment may have been
    given back with this refund, in all. `given`: the provider's own id of a refund that it has made already: that one is booked
    and nothing is sent.
    """

    merchant_id: str
    payment_id: uuid.UUID
    key: once.Key
    amount: Money | None = None
    lines: Sequence[LineAsked] = ()
    reason: str | None = None
    by: audit.By = audit.UNNAMED
    why: str | None = None
    most_minor: int | None = None
    given: str | None = None


async def refund_payment(ctx: Context, wish: RefundWish, render: RenderRefund) -> Refunded | Replayed:
    """Begin a refund, tell the provider, and answer with what it said, or `pending`.

    Asked twice under one key, the second gets the first answer. Raises `PaymentMissing`, `NotRefundable`, `RefundTooLarge`,
    `NoLines`, `LineNotRefundable`, `RefundAtProvider`, `AboveLimit`, `KeyReused`, `InProgress`.
    """
    payment = await payments.find(ctx.db, wish.merchant_id, wish.payment_id)
    if payment is None:
        raise PaymentMissing
    if payment.provider == PROVIDER and ctx.ports.get(Subscribe) is None:
        raise RefundAtProvider  # its buyers get their money back from Payme's cabinet, and Payme tells us
    await resolve(ctx, payment)
    end = time.monotonic() + once.WAIT_S
    while True:
        try:
            begun = await _begin(ctx, wish, payment)
        except once.Claimed as claimed:
            if (first := await _first_answer(ctx, wish, claimed.found, render)) is not None:
                return first
            if time.monotonic() >= end:
                raise once.InProgress from None
            await asyncio.sleep(_POLL_S)
            continue
        return await _send(ctx, wish, begun, render)


async def _begin(ctx: Context, wish: RefundWish, payment: Payment) -> Refund:
    """The first transaction. Locks in their order: key, order, payment, stock."""
    async with ctx.db.transaction("collect.refund") as tx:
        found = await once.claim(tx, ctx.keys, wish.key)
        if found is not None:
            raise once.Claimed(found)
        order = await _order_of(tx, payment)
        payment = await requests.lock(tx, payment.merchant_id, payment.payment_id)
        amount, lines = await _measure(tx, wish, payment, order)
        if payment.provider == PROVIDER and amount is not None and amount.minor < payment.refundable_minor:
            raise RefundAtProvider  # a receipt of Payme's is cancelled whole, or not at all
        _refuse_above(wish, payment, amount)
        paid, refund = await payments.begin_refund(tx, payment, owed=False, reason=wish.reason, amount=amount, lines=lines)
        await once.concern(tx, wish.key, str(refund.refund_id))
        _note(ctx, tx, wish, refund)
        if order is not None:
            await _tell_order(tx, order, paid, refund, lines)
        if wish.given is not None:
            said = RefundVerdict("succeeded", ref=wish.given, message=f"By hand: given back there as {wish.given}")
            return await checkout.note_refund(tx, paid, refund, said)
        if payment.provider in _SENT_AT_ONCE:
            said = await ctx.port(Providers).of(payment).refund(payment, refund)
            return await checkout.note_refund(tx, paid, refund, said)
        return refund


def _refuse_above(wish: RefundWish, payment: Payment, amount: Money | None) -> None:
    """Raise `AboveLimit` under the payment's lock, so that many refunds at once do not pass it together."""
    given = payment.refunded_minor + payment.refunding_minor + (payment.refundable_minor if amount is None else amount.minor)
    if wish.most_minor is not None and given > wish.most_minor:
        raise AboveLimit


def _note(ctx: Context, tx: Tx, wish: RefundWish, refund: Refund) -> None:
    """Who gave back how much. The reason stands with the refund: merchants wrote it, and it may name a buyer."""
    audit.note(
        tx, audit.Hand(ctx.keys, wish.by, wish.why), refund.merchant_id, "payment.refund", f"payment:{refund.payment_id}",
        refund_id=str(refund.refund_id), amount_minor=refund.amount_minor, currency=refund.currency,
        **({} if wish.given is None else {"given": wish.given}),
    )  # fmt: skip


async def _order_of(tx: Tx, payment: Payment) -> orders.Order | None:
    """The order of a payment under its lock. An order that is still being made is cancelled, not refunded: `NotRefundable`."""
    if payment.ref_kind != "order":
        return None
    order = await orders.lock(tx, payment.merchant_id, uuid.UUID(payment.ref))
    if order.status in {"pending", "cancelled"}:
        raise payments.NotRefundable
    return order


async def _measure(
    tx: Tx, wish: RefundWish, payment: Payment, order: orders.Order | None
) -> tuple[Money | None, tuple[RefundLine, ...]]:
    """How much is to go back, and the lines that it stands for. Raises `NoLines`, `LineNotRefundable`."""
    if payment.status != "paid" or payment.refundable_minor <= 0:
        raise payments.NotRefundable
    if not wish.lines:
        return wish.amount, ()
    if order is None:
        raise NoLines
    left = {line.product_id: line for line in order.lines}
    given: Counter[str] = Counter()
    for line in await _standing_lines(tx, payment):
        given[line.line_id] += line.quantity
    lines = []
    for asked in wish.lines:
        line_of_order = left.pop(asked.line_id, None)  # a line named twice is unknown the second time
        if line_of_order is None or given[asked.line_id] + asked.quantity > line_of_order.quantity:
            raise LineNotRefundable
        lines.append(RefundLine(asked.line_id, asked.quantity, line_of_order.price_minor * asked.quantity, asked.restock))
    total = sum(line.amount_minor for line in lines)
    if total == 0:
        raise LineNotRefundable
    return Money(total, payment.currency), tuple(lines)


async def _standing_lines(tx: Tx, payment: Payment) -> list[RefundLine]:
    """The lines of all refunds of a payment that have not failed."""
    refunds = await payments.refunds_of(tx, payment.merchant_id, payment.payment_id)
    return [line for refund in refunds if refund.status != "failed" for line in refund.lines]


async def _tell_order(tx: Tx, order: orders.Order, payment: Payment, refund: Refund, lines: Sequence[RefundLine]) -> None:
    """The order shows a whole refund; its status stays. What is put back on the shelf is there again.

    Goods of a refund that failed stay on the shelf, so that the same refund tried anew brings none twice.
    """
    if payment.status != "paid":
        await orders.note_payment(tx, order, "refunded")
    if not any(line.restock for line in lines):
        return
    if await checkout.counts_elsewhere(tx, order.merchant_id, order.checkout_id):
        raise RestockImpossible
    back: Counter[str] = Counter()
    for line in await _standing_lines(tx, payment):
        back[line.line_id] += line.quantity * line.restock
    named = {line.line_id for line in lines if line.restock}
    await catalog.restock(
        tx, order.merchant_id, order.checkout_id, str(refund.refund_id), {line_id: back[line_id] for line_id in named}
    )


async def _send(ctx: Context, wish: RefundWish, refund: Refund, render: RenderRefund) -> Refunded:
    """Tell the provider, and keep what it said as the answer. If nobody can say it now, the answer is `pending`."""
    if refund.status == "pending":
        with contextlib.suppress(payments.RefundTaken):  # a worker was quicker
            await checkout.send_refund(ctx, refund)
        # The provider may have told us by itself, before its answer was here: what is written counts.
        refund = await requests.find_refund(ctx.db, refund.merchant_id, refund.refund_id) or refund
    refunded = await read_refund(ctx, refund)
    async with ctx.db.transaction("collect.answer") as tx:
        await once.answer(tx, ctx.keys, wish.key, *render(refunded))
    return refunded


async def read_refund(ctx: Context, refund: Refund) -> Refunded:
    """A refund with its payment as it is now."""
    payment = await payments.find(ctx.db, refund.merchant_id, refund.payment_id)
    if payment is None:
        raise PaymentMissing
    return Refunded(refund, payment)


async def _first_answer(ctx: Context, wish: RefundWish, found: once.Found, render: RenderRefund) -> Replayed | None:
    """What a repeat is told; None while the first is at work. One whose process died is answered with the refund as it is."""
    if found.state == "done":
        return Replayed(found.status or 201, found.body or b"")
    if found.subject is None or found.age_s < once.DEAD_AFTER_S:
        return None
    refund = await requests.find_refund(ctx.db, wish.merchant_id, uuid.UUID(found.subject))
    if refund is None:
        return None
    status, body = render(await read_refund(ctx, refund))
    async with ctx.db.transaction("collect.answer") as tx:
        await once.answer(tx, ctx.keys, wish.key, status, body)
    return Replayed(status, body)
