"""Collect money for merchants' own systems: take the request, ask for a link, believe reports, give back, tell the story."""

from kassa.collect.by_key import Keyed, KeyedWish, read_keyed, request_by_key
from kassa.collect.model import (
    PaymentExists,
    PaymentMissing,
    ProviderLinkFailed,
    ProviderMissing,
    ProviderUnreachable,
    Refunded,
    Replayed,
)
from kassa.collect.read import Happened, Shown, read_payment, read_timeline
from kassa.collect.refund import LineAsked, RefundWish, refund_payment
from kassa.collect.report import Report, Reported, sweep_unmatched, take_report
from kassa.collect.request import PaymentWish, Requested, request_payment
from kassa.collect.resolve import decide, mark_refund_done, resolve
from kassa.collect.rules import CollectRules
from kassa.collect.sweep import sweep_payments

__all__ = [
    "CollectRules",
    "Happened",
    "Keyed",
    "KeyedWish",
    "LineAsked",
    "PaymentExists",
    "PaymentMissing",
    "PaymentWish",
    "ProviderLinkFailed",
    "ProviderMissing",
    "ProviderUnreachable",
    "RefundWish",
    "Refunded",
    "Replayed",
    "Report",
    "Reported",
    "Requested",
    "Shown",
    "decide",
    "mark_refund_done",
    "read_keyed",
    "read_payment",
    "read_timeline",
    "refund_payment",
    "request_by_key",
    "request_payment",
    "resolve",
    "sweep_payments",
    "sweep_unmatched",
    "take_report",
]
