"""A payment, its states, and the verdicts that move it. No I/O here."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kassa.kit.money import fixed_text
from kassa.kit.moves import Moves

MOVES = Moves(
    "opened",
    {
        # A verdict of the provider, whoever brought it: the answer, a callback, a question, a person.
        ("opened", "paid"): "paid",
        ("opened", "declined"): "declined",
        ("opened", "waiting"): "waiting",  # the buyer must act, and knows where
        ("opened", "unknown"): "unknown",  # no answer: it is asked, never repeated
        ("opened", "closed"): "expired",
        ("opened", "cancelled"): "cancelled",
        ("waiting", "paid"): "paid",
        ("waiting", "declined"): "declined",
        ("waiting", "closed"): "expired",
        ("waiting", "cancelled"): "cancelled",
        ("unknown", "unknown"): "unknown",  # asked again, still no answer
        ("unknown", "paid"): "paid",
        ("unknown", "declined"): "declined",
        ("unknown", "waiting"): "waiting",
        ("unknown", "closed"): "expired",
        ("unknown", "parked"): "parked",  # asked long enough: a person looks
        ("parked", "paid"): "paid",
        ("parked", "declined"): "declined",
        ("parked", "closed"): "expired",
        # Late facts win: the money came after all, and the checkout decides what becomes of it.
        ("declined", "paid"): "paid",
        ("expired", "paid"): "paid",
        ("cancelled", "paid"): "paid",
        # Money on its way back.
        ("paid", "refund_begun"): "refunding",  # the whole rest is being returned
        ("refunding", "refunded"): "refunded",
        ("refunding", "refund_failed"): "paid",
        ("paid", "reversed"): "reversed",  # the provider took it back
    },
)

HOLDS = frozenset({"opened", "waiting", "unknown", "parked", "paid", "refunding"})
"""While in these states a payment is the one holder of its reference."""

_SHOWN = {
    "opened": (1, "PAYMENT_PENDING", "pending"),
    "waiting": (1, "PAYMENT_PENDING", "pending"),
    "unknown": (1, "PAYMENT_PENDING", "pending"),
    "parked": (1, "PAYMENT_PENDING", "pending"),
    "paid": (2, "PAYMENT_FINISHED", "paid"),
    "declined": (3, "PAYMENT_FAILED", "failed"),
    "expired": (3, "PAYMENT_FAILED", "failed"),
    "cancelled": (3, "PAYMENT_FAILED", "failed"),
    "refunding": (6, "PAYMENT_REFUNDED", "refunded"),
    "refunded": (6, "PAYMENT_REFUNDED", "refunded"),
    "reversed": (6, "PAYMENT_REFUNDED", "refunded"),
}


def shown_status(status: str) -> str:
    """What an order shows of a payment: `pending`, `paid`, `failed` or `refunded`."""
    return _SHOWN[status][2]


def shown_name(status: str) -> str:
    """What merchants and providers are shown of a payment, such as `PAYMENT_FINISHED`."""
    return _SHOWN[status][1]


@dataclass(frozen=True, slots=True)
class Card:
    """A card for the length of one request. Its number and code have no place in any text this object shows."""

    type: str
    number: str = field(repr=False)
    expiry: str = field(repr=False)
    cvv: str = field(repr=False)

    @property
    def brand(self) -> str | None:
        """The card scheme by its first digit, as far as that tells."""
        return {"3": "amex", "4": "visa", "5": "mastercard", "6": "discover"}.get(self.number[:1])


@dataclass(frozen=True, slots=True)
class CardTrace:
    """What may be kept of a card: brand, first six, last four and a keyed fingerprint."""

    brand: str | None = None
    first6: str | None = None
    last4: str | None = None
    fingerprint: bytes | None = None


NO_CARD = CardTrace()


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it was read. Amounts are minor units of `currency`."""

    merchant_id: str
    payment_id: uuid.UUID
    ref_kind: str
    ref: str
    provider: str
    method: str
    script: str | None
    status: str
    currency: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    refunding_minor: int
    provider_key: str
    provider_ref: str | None
    pay_url: str | None
    reason: str | None
    message: str | None
    card_last4: str | None
    sends: int
    last_sent_at: datetime | None
    asks: int
    unanswerable: int
    next_ask_at: datetime | None
    unknown_since: datetime | None
    expires_at: datetime | None
    created_at: datetime
    read_at: datetime

    @property
    def refundable_minor(self) -> int:
        """What can still be given back."""
        return self.captured_minor - self.refunded_minor - self.refunding_minor

    def event_data(self) -> dict[str, Any]:
        """The members of a `payment.*` event (webhooks contract, section 1)."""
        number, name, _ = _SHOWN[self.status]
        return {
            "payment_id": str(self.payment_id),
            "order_id": self.ref,
            "status": number,
            "status_name": name,
            "state": self.status,
            "provider": self.provider,
            "amount": "1",
            "price": fixed_text(self.amount_minor, self.currency),
            "currency": self.currency,
            "captured": fixed_text(self.captured_minor, self.currency),
            "refunded": fixed_text(self.refunded_minor, self.currency),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a payment now.

    `kind` is `paid`, `declined`, `waiting`, `closed`, `unknown`, `parked` or `cancelled`. `code` and `message` say
    why. `ask_in_s`: seconds until it is worth asking (again). `unanswerable`: the provider lacks the question.
    """

    kind: str
    ref: str | None = None
    code: str | None = None
    message: str | None = None
    url: str | None = None
    ask_in_s: float | None = None
    unanswerable: bool = False
    never_seen: bool = False

    @property
    def final(self) -> bool:
        """Whether money moved, or certainly did not."""
        return self.kind in {"paid", "declined", "closed", "cancelled"}


@dataclass(frozen=True, slots=True)
class RefundVerdict:
    """What a provider says of a refund: `succeeded`, `failed`, `pending` (ask again) or `impossible` (it cannot)."""

    kind: str
    ref: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back, whole or in part. `owed` ones never end as failed: a person looks instead."""

    merchant_id: str
    refund_id: uuid.UUID
    payment_id: uuid.UUID
    amount_minor: int
    currency: str
    status: str
    owed: bool
    reason: str | None
    provider_key: str
    message: str | None
    sends: int
    first_sent_at: datetime | None
    next_at: datetime | None
    lease_version: int
    created_at: datetime
    read_at: datetime

    def event_data(self, payment: Payment) -> dict[str, Any]:
        """The payment's members and this refund."""
        return {
            **payment.event_data(),
            "refund": {
                "refund_id": str(self.refund_id),
                "payment_id": str(self.payment_id),
                "amount": fixed_text(self.amount_minor, self.currency),
                "currency": self.currency,
                "reason": self.reason,
                "status": "pending" if self.status == "parked" else self.status,
            },
        }
