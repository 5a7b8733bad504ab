"""A payment, its states, and the verdicts that move it. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from kassa.kit.clock import rfc3339_micros
from kassa.kit.money import fixed_text
from kassa.kit.moves import Moves
from kassa.payments.routing import Choice

if TYPE_CHECKING:
    from kassa.payments.open import Opening

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


def shown_number(status: str) -> int:
    """The same as an integer, from 1 to 6."""
    return _SHOWN[status][0]


def statuses_shown_as(number: int) -> list[str]:
    """The statuses that merchants are shown as `number`; none for a number that is not sent."""
    return [status for status, shown in _SHOWN.items() if shown[0] == number]


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
    quantity: str
    ref_is_number: bool
    routed_to: str | None
    held_by: uuid.UUID | None
    """The attempt at the provider that holds it: while there is one, nobody closes it."""
    read_at: datetime

    @property
    def refundable_minor(self) -> int:
        """What can still be given back."""
        return self.captured_minor - self.refunded_minor - self.refunding_minor

    @property
    def alias(self) -> str:
        """How merchants call the provider: the alias of a link (`stripe`), else the provider itself."""
        return self.method.partition(":")[2] or self.provider

    @property
    def account(self) -> str:
        """Who holds the money, in the books: the provider that the payment was routed to."""
        return self.routed_to or self.provider

    @property
    def order_id(self) -> int | str:
        """The merchant's reference, in the JSON type in which it was given."""
        return int(self.ref) if self.ref_is_number else self.ref

    def event_data(self) -> dict[str, Any]:
        """The members of a `payment.*` event (webhooks contract, section 1)."""
        number, name, _ = _SHOWN[self.status]
        return {
            "payment_id": str(self.payment_id),
            "order_id": self.order_id,
            "status": number,
            "status_name": name,
            "state": self.status,
            "provider": self.alias,
            "amount": self.quantity,
            "price": fixed_text(self.amount_minor, self.currency),
            "currency": self.currency,
            "captured": fixed_text(self.captured_minor, self.currency),
            "refunded": fixed_text(self.refunded_minor, self.currency),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a payment now.

    `kind` is `paid`, `declined`, `waiting`, `closed`, `unknown`, `parked`, `cancelled` or `reversed`. `code` and `message`
    say why. `ask_in_s`: seconds until it is worth asking (again). `unanswerable`: the provider lacks the question. `elsewhere`:
    this provider certainly did nothing, and another one may be asked in its place.
    """

    kind: str
    ref: str | None = None
    code: str | None = None
    message: str | None = None
    url: str | None = None
    ask_in_s: float | None = None
    unanswerable: bool = False
    never_seen: bool = False
    elsewhere: bool = False

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
class RefundLine:
    """One line of an order that a refund gives back: how many pieces, for how much (minor units), and whether to the stock too."""

    line_id: str
    quantity: int
    amount_minor: int
    restock: bool = False


_LARGEST_DATA = 20_000
"""Bytes of an event's data; in a larger one the lines of a refund are only counted."""


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back, whole or in part; by amount it has no lines. `owed` ones never end as failed: a person looks instead."""

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
    lines: Sequence[RefundLine] = ()

    def shown(self, payment: Payment) -> dict[str, Any]:
        """The object that merchants are shown (payments contract, section 6); the last two are the payment's totals."""
        return {
            "refund_id": str(self.refund_id),
            "payment_id": str(self.payment_id),
            "amount": fixed_text(self.amount_minor, self.currency),
            "currency": self.currency,
            "reason": self.reason,
            "lines": [{"line_id": line.line_id, "quantity": line.quantity, "restock": line.restock} for line in self.lines],
            "status": self.shown_status,
            "created_at": rfc3339_micros(self.created_at),
            "refunded": fixed_text(payment.refunded_minor, payment.currency),
            "refundable": fixed_text(payment.refundable_minor, payment.currency),
        }

    def event_data(self, payment: Payment) -> dict[str, Any]:
        """The payment's members and this refund, whose lines are only counted where they would make it larger than 20 kB."""
        shown = self.shown(payment)
        whole = {**payment.event_data(), "refund": shown}
        if len(orjson.dumps(whole)) > _LARGEST_DATA:
            del shown["lines"]
            shown["lines_count"] = len(self.lines)
        return whole

    @property
    def shown_status(self) -> str:
        """What merchants are shown: `succeeded`, `pending` (a parked one too: it is not over) or `failed`."""
        return "pending" if self.status == "parked" else self.status


@dataclass(frozen=True, slots=True)
class Asked:
    """What the asking system said beside the sum.

    `quantity` and `ref_is_number` as it wrote them, `event_ref` its id of the request, `client_key` the key that names this
    payment for ever, `look_in` when a worker looks first, if nobody else moves the payment.
    """

    quantity: str = "1"
    ref_is_number: bool = False
    event_ref: str | None = None
    client_key: str | None = None
    metadata: bytes | None = None
    route: Choice | None = None
    look_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of a payment and seldom asked for."""

    event_ref: str | None
    client_key: str | None
    metadata: bytes | None
    routing: Sequence[Mapping[str, Any]] | None
    token_plan: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Which payments of a merchant are meant; None means all."""

    statuses: Sequence[str] | None = None
    ref: str | None = None
    alias: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: the creation time and id of its last payment."""

    created_at: datetime
    payment_id: uuid.UUID


def opened_data(opening: Opening, asked: Asked) -> dict[str, Any]:
    """The members of `payment.created` for a payment that is not read back: those of `Payment.event_data` for a new one."""
    number, name, _ = _SHOWN["opened"]
    currency = opening.amount.currency
    nothing = fixed_text(0, currency)
    return {
        "payment_id": str(opening.payment_id),
        "order_id": int(opening.ref) if asked.ref_is_number else opening.ref,
        "status": number,
        "status_name": name,
        "state": "opened",
        "provider": opening.method.partition(":")[2] or opening.provider,
        "amount": asked.quantity,
        "price": fixed_text(opening.amount.minor, currency),
        "currency": currency,
        "captured": nothing,
        "refunded": nothing,
        "reason": None,
    }
