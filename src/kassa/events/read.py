"""Read what happened to a subject, in its order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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


async def events_of(reader: Reader, merchant_id: str, subject: str) -> list[Told]:
    """All events of a subject, oldest first."""
    rows = await reader.rows(
        """
        SELECT event_id, subject, sequence, type, occurred_at, data FROM events
         WHERE merchant_id = $1 AND subject = $2 ORDER BY sequence
        """,
        merchant_id, subject,
    )  # fmt: skip
    return [Told(**dict(row.items())) for row in rows]
