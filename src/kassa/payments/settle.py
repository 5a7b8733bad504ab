"""The one door for verdicts: an answer, a callback, a question and a person's word all come in here.

Under the payment's row lock the status moves by the table, the capture is booked and the event recorded, in one
transaction. A verdict that changes nothing (paid again, declined after paid) is politely ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.ledger import post
from kassa.ledger.model import capture
from kassa.payments import store
from kassa.payments.model import MOVES, Payment, Verdict

_ANNOUNCED = {
    "paid": "payment.paid",
    "declined": "payment.declined",
    "waiting": "payment.waiting",
    "unknown": "payment.unknown",
    "expired": "payment.expired",
    "cancelled": "payment.cancelled",
}


@dataclass(frozen=True, slots=True)
class Settled:
    """The payment after a verdict, and the status before it; `moved` says whether the status changed."""

    payment: Payment
    before: str

    @property
    def moved(self) -> bool:
        """Whether this verdict changed the status."""
        return self.before != self.payment.status


async def settle(tx: Tx, payment: Payment, verdict: Verdict) -> Settled:
    """Apply `verdict` to `payment` in the caller's transaction.

    `payment` may be an old reading: the update expects its status, and if somebody was first the row is locked, read
    again and judged anew. Called twice with the same verdict, the second changes nothing.
    """
    while True:
        if not MOVES.allows(payment.status, verdict.kind):
            return Settled(payment, payment.status)
        after = MOVES.after(payment.status, verdict.kind)
        written = await store.write_verdict(tx, payment, after, verdict)
        if written is not None:
            break
        payment = await store.lock(tx, payment.merchant_id, payment.payment_id)
    if after == "paid" and written.amount_minor:
        amount = Money(written.amount_minor, written.currency)
        await post(tx, capture(written.merchant_id, written.payment_id, written.provider, amount))
    if after != payment.status and (name := _ANNOUNCED.get(after)):
        record(tx, Event(written.merchant_id, f"payment:{written.payment_id}", name, written.event_data()))
    return Settled(written, payment.status)
