"""Follow events as they are committed, of one merchant or of all: for an operator who watches.

It goes by the places of the merchants' feeds, so nothing is missed and nothing is told twice. Events that have no place yet are
given one first, as by any reader (rulings, 21).
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from kassa.events.envelope import Recorded
from kassa.events.feed import give_places
from kassa.kit.context import Context
from kassa.kit.database import Reader

_PLACES = 2000
_AT_ONCE = 500


@dataclass(slots=True)
class Follower:
    """How far each merchant's events have been read; `merchant_id` None follows all merchants."""

    merchant_id: str | None = None
    places: dict[str, int] = field(default_factory=dict)

    async def begin(self, ctx: Context) -> None:
        """Whatever is committed from now on is news."""
        await _place(ctx, self.merchant_id)
        self.places = await _newest(ctx.db, self.merchant_id)

    async def news(self, ctx: Context) -> list[Recorded]:
        """Some of what was committed since, at most 500 events, oldest first; none when there is nothing new.

        Those of one merchant are in the order of its feed, which is that of their subjects.
        """
        await _place(ctx, self.merchant_id)
        found = await _behind(ctx.db, self.merchant_id, self.places)
        self.places.update({event.merchant_id: place for place, event in found})
        feeds: dict[str, list[Recorded]] = {}
        for _, event in found:
            feeds.setdefault(event.merchant_id, []).append(event)
        return list(heapq.merge(*feeds.values(), key=lambda event: event.occurred_at))


async def events_like(reader: Reader, merchant_id: str | None, wanted: uuid.UUID) -> list[tuple[str, uuid.UUID]]:
    """Merchant and id of the event that has this id, or that a delivery of this id is of (and of any other made just then).

    The id of a delivery begins with the first 18 characters of its event's.
    """
    begin = str(wanted)[:18]
    rows = await reader.rows(
        "SELECT merchant_id, event_id FROM events WHERE event_id BETWEEN $1 AND $2 AND ($3::text IS NULL OR merchant_id = $3)",
        uuid.UUID(begin + "-0000-000000000000"), uuid.UUID(begin + "-ffff-ffffffffffff"), merchant_id,
    )  # fmt: skip
    return [(row["merchant_id"], row["event_id"]) for row in rows]


async def _place(ctx: Context, merchant_id: str | None) -> None:
    rows = await ctx.db.rows(
        "SELECT DISTINCT merchant_id FROM events WHERE place IS NULL AND ($1::text IS NULL OR merchant_id = $1)", merchant_id
    )
    for row in rows:
        await give_places(ctx, row["merchant_id"], _PLACES)


async def _newest(reader: Reader, merchant_id: str | None) -> dict[str, int]:
    rows = await reader.rows("SELECT merchant_id, last FROM feeds WHERE $1::text IS NULL OR merchant_id = $1", merchant_id)
    return {row["merchant_id"]: row["last"] for row in rows}


async def _behind(reader: Reader, merchant_id: str | None, places: dict[str, int]) -> Sequence[tuple[int, Recorded]]:
    rows = await reader.rows(
        """
        SELECT e.merchant_id, e.event_id, e.subject, e.sequence, e.type, e.version, e.occurred_at, e.data::text AS data, e.place
          FROM feeds f
          LEFT JOIN unnest($1::text[], $2::bigint[]) AS seen (merchant_id, place) ON seen.merchant_id = f.merchant_id
          JOIN events e ON e.merchant_id = f.merchant_id AND e.place > coalesce(seen.place, 0)
         WHERE f.last > coalesce(seen.place, 0) AND ($3::text IS NULL OR f.merchant_id = $3)
         ORDER BY e.merchant_id, e.place LIMIT $4
        """,
        list(places), list(places.values()), merchant_id, _AT_ONCE,
    )  # fmt: skip
    return [(row["place"], Recorded(*list(row.values())[:-1])) for row in rows]
