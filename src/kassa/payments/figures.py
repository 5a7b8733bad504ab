"""Payments and refunds in figures: what became of them, counted by the process that committed it, right after the commit.

They are rates for an operator, not books: a process forgets them when it ends, and a commit whose answer was lost is not counted.
How much money it was stands in the ledger. A `way` is one of our providers, never what a merchant calls it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from kassa.kit.database import Tx
from kassa.kit.times import Counts
from kassa.payments.model import Payment, Refund

CAPTURES: Final = Counts("kassa_captures", "Payments whose money came", ["way", "currency"])
DECLINES: Final = Counts("kassa_declines", "Payments that ended with a no, by its class", ["way", "currency", "why"])
MOVES: Final = Counts(
    "kassa_payment_moves", "Other moves of payments: to waiting, unknown, parked, expired, cancelled or reversed", ["way", "to"]
)
REFUNDS: Final = Counts(
    "kassa_refunds", "Refunds that were begun, succeeded, failed, or were parked for a person", ["way", "currency", "outcome"]
)

_CLASSES: Final = {
    "insufficient_funds": "funds",
    "limit_exceeded": "funds",
    "card_declined": "refused",
    "payment_declined": "refused",
    "provider_declined": "refused",
    "do_not_honor": "refused",
    "expired_card": "card",
    "card_expired": "card",
    "invalid_card": "card",
    "invalid_card_number": "card",
    "incorrect_cvc": "card",
    "invalid_cvv": "card",
    "fraud": "suspected",
    "fraud_suspected": "suspected",
    "suspected_fraud": "suspected",
    "lost_card": "suspected",
    "stolen_card": "suspected",
    "payment_unavailable": "unreachable",
    "provider_unreachable": "unreachable",
    "provider_link_failed": "unreachable",
    "payment_not_executed": "not_executed",
    "by_hand": "by_hand",
}
"""Which class a reason of a no belongs to. Payment services may say what they like: whatever is not here is `other`."""
_SAID: Final = {
    "unknown": (logging.WARNING, "a charge was not answered; it is being asked about"),
    "parked": (logging.WARNING, "a payment waits for a person"),
    "reversed": (logging.WARNING, "a provider took money back"),
    "declined": (logging.INFO, "a payment was declined"),
}
_MOVED: Final = "payments to be counted"
log = logging.getLogger("kassa.payments")


def class_of(reason: str | None) -> str:
    """Why a payment was declined, as one of few words."""
    return _CLASSES.get((reason or "").lower(), "other")


def count_move(tx: Tx, payment: Payment) -> None:
    """Count `payment`, which has just moved, when `tx` commits; of a move that an operator may ask about the log has a line."""
    moved: list[Payment] | None = tx.notes.get(_MOVED)
    if moved is None:
        moved = tx.notes[_MOVED] = []
        tx.after_commit(_MOVED, partial(_count, moved))  # without `tx`: what it holds must not hold it
    moved.append(payment)


def count_refund(tx: Tx, way: str, refund: Refund, outcome: str) -> None:
    """Count `refund`, which has just come to `outcome`, when `tx` commits."""
    tx.after_commit((_MOVED, refund.refund_id, outcome), partial(REFUNDS.note, way, refund.currency, outcome))


def _count(moved: list[Payment]) -> None:
    for payment in moved:
        if payment.status == "paid":
            CAPTURES.note(payment.provider, payment.currency)
        elif payment.status == "declined":
            DECLINES.note(payment.provider, payment.currency, class_of(payment.reason))
        else:
            MOVES.note(payment.provider, payment.status)
        if payment.status in _SAID:
            level, text = _SAID[payment.status]
            log.log(level, text, extra=_about(payment))


def _about(payment: Payment) -> dict[str, object]:
    about: dict[str, object] = {"merchant_id": payment.merchant_id, "payment_id": payment.payment_id, "way": payment.provider}
    if payment.ref_kind == "order":  # any other reference is a merchant's own word
        about["order_id"] = payment.ref
    if payment.status == "declined":
        about["why"] = class_of(payment.reason)
    return about
