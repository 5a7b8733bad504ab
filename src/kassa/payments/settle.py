"""The one door for verdicts: an answer, a callback, a question and a person's word all come in here.

Under the payment's row lock the status moves by the table, the capture is booked and the event recorded, in one
transaction. A verdict that changes nothing (paid again, declined after paid) is politely ignored.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.ledger import post, post_all, post_later
from kassa.ledger.model import capture
from kassa.payments import store
from kassa.payments.figures import count_move
from kassa.payments.model import MOVES, Payment, Verdict

_ANNOUNCED = {
    "paid": "payment.paid",
    "declined": "payment.declined",
    "waiting": "payment.waiting",
    "unknown": "payment.unknown",
    "expired": "payment.expired",
    "cancelled": "payment.cancelled",
    "reversed": "payment.reversed",
}


_MOVED = "payments that moved"


class PaymentHeld(store.PaymentMoved):
    """Its provider is about to take the money: this payment cannot be closed now."""

    code = "payment_held"


@dataclass(frozen=True, slots=True)
class Settled:
    """The payment after a verdict, and the status before it; `moved` says whether the status changed."""

    payment: Payment
    before: str

    @property
    def moved(self) -> bool:
        """Whether this verdict changed the status."""
        return self.before != self.payment.status


async def settle(tx: Tx, payment: Payment, verdict: Verdict, *, holds: bool = True) -> Settled:
    """Apply `verdict` to `payment` in the caller's transaction.

    `payment` may be an old reading: the update expects its status, and if somebody was first the row is locked, read
    again and judged anew. Called twice with the same verdict, the second changes nothing. Raises `PaymentHeld` when an attempt at
    its provider holds it and the verdict is not its yes.
    """
    while True:
        if not MOVES.allows(payment.status, verdict.kind):
            return Settled(payment, payment.status)
        if payment.held_by is not None and verdict.kind != "paid":
            raise PaymentHeld
        after = MOVES.after(payment.status, verdict.kind)
        written = await store.write_verdict(tx, payment, after, verdict, holds=holds)
        if written is not None:
            break
        payment = await store.lock(tx, payment.merchant_id, payment.payment_id)
    if after != payment.status:
        tx.notes.setdefault(_MOVED, set()).add(written.payment_id)
        count_move(tx, written)
    if after == "paid" and written.amount_minor:
        amount = Money(written.amount_minor, written.currency)
        await post(tx, capture(written.merchant_id, written.payment_id, written.account, amount))
    if after != payment.status and (name := _ANNOUNCED.get(after)):
        record(tx, Event(written.merchant_id, f"payment:{written.payment_id}", name, written.event_data()))
    return Settled(written, payment.status)


def has_moved(tx: Tx, payment_id: uuid.UUID) -> bool:
    """Whether a verdict has changed the payment's status in this transaction."""
    return payment_id in tx.notes.get(_MOVED, ())


async def settle_later(tx: Tx, payment: Payment, verdict: Verdict) -> Payment:
    """Apply a `paid` verdict together with what else the caller's transaction leaves for later; the payment as it is then.

    If it is not as it was read by then, `PaymentMoved` is raised and the caller looks again. Any other verdict is settled at once.
    """
    if verdict.kind != "paid" or verdict.ask_in_s is not None or not MOVES.allows(payment.status, verdict.kind):
        return (await settle(tx, payment, verdict)).payment
    paid = await store.write_yes(tx, payment, verdict)
    tx.notes.setdefault(_MOVED, set()).add(paid.payment_id)
    count_move(tx, paid)
    if paid.amount_minor:
        amount = Money(paid.amount_minor, paid.currency)
        await post_later(tx, capture(paid.merchant_id, paid.payment_id, paid.account, amount))
    record(tx, Event(paid.merchant_id, f"payment:{paid.payment_id}", _ANNOUNCED["paid"], paid.event_data()))
    return paid


async def settle_all(tx: Tx, verdicts: Sequence[tuple[Payment, Verdict]]) -> list[Settled]:
    """Apply many verdicts at once to payments whose rows are locked, with a handful of statements however many they are.

    The same table of moves, captures and events as `settle`, for workers that decide in sets. A verdict that changes nothing is
    left out of the answer.
    """
    moving = [(payment, verdict) for payment, verdict in verdicts if MOVES.allows(payment.status, verdict.kind)]
    if not moving:
        return []
    after = [MOVES.after(payment.status, verdict.kind) for payment, verdict in moving]
    written = await store.write_verdicts(tx, moving, after)
    settled = [Settled(written[payment.payment_id], payment.status) for payment, _ in moving if payment.payment_id in written]
    paid = [each.payment for each in settled if each.payment.status == "paid" and each.moved and each.payment.amount_minor]
    amounts = [Money(payment.amount_minor, payment.currency) for payment in paid]
    await post_all(
        tx,
        [
            capture(payment.merchant_id, payment.payment_id, payment.account, amount)
            for payment, amount in zip(paid, amounts, strict=True)
        ],
    )
    for each in settled:
        if each.moved:
            count_move(tx, each.payment)
        if each.moved and (name := _ANNOUNCED.get(each.payment.status)):
            subject = f"payment:{each.payment.payment_id}"
            record(tx, Event(each.payment.merchant_id, subject, name, each.payment.event_data()))
    return settled
