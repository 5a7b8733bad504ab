"""Every type of event there is (webhooks contract, section 1; rulings, 39). No I/O here."""

from __future__ import annotations

from typing import Final

TYPES: Final[dict[str, str]] = {
    "payment.created": "A payment was asked for.",
    "payment.waiting": "Its link is known, or its buyer must act elsewhere.",
    "payment.unknown": "Its provider did not answer; it is being asked.",
    "payment.paid": "The money is there.",
    "payment.declined": "The provider, or the buyer, said no.",
    "payment.expired": "Nobody paid in time.",
    "payment.cancelled": "Closed before money moved.",
    "payment.refunded": "The whole sum was returned.",
    "payment.reversed": "The provider took the money back.",
    "refund.created": "Money is to be given back.",
    "refund.succeeded": "It was given back.",
    "refund.failed": "It was not, and counts as captured again.",
    "order.created": "An order was placed.",
    "order.updated": "Its tracking data or payment status changed, its status did not.",
    "order.paid": "Its money is there.",
    "order.processing": "It is being made ready.",
    "order.shipped": "It is on its way.",
    "order.delivered": "It has arrived.",
    "order.cancelled": "It will not be delivered; its money goes back.",
    "checkout.started": "A purchase began.",
    "checkout.completed": "It ended with an order.",
    "checkout.undone": "It ended with nothing owed.",
    "subscription.tokens_low": "A tenth of the tokens is left.",
    "subscription.exhausted": "No token is left.",
    "endpoint.disabled": "An endpoint is not called any more.",
    "test.ping": "The merchant asked for it.",
}
"""Each type, and what it says."""

FAMILIES: Final = frozenset(name.partition(".")[0] for name in TYPES)
STATUS_CHANGES: Final = (
    "payment.paid",
    "payment.declined",
    "payment.expired",
    "payment.cancelled",
    "payment.refunded",
    "payment.reversed",
)
"""What an endpoint gets that names no types."""


def is_pattern(text: str) -> bool:
    """Whether `text` is a type, a family (`payment.*`) or `*`."""
    family, _, rest = text.partition(".")
    return text in TYPES or text == "*" or (rest == "*" and family in FAMILIES)


def routing_key(event_type: str) -> str:
    """Under which key the broker routes an event (webhooks contract, section 5)."""
    return "payment.updated" if event_type in STATUS_CHANGES else event_type
