"""What an operator and a reconciliation ask about payments and refunds, across merchants and reference kinds: plain reads.

Whatever follows from an answer names the merchant.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kassa.kit.database import Reader, Row
from kassa.payments.model import Payment
from kassa.payments.store import COLUMNS, payment_of


@dataclass(frozen=True, slots=True)
class BookedRefund:
    """A refund with everything by which it is known; `updated_at` of one that is over is when it ended."""

    merchant_id: str
    refund_id: uuid.UUID
    payment_id: uuid.UUID
    amount_minor: int
    currency: str
    status: str
    owed: bool
    reason: str | None
    provider_key: str
    provider_ref: str | None
    message: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class UnmatchedReport:
    """A provider's report of a payment or refund that nobody knows."""

    payment_id: uuid.UUID
    refund_id: uuid.UUID | None
    status: str
    received_at: datetime
    given_up: bool


@dataclass(frozen=True, slots=True)
class RouteListed:
    """A rule of an alias as an operator sees it; merchant `*` means every one that has none of its own."""

    merchant_id: str
    alias: str
    position: int
    provider: str
    currency: str | None
    min_minor: int | None
    max_minor: int | None
    share: int
    enabled: bool


_BOOKED = """merchant_id, refund_id, payment_id, amount_minor, currency, status, owed, reason, provider_key, provider_ref, message,
    created_at, updated_at"""


def _booked(row: Row) -> BookedRefund:
    return BookedRefund(**dict(row.items()))


async def of_ids(reader: Reader, payment_ids: Sequence[uuid.UUID]) -> list[Payment]:
    """Those of these payments that exist, of whichever merchants."""
    rows = await reader.rows(f"SELECT {COLUMNS} FROM payments WHERE payment_id = ANY ($1)", list(payment_ids))
    return [payment_of(row) for row in rows]


async def newest(
    reader: Reader, *, merchant_id: str | None, statuses: Sequence[str] | None, provider: str | None, limit: int
) -> list[Payment]:
    """The newest payments, by their ids. `provider`: the way it was taken, whom it was routed to, or its alias."""
    rows = await reader.rows(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE ($1::text IS NULL OR merchant_id = $1) AND ($2::text[] IS NULL OR status = ANY ($2))
           AND ($3::text IS NULL OR $3 IN (provider, routed_to, split_part(method, ':', 2)))
         ORDER BY payment_id DESC LIMIT $4
        """,
        merchant_id, None if statuses is None else list(statuses), provider, limit,
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def in_doubt(reader: Reader, *, merchant_id: str | None, limit: int) -> list[Payment]:
    """Payments that may or may not have been paid (unknown, parked), the longest in doubt first."""
    rows = await reader.rows(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE unknown_since IS NOT NULL AND status IN ('unknown', 'parked') AND ($1::text IS NULL OR merchant_id = $1)
         ORDER BY unknown_since LIMIT $2
        """,
        merchant_id, limit,
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def parked_refunds(reader: Reader, *, merchant_id: str | None, limit: int) -> list[BookedRefund]:
    """Refunds that need a person, oldest first."""
    rows = await reader.rows(
        f"""
        SELECT {_BOOKED} FROM refunds WHERE status = 'parked' AND ($1::text IS NULL OR merchant_id = $1)
         ORDER BY created_at LIMIT $2
        """,
        merchant_id, limit,
    )  # fmt: skip
    return [_booked(row) for row in rows]


async def refund_anywhere(reader: Reader, refund_id: uuid.UUID) -> BookedRefund | None:
    """One refund by its id alone: a plain read; whatever follows names the merchant."""
    row = await reader.row(f"SELECT {_BOOKED} FROM refunds WHERE refund_id = $1", refund_id)
    return _booked(row) if row else None


async def refunds_of_payments(reader: Reader, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[BookedRefund]:
    """The refunds of some payments of a merchant, oldest first."""
    rows = await reader.rows(
        f"SELECT {_BOOKED} FROM refunds WHERE merchant_id = $1 AND payment_id = ANY ($2) ORDER BY created_at, refund_id",
        merchant_id, list(payment_ids),
    )  # fmt: skip
    return [_booked(row) for row in rows]


async def refunds_between(
    reader: Reader, merchant_id: str, since: datetime, until: datetime, after: uuid.UUID, limit: int
) -> list[BookedRefund]:
    """A merchant's refunds that were begun within a time and succeeded, by their ids, from a place on."""
    rows = await reader.rows(
        f"""
        SELECT {_BOOKED} FROM refunds
         WHERE merchant_id = $1 AND refund_id > $4 AND created_at >= $2 AND created_at < $3 AND status = 'succeeded'
         ORDER BY refund_id LIMIT $5
        """,
        merchant_id, since, until, after, limit,
    )  # fmt: skip
    return [_booked(row) for row in rows]


async def unmatched_reports(reader: Reader, limit: int) -> list[UnmatchedReport]:
    """Reports of payments that nobody knows (yet), oldest first. They are given up after 72 h, and are a case then."""
    rows = await reader.rows(
        """
        SELECT payment_id, refund_id, status, received_at, next_at IS NULL AS given_up FROM inbox_unmatched
         ORDER BY received_at, message_id LIMIT $1
        """,
        limit,
    )
    return [UnmatchedReport(**dict(row.items())) for row in rows]


async def all_routes(reader: Reader) -> list[RouteListed]:
    """Every rule of every alias, switched off ones too."""
    rows = await reader.rows(
        """
        SELECT merchant_id, alias, position, provider, currency, min_minor, max_minor, share, enabled FROM routes
         ORDER BY alias, merchant_id, position
        """
    )
    return [RouteListed(**dict(row.items())) for row in rows]
