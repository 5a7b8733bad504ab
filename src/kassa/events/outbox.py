"""`record` is the only way to announce something: the event commits together with the fact.

Events of a transaction are written together as its very last statement, so the counters of their subjects are
locked for the shortest time and always after every other row. What they call for (deliveries to merchants, notices to buyers) is
written by the same statement.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache

import orjson

from kassa.events.model import Event
from kassa.kit.bell import Bell
from kassa.kit.database import Database, Tx
from kassa.kit.ids import new_id
from kassa.kit.writes import Write

_KEY = "events"
MAX_DATA = 20_000
"""Bytes of one event's data; whoever records a larger one leaves its list of items out."""
OUTBOX = "outbox"
"""The bell's topic of all new events; the subject of each event is a topic of its own."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """The port that bootstrap fills: who is to be told of events, in the statement that writes them.

    `parts` are parts of a `WITH`, without parameters. They read the part `event_recorded`, which has the columns merchant_id,
    event_id, subject, sequence, type and data of the new events.
    """

    parts: tuple[str, ...] = ()


def first_event(db: Database) -> str:
    """The first event of a new subject, as parts of a statement: for the one act that is nothing else. `ring` belongs behind it.

    The statement's part `told` names event_id, subject, type and data, its first parameter is the merchant.
    """
    return _first_with(_fan_out(db).parts)


def record(tx: Tx, event: Event) -> uuid.UUID:
    """Announce `event` when `tx` commits; returns the id that it will have. Recorded twice, it happened twice."""
    event_id = new_id()
    tx.notes.setdefault(_KEY, []).append((event_id, event))
    tx.at_commit(_KEY, _write)
    return event_id


def ring(db: Database, *subjects: str) -> None:
    """Say that there are new events, to whoever listens for them."""
    bell: Bell | None = db.ports.get(Bell)
    if bell is not None:
        bell.ring(OUTBOX, *subjects)


async def _write(tx: Tx) -> None:
    told: list[tuple[uuid.UUID, Event]] = tx.notes[_KEY]
    for merchant_id in dict.fromkeys(event.merchant_id for _, event in told):
        mine = [each for each in told if each[1].merchant_id == merchant_id]
        await tx.later(
            _write_with(_fan_out(tx.database).parts),
            merchant_id,
            [event_id for event_id, _ in mine],
            [event.subject for _, event in mine],
            [event.type for _, event in mine],
            [orjson.dumps(event.data).decode() for _, event in mine],
        )
    database, subjects = tx.database, dict.fromkeys(event.subject for _, event in told)
    tx.after_commit(_KEY, lambda: ring(database, *subjects))  # without naming `tx`: what it holds must not hold it


_NOBODY = FanOut()


def _fan_out(db: Database) -> FanOut:
    found: FanOut = db.ports.get(FanOut, _NOBODY)
    return found


@lru_cache(maxsize=8)
def _first_with(parts: tuple[str, ...]) -> str:
    return ", ".join((_FIRST, *parts))


@lru_cache(maxsize=8)
def _write_with(parts: tuple[str, ...]) -> Write:
    return Write("event_recorded", ", ".join((_RECORDED, *parts)))


_RECORDED = """
    event_told AS (
        SELECT t.event_id, t.subject, t.type, t.data, t.nth,
               row_number() OVER (PARTITION BY t.subject ORDER BY t.nth) AS place,
               count(*) OVER (PARTITION BY t.subject) AS places
          FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
            AS t (event_id, subject, type, data, nth)
    ), event_counted AS (
        INSERT INTO event_counters AS c (merchant_id, subject, last)
        SELECT $1, subject, count(*) FROM event_told GROUP BY subject ORDER BY subject
        ON CONFLICT (merchant_id, subject) DO UPDATE SET last = c.last + excluded.last
        RETURNING c.subject, c.last
    ), event_recorded AS (
        INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
        SELECT $1, t.event_id, t.subject, c.last - t.places + t.place, t.type, kassa_now(), t.data::json
          FROM event_told t JOIN event_counted c USING (subject) ORDER BY t.nth
        RETURNING merchant_id, event_id, subject, sequence, type, data)
"""

_FIRST = """
    counted AS (INSERT INTO event_counters (merchant_id, subject, last) SELECT $1, subject, 1 FROM told),
    event_recorded AS (
        INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
        SELECT $1, event_id, subject, 1, type, kassa_now(), data FROM told
        RETURNING merchant_id, event_id, subject, sequence, type, data)
"""
