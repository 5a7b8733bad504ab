"""One effort to collect one amount once: open, take, settle, ask again, give back. `requests`: those that merchants ask for."""

from kassa.payments.model import MOVES, Payment, Refund, Verdict, shown_status
from kassa.payments.open import Opening, open_payment
from kassa.payments.provider import Provider, Providers
from kassa.payments.refund import (
    NotRefundable,
    RefundTaken,
    RefundTooLarge,
    begin_refund,
    conclude_refund,
    due_refunds,
    send_refund,
)
from kassa.payments.resolve import ask
from kassa.payments.settle import has_moved, settle, settle_all, settle_later
from kassa.payments.store import PaymentMissing, PaymentMoved, find, find_anywhere, forget, note_late_look, refunds_of
from kassa.payments.take import note_sending, take

__all__ = [
    "MOVES",
    "NotRefundable",
    "Opening",
    "Payment",
    "PaymentMissing",
    "PaymentMoved",
    "Provider",
    "Providers",
    "Refund",
    "RefundTaken",
    "RefundTooLarge",
    "Verdict",
    "ask",
    "begin_refund",
    "conclude_refund",
    "due_refunds",
    "find",
    "find_anywhere",
    "forget",
    "has_moved",
    "note_late_look",
    "note_sending",
    "open_payment",
    "refunds_of",
    "send_refund",
    "settle",
    "settle_all",
    "settle_later",
    "shown_status",
    "take",
]
