"""Every question about places in a merchant's feed, and about what the broker has been given of it.

A place is given under the lock of the merchant's row in `feeds`, in a second statement, so that its snapshot sees all that others
had committed by then. So whoever sees a place sees all smaller ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa.events.envelope import Recorded
from kassa.kit.database import Database, Reader, Row, Tx
from kassa.kit.writes import Write

_EVENT = "merchant_id, event_id, subject, sequence, type, version, occurred_at, data::text AS data, traceparent"
_KEPT = "interval '90 days'"
_STEP = 10_000

_RELAYED = Write(
    "feed_relayed",
    """
    feed_relayed AS (
        UPDATE feeds SET relayed = greatest(relayed, $3), lease_until = NULL
         WHERE merchant_id = $1 AND lease_version = $2 AND lease_until IS NOT NULL
        RETURNING 1)
    """,
)

_LEAD = """
    UPDATE feeds SET lease_until = now() + make_interval(secs => $2), lease_version = lease_version + 1
     WHERE merchant_id = $1 AND (lease_until IS NULL OR lease_until < now())
    RETURNING lease_version, relayed, last
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a reader may begin, and whether there are events without a place yet."""

    begins_at: int
    known: bool
    expired: bool
    missing: bool


@dataclass(frozen=True, slots=True)
class Lead:
    """A relay leads the feed of a merchant until its lease ends.

    `relayed` is the newest place that the broker has confirmed, `last` the newest that was given.
    """

    merchant_id: str
    version: int
    relayed: int
    last: int


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def lock_feed(tx: Tx, merchant_id: str) -> None:
    """Lock the merchant's row, which is made when it is missing."""
    if await tx.value("SELECT true FROM feeds WHERE merchant_id = $1 FOR UPDATE", merchant_id) is None:
        await tx.execute("INSERT INTO feeds (merchant_id) VALUES ($1) ON CONFLICT (merchant_id) DO NOTHING", merchant_id)
        await tx.value("SELECT true FROM feeds WHERE merchant_id = $1 FOR UPDATE", merchant_id)


async def give_next_places(tx: Tx, merchant_id: str, limit: int) -> int:
    """Give places to the events that wait longest, and to those which come before them in their subjects; returns how many.

    The id of an event may be older than its number says: within a subject the number decides. OFFSET 0: events are found by their
    subject, not by walking through all that wait.
    """
    given: int = await tx.value(
        """
        WITH waiting AS (
            SELECT event_id, subject, sequence FROM events WHERE merchant_id = $1 AND place IS NULL ORDER BY event_id LIMIT $2
        ), reached AS (
            SELECT w.subject, w.upto, coalesce(
                       (SELECT p.sequence FROM events p
                         WHERE p.merchant_id = $1 AND p.subject = w.subject AND p.sequence < w.since AND p.place IS NOT NULL
                         ORDER BY p.sequence DESC LIMIT 1), 0) AS given
              FROM (SELECT subject, min(sequence) AS since, max(sequence) AS upto FROM waiting GROUP BY subject) w
        ), ranked AS (
            SELECT e.event_id, e.sequence,
                   max(e.event_id::text COLLATE "C") OVER (PARTITION BY e.subject ORDER BY e.sequence) AS newest
              FROM reached r CROSS JOIN LATERAL (
                   SELECT * FROM events e
                    WHERE e.merchant_id = $1 AND e.subject = r.subject AND e.sequence > r.given AND e.sequence <= r.upto
                   OFFSET 0) e
             WHERE e.place IS NULL
        ), placed AS (
            UPDATE events e SET place = f.last + n.nth
              FROM (SELECT event_id, row_number() OVER (ORDER BY newest, sequence) AS nth FROM ranked) n, feeds f
             WHERE e.merchant_id = $1 AND e.event_id = n.event_id AND f.merchant_id = $1
            RETURNING 1
        ), raised AS (
            UPDATE feeds SET last = last + (SELECT count(*) FROM placed)
             WHERE merchant_id = $1 AND EXISTS (SELECT FROM placed)
        )
        SELECT count(*) FROM placed
        """,
        merchant_id, limit,
    )  # fmt: skip
    return given


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def bounds(reader: Reader, merchant_id: str, after: uuid.UUID | None) -> Bounds:
    """Where to begin behind `after`, or at the oldest event that is shown. `begins_at` is 0 while `after` has no place."""
    row = await reader.row(
        f"""
        SELECT CASE WHEN $2::uuid IS NULL
                    THEN coalesce((SELECT kept_from FROM feeds WHERE merchant_id = $1), 1)
                    ELSE coalesce(a.place + 1, 0) END AS begins_at,
               $2::uuid IS NULL OR a.event_id IS NOT NULL AS known,
               coalesce(a.occurred_at < kassa_now() - {_KEPT}, false) AS expired,
               EXISTS (SELECT FROM events WHERE merchant_id = $1 AND place IS NULL) AS missing
          FROM (SELECT) AS once LEFT JOIN events a ON a.merchant_id = $1 AND a.event_id = $2
        """,
        merchant_id, after,
    )  # fmt: skip
    assert row is not None
    return Bounds(**dict(row.items()))


