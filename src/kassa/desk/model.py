"""The nouns of the back office: sums of a day, things that wait, hits of a search, pages of lists. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

CAPTURED, REFUNDED, DECLINED = "captured", "refunded", "declined"
KINDS: Final = (CAPTURED, REFUNDED, DECLINED)
TODAY, YESTERDAY = "today", "yesterday"

SORTS: Final[Mapping[str, str]] = {
    "payment": "Payments that may or may not be paid",
    "held": "Money held without an order",
    "refund": "Refunds that are not given back",
    "checkout": "Purchases that do not move",
    "breach": "Broken invariants",
    "reconcile": "Differences from a provider's statement",
    "report": "Reports of payments that nobody knows",
    "webhook": "Merchants that were not told",
    "case": "Other cases",
}
"""What can wait for a person, in the order in which it is shown."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Money of one kind within one hour (UTC): `count` movements of `amount_minor` in all, through one provider.

    `by_now`: of yesterday, before this time of the day; of today always.
    """

    day: str
    hour: int
    kind: str
    provider: str
    currency: str
    by_now: bool
    amount_minor: int
    count: int


@dataclass(frozen=True, slots=True)
class Total:
    """What some sums come to, in minor units."""

    amount_minor: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """Today's money until `now` and yesterday's, in UTC."""

    now: datetime
    sums: Sequence[Sum]

    @property
    def currencies(self) -> list[str]:
        """The currencies in which anything moved."""
        return sorted({each.currency for each in self.sums})

    def providers(self, currency: str) -> list[str]:
        """The providers through which anything moved in a currency."""
        return sorted({each.provider for each in self.sums if each.currency == currency})

    def total(self, kind: str, currency: str, day: str = TODAY, *, provider: str | None = None, by_now: bool = False) -> Total:
        """What was moved of a kind on a day: through one provider, or until this time of the day."""
        return sum_of(
            each
            for each in self.sums
            if (each.kind, each.currency, each.day) == (kind, currency, day)
            and (provider is None or each.provider == provider)
            and (each.by_now or not by_now)
        )

    def hours(self, kind: str, currency: str, day: str = TODAY) -> list[Total]:
        """The same for each of the 24 hours."""
        found: list[list[Sum]] = [[] for _ in range(24)]
        for each in self.sums:
            if (each.kind, each.currency, each.day) == (kind, currency, day):
                found[each.hour].append(each)
        return [sum_of(some) for some in found]


def sum_of(sums: Iterable[Sum]) -> Total:
    """What some sums come to."""
    found = list(sums)
    return Total(sum(each.amount_minor for each in found), sum(each.count for each in found))


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits for a person: `sort` is one of `SORTS`, `kind` the status or the kind of case that says more.

    `subject` is what it is about (`payment:<id>`), `about` what else belongs to it (the payment of a refund, the order of a
    payment), `since` when it began to wait, `age_s` for how long. `amount_minor` is minor units of `currency`, where it is money.
    """

    merchant_id: str
    sort: str
    kind: str
    subject: str
    about: str | None
    case_id: uuid.UUID | None
    amount_minor: int | None
    currency: str | None
    why: str | None
    since: datetime
    age_s: float

    @property
    def named(self) -> str:
        """The id in the subject."""
        return self.subject.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Count:
    """How many of one sort wait, and their money in one currency."""

    sort: str
    currency: str | None
    count: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class At:
    """Where a page of a list begins: beyond `older` towards the past, or `newer` towards the present; at the newest for none."""

    older: str | None = None
    newer: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, newest first. `newer` and `older` are where its neighbours begin, None at an end.

    `total` is how many there are, counted up to `COUNTED`. `looked_at`: so many rows were gone through for a filter.
    """

    rows: Sequence[T]
    newer: str | None
    older: str | None
    total: int
    looked_at: int | None = None


COUNTED: Final = 10_000
"""Lists are counted up to here; beyond it a page says *more than*."""
LOOKED_AT: Final = 20_000
"""A filter without an index of its own goes through at most so many rows for one page."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order in a list."""

    merchant_id: str
    order_id: uuid.UUID
    order_number: str
    channel: str
    status: str
    payment_status: str
    payment_method: str
    currency: str
    total_minor: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment in a list; `account` is the provider that holds the money."""

    merchant_id: str
    payment_id: uuid.UUID
    ref_kind: str
    ref: str
    account: str
    method: str
    status: str
    currency: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    card_last4: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product in a list. `available` is None where nobody counts; `reserved` is what open checkouts hold."""

    merchant_id: str
    channel: str
    product_id: str
    sku: str
    name: str
    price_minor: int
    currency: str
    sold: bool
    available: int | None
    reserved: int

    @property
    def on_hand(self) -> int | None:
        """What lies on the shelf: what can be had and what is reserved. None where nobody counts."""
        return None if self.available is None else self.available + self.reserved


