"""`record` is the only way to announce something: the event commits together with the fact.

Events of a transaction are written together as its very last statement, so the counters of their subjects are
locked for the shortest time and always after every other row. What they call for (deliveries to merchants, notices to buyers) is
written by the same statement.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import orjson

from kassa.events.model import Event
from kassa.kit import trace
from kassa.kit.bell import Bell
from kassa.kit.database import Database, Tx
from kassa.kit.ids import new_id
from kassa.kit.times import Counts
from kassa.kit.writes import Write

_KEY = "events"
MAX_DATA = 20_000
"""Bytes of one event's data; whoever records a larger one leaves its list of items out."""
OUTBOX = "outbox"
"""The bell's topic of all new events; the subject of each event is a topic of its own."""
_COUNTED = Counts("kassa_events", "Events recorded with a commit, by type", ["type"])


@dataclass(frozen=True, slots=True)
class FanOut:
    """The port that bootstrap fills: who is to be told of events, in the statement that writes them.

    `parts` are parts of a `WITH`; their one parameter is `$1`, the merchant. They read the part `event_recorded`, which has the
    columns merchant_id, event_id, subject, sequence, type and data of the new events.
    """

    parts: tuple[str, ...] = ()


def first_event(db: Database) -> str:
    """The first event of a new subject, as parts of a statement, for the one act that is nothing else. Behind it: `announce_first`.

    The statement's part `told` names event_id, subject, type, data and traceparent, its first parameter is the merchant.
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


def announce_first(db: Database, event_type: str, subject: str) -> None:
    """Count an event that `first_event` has written as part of another statement, and say that it is there."""
    _COUNTED.note(event_type)
    ring(db, subject)


async def _write(tx: Tx) -> None:
    told: list[tuple[uuid.UUID, Event]] = tx.notes[_KEY]
    for merchant_id in dict.fromkeys(event.merchant_id for _, event in told):
        mine = [each for each in told if each[1].merchant_id == merchant_id]
        left: dict[str, int] = {}
        for _, event in mine:
            left[event.subject] = left.get(event.subject, 0) + 1
        subjects, behind = sorted(left), []
        counts = [left[subject] for subject in subjects]
        for _, event in mine:
            left[event.subject] -= 1
            behind.append(left[event.subject])
        await tx.later(
            _write_with(_fan_out(tx.database).parts),
            merchant_id,
            subjects,
            counts,
            [event_id for event_id, _ in mine],
            [event.subject for _, event in mine],
            behind,
            [event.type for _, event in mine],
            [orjson.dumps(event.data).decode() for _, event in mine],
            trace.kept(),
        )
    tx.after_commit(_KEY, partial(_announce, tx.database, told))  # without `tx`: what it holds must not hold it


def _announce(db: Database, recorded: Sequence[tuple[uuid.UUID, Event]]) -> None:
    for _, event in recorded:
        _COUNTED.note(event.type)
    ring(db, *dict.fromkeys(event.subject for _, event in recorded))


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
    event_counted AS (
        INSERT INTO event_counters AS c (merchant_id, subject, last)
        SELECT $1, s.subject, s.events FROM unnest((SELECT $2::text[]), (SELECT $3::bigint[])) AS s (subject, events)
        ON CONFLICT (merchant_id, subject) DO UPDATE SET last = c.last + excluded.last
        RETURNING c.subject, c.last
    ), event_recorded AS (
        INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data, traceparent)
        SELECT $1, t.event_id, t.subject, c.last - t.behind, t.type, kassa_now(), t.data::json, $9::text
          FROM unnest((SELECT $4::uuid[]), (SELECT $5::text[]), (SELECT $6::bigint[]), (SELECT $7::text[]), (SELECT $8::text[]))
            AS t (event_id, subject, behind, type, data)
          JOIN event_counted c USING (subject)
        RETURNING merchant_id, event_id, subject, sequence, type, data)
"""
"""Counters are locked in the order of `subjects`. `behind` is how many events of the same subject come after one here. The lists
stand in a SELECT of their own, as with stock (decision 0040)."""

_FIRST = """
    counted AS (INSERT INTO event_counters (merchant_id, subject, last) SELECT $1, subject, 1 FROM told),
    event_recorded AS (
        INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data, traceparent)
        SELECT $1, event_id, subject, 1, type, kassa_now(), data, traceparent FROM told
        RETURNING merchant_id, event_id, subject, sequence, type, data)
"""