async def shown_from(
    reader: Reader, merchant_id: str, begins_at: int, limit: int, types: Sequence[str], subjects: Sequence[str]
) -> list[tuple[int, Recorded]]:
    """Events from a place on, each with its place, oldest first. No types or subjects mean all."""
    rows = await reader.rows(
        f"""
        SELECT {_EVENT}, place FROM events
         WHERE merchant_id = $1 AND place >= $2 AND occurred_at >= kassa_now() - {_KEPT}
           AND (cardinality($4::text[]) = 0 OR type = ANY($4)) AND (cardinality($5::text[]) = 0 OR subject = ANY($5))
         ORDER BY place LIMIT $3
        """,
        merchant_id, begins_at, limit, list(types), list(subjects),
    )  # fmt: skip
    return [_with_place(row) for row in rows]


async def recorded(reader: Reader, merchant_id: str, event_ids: Sequence[uuid.UUID]) -> list[Recorded]:
    """These events, those that there are."""
    rows = await reader.rows(
        f"SELECT {_EVENT} FROM events WHERE merchant_id = $1 AND event_id = ANY($2)", merchant_id, list(event_ids)
    )
    return [Recorded(*row.values()) for row in rows]


async def known(reader: Reader, merchant_id: str, event_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these ids that are events."""
    rows = await reader.rows(
        "SELECT event_id FROM events WHERE merchant_id = $1 AND event_id = ANY($2)", merchant_id, list(event_ids)
    )
    return {row["event_id"] for row in rows}


async def feeds_to_shorten(reader: Reader) -> list[str]:
    """Merchants whose oldest shown event is over 90 days old."""
    rows = await reader.rows(
        f"""
        SELECT f.merchant_id FROM feeds f
          JOIN events e ON e.merchant_id = f.merchant_id AND e.place = f.kept_from
         WHERE e.occurred_at < kassa_now() - {_KEPT} LIMIT 100
        """
    )
    return [row["merchant_id"] for row in rows]


async def shorten_feed(db: Database, merchant_id: str) -> None:
    """Begin the merchant's feed at the first event that is not too old, at most 10,000 places on."""
    await db.execute(
        f"""
        UPDATE feeds f SET kept_from = least(
                   (SELECT e.place FROM events e
                     WHERE e.merchant_id = $1 AND e.place >= f.kept_from AND e.place < f.kept_from + {_STEP}
                       AND e.occurred_at >= kassa_now() - {_KEPT} ORDER BY e.place LIMIT 1),
                   f.last + 1, f.kept_from + {_STEP})
         WHERE f.merchant_id = $1
        """,
        merchant_id,
    )


# ── what the broker has been given ───────────────────────────────────────────────────────────────────────────────────


async def feeds_to_relay(reader: Reader, limit: int) -> list[str]:
    """Merchants with events that have no place yet, or that the broker has not confirmed, and that no relay leads."""
    rows = await reader.rows(
        """
        SELECT behind.merchant_id FROM (
            (SELECT DISTINCT merchant_id FROM events WHERE place IS NULL LIMIT $1)
            UNION (SELECT merchant_id FROM feeds WHERE relayed < last LIMIT $1)
        ) behind LEFT JOIN feeds f USING (merchant_id)
         WHERE f.lease_until IS NULL OR f.lease_until < now()
        """,
        limit,
    )
    return [row["merchant_id"] for row in rows]


async def lead_feed(tx: Tx, merchant_id: str, lease_s: float) -> Lead | None:
    """Take the lease of a feed, whose row is locked by that and made when it is missing; None when another relay leads it."""
    row = await tx.row(_LEAD, merchant_id, lease_s)
    if row is None:
        await lock_feed(tx, merchant_id)
        row = await tx.row(_LEAD, merchant_id, lease_s)
    return None if row is None else Lead(merchant_id, row["lease_version"], row["relayed"], row["last"])


async def lead_on(tx: Tx, lead: Lead, lease_s: float) -> Lead | None:
    """Note how far the broker has confirmed, and go on leading; None, and nothing is noted, when the lease went to another."""
    row = await tx.row(
        """
        UPDATE feeds SET relayed = greatest(relayed, $3), lease_until = now() + make_interval(secs => $4)
         WHERE merchant_id = $1 AND lease_version = $2 AND lease_until IS NOT NULL
        RETURNING relayed, last
        """,
        lead.merchant_id, lead.version, lead.relayed, lease_s,
    )  # fmt: skip
    return None if row is None else Lead(lead.merchant_id, lead.version, row["relayed"], row["last"])


async def next_to_relay(reader: Reader, merchant_id: str, relayed: int, limit: int) -> list[Recorded]:
    """The events behind the newest one that the broker has confirmed, in the order of their places, which have no gaps."""
    rows = await reader.rows(
        f"SELECT {_EVENT} FROM events WHERE merchant_id = $1 AND place > $2 ORDER BY place LIMIT $3", merchant_id, relayed, limit
    )
    return [Recorded(*row.values()) for row in rows]


async def note_relayed(tx: Tx, lead: Lead, relayed: int) -> None:
    """The broker has confirmed all up to a place, and the lease ends. A relay that has lost its lease writes nothing."""
    await tx.later(_RELAYED, lead.merchant_id, lead.version, relayed)


async def pass_all(tx: Tx, merchant_id: str) -> None:
    """Nobody is to be given what has a place by now."""
    await tx.execute("UPDATE feeds SET relayed = last WHERE merchant_id = $1 AND relayed < last", merchant_id)


def _with_place(row: Row) -> tuple[int, Recorded]:
    *event, place = row.values()
    return place, Recorded(*event)
