"""What a statement says, what differs, and over which time a statement speaks. No I/O here.

Amounts of a statement are decimals of major units, as providers write them; ours are minor units.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kassa.kit.errors import Invalid
from kassa.payments.model import Payment

TYPES = {
    "missing_here": "the provider has a charge that we do not know, or know at another provider",
    "missing_there": "we captured it, and the statement of that time has no row for it",
    "amount_differs": "both have the charge, with different amounts",
    "currency_differs": "both have it, in different currencies",
    "status_differs": "one of the two says paid, and the other one does not",
    "refund_missing_here": "the provider gave money back, and we have not booked that",
    "refund_missing_there": "we booked a refund, and the statement of that time has no row for it",
    "refund_amount_differs": "both have the refund, with different amounts",
    "duplicate_row": "the statement has it more than once: printed twice, or charged twice",
}
"""Every type of difference, with its meaning. The kind of its case is `reconcile_<type>`."""
CHARGE_TYPES = ("missing_here", "missing_there", "amount_differs", "currency_differs", "status_differs", "duplicate_row")
REFUND_TYPES = ("refund_missing_here", "refund_missing_there", "refund_amount_differs", "currency_differs", "duplicate_row")

CAPTURED = frozenset({"paid", "refunding", "refunded", "reversed"})
"""The statuses of a payment whose money we took."""
MOVING = frozenset({"opened", "waiting", "unknown"})
"""The statuses whose end nobody knows yet. A parked payment is judged: the statement is what a person waits for."""


class BadStatement(Invalid):
    """The statement cannot be read; the message names the line and never what stands in it."""

    code = "bad_statement"

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line} {problem}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a statement: a `charge`, a `refund`, or (in the sandbox's book only) `declined`.

    `payment_id` is ours; `provider_key` is the key that we sent with the charge; `provider_ref` is the provider's own id of it.
    `amount` is in major units; `currency` None means: not said, the payment's. `times`: how often the very same row stands there.
    """

    line: int
    kind: str
    amount: Decimal | None
    currency: str | None
    occurred_at: datetime
    payment_id: uuid.UUID | None = None
    provider_key: str | None = None
    provider_ref: str | None = None
    refund_id: str | None = None
    times: int = 1

    @property
    def name(self) -> str:
        """By what the payment of this row is found: `id:…`, else `key:…`, else `ref:…`."""
        if self.payment_id is not None:
            return f"id:{self.payment_id}"
        return f"key:{self.provider_key}" if self.provider_key is not None else f"ref:{self.provider_ref}"


def subject_of(name: str) -> str:
    """What a case about a row is about: `payment:<id>`, or `reference:<text>` where only the provider's words are known."""
    kind, _, text = name.partition(":")
    return f"payment:{text}" if kind == "id" else f"reference:{text}"


@dataclass(frozen=True, slots=True)
class Period:
    """The time that a statement covers, from `since` up to (not with) `until`; None: nobody knows, so nothing is covered."""

    since: datetime | None
    until: datetime | None

    def covers(self, began: datetime, ended: datetime) -> bool:
        """Whether something that happened between two moments certainly happened within the period."""
        return self.since is not None and self.until is not None and began >= self.since and ended < self.until

    def touches(self, began: datetime, ended: datetime) -> bool:
        """Whether it may have happened within the period."""
        return self.since is not None and self.until is not None and ended >= self.since and began < self.until


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the two books do not agree about.

    `act` tells two differences of one type and subject apart. `text` is the same whenever the same difference is found.
    `amount_minor` is what is at stake, in minor units of `currency`, if that is known. `line` is where it stands in the statement.
    """

    type: str
    merchant_id: str
    subject: str
    act: str
    text: str
    amount_minor: int | None = None
    currency: str | None = None
    line: int | None = None

    @property
    def kind(self) -> str:
        """The kind of its case."""
        return f"reconcile_{self.type}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What was looked at and could be judged: open cases of these types about it that were not found again are over."""

    subject: str
    act: str
    types: tuple[str, ...]


def is_held_by(payment: Payment, names: Collection[str]) -> bool:
    """Whether a provider of one of these names holds the money of a payment.

    A name means the provider that the payment was routed to, its alias where it was not routed, or the way it was taken (`card`).
    """
    return payment.provider in names or (payment.routed_to or payment.alias) in names
