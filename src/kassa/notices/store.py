"""Every question that notices ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.events import Event
from kassa.kit.database import Database, Reader, Tx
from kassa.kit.ids import new_id
from kassa.notices.model import Notice


async def insert(tx: Tx, wanted: Sequence[tuple[uuid.UUID, Event, str]]) -> None:
    """Write notices in the order of their events."""
    await tx.execute(
        """
        INSERT INTO notices (merchant_id, notice_id, order_id, event_id, type, place, next_at, created_at, updated_at)
        SELECT n.merchant_id, n.notice_id, n.order_id::uuid, n.event_id, n.type, n.place, kassa_now(), kassa_now(), kassa_now()
          FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[]) WITH ORDINALITY
            AS n (merchant_id, notice_id, order_id, event_id, type, place)
        """,
        [event.merchant_id for _, event, _ in wanted], [new_id() for _ in wanted],
        [str(event.data["order_id"]) for _, event, _ in wanted], [event_id for event_id, _, _ in wanted],
        [type_ for _, _, type_ in wanted],
    )  # fmt: skip


async def due(reader: Reader, limit: int) -> list[Notice]:
    """The first waiting notice of each order, where it is due and nobody is sending it, across merchants."""
    rows = await reader.rows(
        """
        SELECT merchant_id, notice_id, order_id, event_id, type, attempts + 1 AS attempts,
               extract(epoch FROM kassa_now() - created_at)::float8 AS age_s
          FROM (SELECT DISTINCT ON (merchant_id, order_id) * FROM notices WHERE status = 'pending'
                 ORDER BY merchant_id, order_id, created_at, place) AS first
         WHERE next_at <= kassa_now() AND (lease_until IS NULL OR lease_until < now())
         ORDER BY next_at LIMIT $1
        """,
        limit,
    )
    return [Notice(**dict(row.items())) for row in rows]


async def claim(db: Database, notice: Notice, lease_s: float) -> bool:
    """Take the lease of a notice; False when somebody has it."""
    return bool(
        await db.execute(
            """
            UPDATE notices SET lease_until = now() + make_interval(secs => $4), attempts = $3
             WHERE merchant_id = $1 AND notice_id = $2 AND status = 'pending' AND attempts = $3 - 1
               AND (lease_until IS NULL OR lease_until < now())
            """,
            notice.merchant_id, notice.notice_id, notice.attempts, lease_s,
        )
    )  # fmt: skip


async def note(db: Database, notice: Notice, status: str, answer: str | None, wait_s: float | None) -> None:
    """Note how an attempt ended; a sender that slept past its lease writes nothing."""
    await db.execute(
        """
        UPDATE notices SET status = $4, last_answer = $5, lease_until = NULL, updated_at = kassa_now(),
               next_at = kassa_now() + make_interval(secs => coalesce($6::float8, 0))
         WHERE merchant_id = $1 AND notice_id = $2 AND attempts = $3 AND status = 'pending'
        """,
        notice.merchant_id, notice.notice_id, notice.attempts, status, answer, wait_s,
    )  # fmt: skip
