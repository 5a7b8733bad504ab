"""Pay at Payme with a card's token: a receipt is made, paid and asked about (Subscribe API, section 12).

Nothing here says that a payment is paid: on a cashbox with billing Payme performs the receipt through our webhook, and only that
counts. What is kept is how far the receipt is, so that one in doubt is asked about and never paid a second time. The token lives as
long as this call and stands nowhere. Whatever comes of it, the buyer's link stays payable until Payme performs.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from kassa import cases
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.payments import store as all_payments
from kassa.payments.model import Payment
from kassa.payments.payme import charges
from kassa.payments.payme.cashboxes import KeyLost
from kassa.payments.payme.charges import Charge
from kassa.payments.payme.give_back import SILENCE, Subscribe
from kassa.payments.payme.subscribe import GIVEN_BACK, NEW, PAID, QUEUED_FOR_CANCEL, PaymeSaidNo, Receipt

log = logging.getLogger("kassa.payme")

_ASK_AFTER_S = (1, 2, 5, 10, 30, 60, 300, 900)
_NEVER_PAID_AFTER = timedelta(minutes=15)
"""A receipt that is still new by then was never paid, and nobody has its token any more."""
_LOOKED_FOR = timedelta(hours=24)
_BILLED_WITHIN = timedelta(minutes=10)
_AT_ONCE = 32


async def begin_charge(tx: Tx, payment: Payment) -> None:
    """Note in the caller's transaction that a payment will be tried with a token, once. `charge` is called after its commit."""
    await charges.begin(tx, payment)


async def charge(ctx: Context, payment: Payment, token: str) -> None:
    """Make the receipt of a payment that was begun so, and pay it with `token`. Never raises for what Payme does.

    Called again, or for a payment whose receipt is noted already, it pays nothing.
    """
    api = ctx.port(Subscribe)
    try:
        box = await api.box_of(payment.merchant_id)
    except KeyLost:
        box = None
    if box is None:
        await charges.end(ctx.db, payment, "lost", "there is no cashbox that can be used")
        return
    try:
        receipt = await api.receipts.create(box, payment.ref, payment.amount_minor)
    except SILENCE:
        await charges.end(ctx.db, payment, "lost", "no receipt was made")  # there may be one, and nobody will ever pay it
        return
    except PaymeSaidNo as no:
        await charges.end(ctx.db, payment, "declined", _words(no))
        return
    if not await charges.note_receipt(ctx.db, payment, receipt.receipt_id):
        return
    try:
        after = await api.receipts.pay(box, receipt, token)
    except SILENCE:
        await charges.ask_again(ctx.db, payment, _ASK_AFTER_S[0])  # never paid again: it might be twice
        return
    except PaymeSaidNo as no:
        await charges.end(ctx.db, payment, "declined", _words(no))
        return
    await _conclude(ctx, payment, after)


async def sweep_charges(ctx: Context) -> int:
    """Ask Payme about receipts of card tokens that are in doubt; returns how many were looked at. Any number of processes may."""
    claimed = await charges.claim_due(ctx.db, _AT_ONCE)
    for each in claimed:
        payment = await all_payments.find(ctx.db, each.merchant_id, each.payment_id)
        if payment is not None:
            await _look(ctx, each, payment)
    return len(claimed)


async def _look(ctx: Context, found: Charge, payment: Payment) -> None:
    api = ctx.ports.get(Subscribe)
    if found.receipt_id is None:
        await charges.end(ctx.db, payment, "lost", "no receipt was made")
        return
    if payment.captured_minor:  # Payme performed it, or another attempt
        await charges.end(ctx.db, payment, "paid" if payment.provider_ref == found.receipt_id else "lost", None)
        return
    state = None
    try:
        box = await api.box_of(payment.merchant_id) if api else None
        state = await api.receipts.check(box, found.receipt_id) if api and box else None
    except (*SILENCE, PaymeSaidNo, KeyLost):
        log.info("a receipt of Payme's cannot be asked about now")
    if state == NEW and found.age > _NEVER_PAID_AFTER:
        await charges.end(ctx.db, payment, "lost", "it was never paid")
    elif state is not None and state in {PAID, GIVEN_BACK, QUEUED_FOR_CANCEL} and not _waits_for_perform(state, found):
        await _conclude(ctx, payment, Receipt(found.receipt_id, state, payment.amount_minor))
    elif found.age > _LOOKED_FOR:
        await _list(ctx, payment, found.receipt_id, "Payme does not say what became of it")
    else:
        await charges.ask_again(ctx.db, found, _ASK_AFTER_S[min(found.asks, len(_ASK_AFTER_S) - 1)])


def _waits_for_perform(state: int, found: Charge) -> bool:
    """Payme performs before it says `paid`, so this is the moment between two readings, or a cashbox without billing."""
    return state == PAID and found.age <= _BILLED_WITHIN


async def _conclude(ctx: Context, payment: Payment, receipt: Receipt) -> None:
    """Note what a receipt's state means. A paid one whose payment is not paid here is looked at again, and then listed."""
    if receipt.state in {GIVEN_BACK, QUEUED_FOR_CANCEL}:
        await charges.end(ctx.db, payment, "declined", "cancelled at Payme")
        return
    if receipt.state != PAID:
        return  # under way: the sweep asks
    now = await all_payments.find(ctx.db, payment.merchant_id, payment.payment_id)
    if now is not None and now.captured_minor:
        await charges.end(ctx.db, payment, "paid", None)
    elif (found := await charges.find(ctx.db, payment)) is not None and found.age > _BILLED_WITHIN:
        await _list(ctx, payment, receipt.receipt_id, "paid at Payme, and never performed here")


async def _list(ctx: Context, payment: Payment, receipt_id: str, what: str) -> None:
    """A person looks: at the receipt in Payme's cabinet, and whether the cashbox is one with billing."""
    await cases.open_case(
        ctx.db, payment.merchant_id, "receipt_in_doubt", f"payment:{payment.payment_id}", act=receipt_id, last_answer=what,
        amount_minor=payment.amount_minor, currency=payment.currency,
    )  # fmt: skip
    await charges.end(ctx.db, payment, "lost", what)


def _words(no: PaymeSaidNo) -> str:
    return f"Payme refused it ({no.number}): {no.said or 'no reason'}"