@dataclass(frozen=True, slots=True)
class StockChange:
    """One line of a product's stock journal: `kind` is initial, adjusted, sold or returned."""

    kind: str
    reference: str
    quantity: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event on its way to one endpoint."""

    merchant_id: str
    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
    subject: str
    status: str
    replayed: bool
    attempts: int
    next_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One request of a delivery."""

    delivery_id: uuid.UUID
    number: int
    began_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class MerchantRow:
    """A merchant in a list, with how much of it there is."""

    merchant_id: str
    name: str
    currency: str
    created_at: datetime
    keys: int
    endpoints: int
    disabled: int


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that a search found. `kind` is order, payment, checkout, delivery or case; `because` says by what."""

    kind: str
    name: str
    merchant_id: str
    because: str
    title: str
    status: str | None
    amount_minor: int | None
    currency: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search looked for, in words, and what it found."""

    looked_for: Sequence[str]
    hits: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody outside said of a payment, as it is kept: `source` is who, `outcome` what became of it here. Masked."""

    at: datetime
    source: str
    said: str
    outcome: str | None
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Act:
    """A line of the audit log about something."""

    at: datetime
    who: str
    act: str
    subject: str
    why: str | None
    what: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A message to a buyer."""

    notice_id: uuid.UUID
    event_id: uuid.UUID
    type: str
    status: str
    attempts: int
    last_answer: str | None
    next_at: datetime
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Papers:
    """What is kept about an order's or a payment's family beside its own rows."""

    messages: Sequence[Message]
    deliveries: Sequence[DeliveryRow]
    attempts: Mapping[uuid.UUID, Sequence[AttemptRow]]
    notices: Sequence[NoticeRow]
    acts: Sequence[Act]
    guest: str | None
    """A guest's e-mail address, masked."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Work that waits: how much, and for how long the oldest has been due (seconds, 0 for nothing)."""

    name: str
    count: int
    late_s: float


STATES: Final = {"payment": ("unknown", "parked"), "refund": ("pending", "parked"), "reservation": ("overdue",)}
"""What is counted, and in which statuses; a case has its kind instead, of which there are many."""


@dataclass(frozen=True, slots=True)
class State:
    """How much of a subject is in a status, and for how long the oldest has been (seconds, 0 for nothing)."""

    subject: str
    status: str
    count: int
    age_s: float


@dataclass(frozen=True, slots=True)
class System:
    """How the machine is: queues, connections, leases, sizes."""

    queues: Sequence[Queue]
    connections: Sequence[tuple[str, str, int]]
    """Program, state, how many."""
    leases: Sequence[tuple[str, datetime | None, str]]
    """Who leads what, until when, and a word about it."""
    sizes: Sequence[tuple[str, int, int]]
    """The largest tables: name, bytes with indexes, rows as the planner counts them."""
    database_bytes: int
    server: str
    schema: str
    ahead_s: float
    """How far the clock was moved."""
    max_connections: int
