"""Read what happened to a subject, in its order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.events.envelope import Recorded
from kassa.kit import trace
from kassa.kit.database import Reader


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was recorded."""

    event_id: uuid.UUID
    subject: str
    sequence: int
    type: str
    occurred_at: datetime
    data: Mapping[str, Any]
    traceparent: str | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace it was recorded in, where it was in one."""
        return trace.id_of(self.traceparent)


async def events_of(reader: Reader, merchant_id: str, subject: str) -> list[Told]:
    """All events of a subject, oldest first."""
    rows = await reader.rows(
        """
        SELECT event_id, subject, sequence, type, occurred_at, data, traceparent FROM events
         WHERE merchant_id = $1 AND subject = $2 ORDER BY sequence
        """,
        merchant_id, subject,
    )  # fmt: skip
    return [Told(**dict(row.items())) for row in rows]


async def newest_events(
    reader: Reader, merchant_id: str, types: Sequence[str], before: uuid.UUID | None, limit: int
) -> list[Recorded]:
    """A merchant's events of these types (all, if none is named), newest first, older than `before`.

    They come by their ids, whose order is nearly that of time.
    """
    rows = await reader.rows(
        """
        SELECT merchant_id, event_id, subject, sequence, type, version, occurred_at, data::text AS data FROM events
         WHERE merchant_id = $1 AND event_id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
           AND (cardinality($3::text[]) = 0 OR type = ANY ($3))
         ORDER BY event_id DESC LIMIT $4
        """,
        merchant_id, before, list(types), limit,
    )  # fmt: skip
    return [Recorded(*row.values()) for row in rows]


async def trace_of(reader: Reader, merchant_id: str, subject: str, event_type: str) -> str | None:
    """The `traceparent` in which an event of this type was last recorded: whoever takes left work up goes on in its trace."""
    found: str | None = await reader.value(
        "SELECT traceparent FROM events WHERE merchant_id = $1 AND subject = $2 AND type = $3 ORDER BY sequence DESC LIMIT 1",
        merchant_id, subject, event_type,
    )  # fmt: skip
    return found
