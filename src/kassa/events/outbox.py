"""`record` is the only way to announce something: the event commits together with the fact.

Events of a transaction are written together as its very last statement, so the counters of their subjects are
locked for the shortest time and always after every other row.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from kassa.events.model import Event
from kassa.kit.database import Tx
from kassa.kit.ids import new_id

_KEY = "events"
MAX_DATA = 20_000
"""Bytes of one event's data; whoever records a larger one leaves its list of items out."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """The port that bootstrap fills: who is to be told of events, in the transaction of the events themselves."""

    tell: Callable[[Tx, Sequence[tuple[uuid.UUID, Event]]], Awaitable[None]]


def record(tx: Tx, event: Event) -> None:
    """Announce `event` when `tx` commits. Recorded twice, it happened twice."""
    tx.notes.setdefault(_KEY, []).append(event)
    tx.at_commit(_KEY, _write)


async def _write(tx: Tx) -> None:
    told: list[Event] = tx.notes[_KEY]
    for merchant_id in dict.fromkeys(event.merchant_id for event in told):
        mine = [event for event in told if event.merchant_id == merchant_id]
        event_ids = [new_id() for _ in mine]
        await tx.execute(
            _INSERT,
            merchant_id,
            event_ids,
            [event.subject for event in mine],
            [event.type for event in mine],
            [orjson.dumps(event.data).decode() for event in mine],
        )
        fan_out = tx.port(FanOut)
        if fan_out is not None:
            await fan_out.tell(tx, list(zip(event_ids, mine, strict=True)))


_INSERT = """
    WITH told AS (
        SELECT t.event_id, t.subject, t.type, t.data, t.nth,
               row_number() OVER (PARTITION BY t.subject ORDER BY t.nth) AS place,
               count(*) OVER (PARTITION BY t.subject) AS places
          FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
            AS t (event_id, subject, type, data, nth)
    ), counted AS (
        INSERT INTO event_counters AS c (merchant_id, subject, last)
        SELECT $1, subject, count(*) FROM told GROUP BY subject ORDER BY subject
        ON CONFLICT (merchant_id, subject) DO UPDATE SET last = c.last + excluded.last
        RETURNING c.subject, c.last
    )
    INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
    SELECT $1, told.event_id, told.subject, counted.last - told.places + told.place, told.type, kassa_now(), told.data::jsonb
      FROM told JOIN counted USING (subject) ORDER BY told.nth
"""
