"""One effort to collect one amount once: open, take, settle, ask again, give back."""

from kassa.payments.model import MOVES, Card, Payment, Refund, Verdict, shown_status
from kassa.payments.open import Opening, open_payment
from kassa.payments.provider import Provider, Providers
from kassa.payments.refund import RefundTaken, begin_refund, conclude_refund, due_refunds, note_refund_done, send_refund
from kassa.payments.resolve import ask
from kassa.payments.settle import settle
from kassa.payments.store import find, find_anywhere, note_late_look, refunds_of
from kassa.payments.take import note_sending, take

__all__ = [
    "MOVES",
    "Card",
    "Opening",
    "Payment",
    "Provider",
    "Providers",
    "Refund",
    "RefundTaken",
    "Verdict",
    "ask",
    "begin_refund",
    "conclude_refund",
    "due_refunds",
    "find",
    "find_anywhere",
    "note_late_look",
    "note_refund_done",
    "note_sending",
    "open_payment",
    "refunds_of",
    "send_refund",
    "settle",
    "shown_status",
    "take",
]
