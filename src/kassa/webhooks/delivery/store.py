"""Every question that deliveries ask the database.

An endpoint's row is locked first; what follows works in a statement of its own, whose snapshot is fresh. So claims and outcomes of
an endpoint never race, and counts are exact over all processes. A moment is taken behind the lock: what begins after an end that
it waited for has a later time than that end.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.events import Recorded
from kassa.kit.database import Reader, Row, Tx, placeholders
from kassa.webhooks.delivery.model import LEASE_BEYOND_S, MOST_IN_FLIGHT, Claimed, Due, Ended, Health, Verdict

AHEAD = 8
"""How many more than there is room for are looked at, because some will be found to wait for an earlier one."""
QUEUED_S = 60
"""Seconds that a delivery given to the broker has to come back from it."""
_SLOW = "p.throttled OR p.failures >= 10"
_PLACES = f"CASE WHEN {_SLOW} THEN 1 ELSE {MOST_IN_FLIGHT} END"
_PAUSED = "p.failures >= 10 AND coalesce(p.paused_until > kassa_now(), false)"
_HELD = """(SELECT count(*) FROM deliveries h WHERE h.merchant_id = p.merchant_id AND h.endpoint_id = p.endpoint_id
             AND h.status = 'processing' AND h.lease_until > now())"""
_HELD_HERE = _HELD.replace("p.merchant_id", "$1")
MOMENT = "moment AS MATERIALIZED (SELECT kassa_now() + (clock_timestamp() - now()) AS at, clock_timestamp() AS bare)"
"""The present moment: by the clock that may be moved, and by the bare one, which leases go by."""


@dataclass(frozen=True, slots=True)
class Locked:
    """An endpoint that nobody else changes until this transaction ends."""

    endpoint_id: uuid.UUID
    health: Health
    deleted: bool
    now: datetime

    @property
    def enabled(self) -> bool:
        """Whether it may be called."""
        return self.health.reason is None and not self.deleted


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim gave: those that may be attempted now, and those for which there was no room."""

    claimed: list[Claimed]
    left: list[tuple[uuid.UUID, uuid.UUID]]
    """Endpoint and delivery, oldest first."""
    held: int = 0
    """How many turned out to wait for an earlier one."""
    met: frozenset[uuid.UUID] = frozenset()
    """The events of all that was due."""


def released_behind(ended: str) -> str:
    """The part of a statement that looks again at the next delivery of each subject of which one in the part `ended` has ended.

    It keeps its place among those that are due. The part `alive` names the endpoints that may be called.
    """
    return f"""
    over AS MATERIALIZED (
        SELECT DISTINCT n.endpoint_id, n.subject FROM {ended} n JOIN alive USING (endpoint_id)
         WHERE n.status IN ('success', 'failed')
    ), following AS MATERIALIZED (
        SELECT DISTINCT ON (o.endpoint_id, o.subject) o.endpoint_id, o.delivery_id, o.event_id
          FROM deliveries o JOIN over USING (endpoint_id, subject)
         WHERE o.merchant_id = $1 AND o.endpoint_id = ANY (ARRAY(SELECT endpoint_id FROM over))
           AND o.subject = ANY (ARRAY(SELECT subject FROM over))
           AND o.status NOT IN ('success', 'failed') AND NOT o.replayed AND o.status = 'blocked'
         ORDER BY o.endpoint_id, o.subject, o.sequence
    ), released AS (
        UPDATE deliveries d SET status = 'pending', next_at = d.created_at, queued_until = now()
         WHERE d.merchant_id = $1 AND d.endpoint_id = ANY (ARRAY(SELECT endpoint_id FROM following))
           AND d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM following))
           AND d.event_id = ANY (ARRAY(SELECT event_id FROM following))
        RETURNING d.delivery_id)
    """


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


_LOCK = """
    SELECT endpoint_id, failures, throttled, paused_until, pause_s, attempts_since_success, good_at, disabled_reason AS reason,
           deleted_at IS NOT NULL AS deleted, kassa_now() AS now
      FROM endpoints WHERE merchant_id = $1 AND {which} ORDER BY endpoint_id FOR NO KEY UPDATE
"""
_LOCK_THESE = _LOCK.format(which="endpoint_id = ANY($2)")
_LOCK_LIVE_TOO = _LOCK.format(which="(endpoint_id = ANY($2) OR deleted_at IS NULL)")


async def lock(tx: Tx, merchant_id: str, endpoint_ids: Sequence[uuid.UUID], *, live: bool = False) -> list[Locked]:
    """Lock these endpoints of a merchant and, with `live`, all others that it has, in the order of their ids."""
    return [_locked(row) for row in await tx.rows(_LOCK_LIVE_TOO if live else _LOCK_THESE, merchant_id, list(endpoint_ids))]


async def lock_live(tx: Tx, merchant_id: str) -> list[uuid.UUID]:
    """Lock all endpoints that a merchant has; returns their ids."""
    rows = await tx.rows(
        """
        SELECT endpoint_id FROM endpoints WHERE merchant_id = $1 AND deleted_at IS NULL ORDER BY endpoint_id FOR NO KEY UPDATE
        """,
        merchant_id,
    )
    return [row["endpoint_id"] for row in rows]


def _locked(row: Row) -> Locked:
    found = dict(row.items())
    endpoint_id, deleted, now = found.pop("endpoint_id"), found.pop("deleted"), found.pop("now")
    return Locked(endpoint_id, Health(**found), deleted, now)


# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_NAMED = """
    SELECT d.endpoint_id, d.delivery_id FROM unnest($3::uuid[]) AS e (event_id)
     CROSS JOIN LATERAL (
           SELECT endpoint_id, delivery_id FROM deliveries n WHERE n.merchant_id = $1 AND n.event_id = e.event_id OFFSET 0) d
    UNION
    SELECT r.endpoint_id, w.delivery_id FROM room r CROSS JOIN unnest($4::uuid[]) AS w (delivery_id)
"""
_OLDEST = f"""
    UNION
    SELECT r.endpoint_id, due.delivery_id FROM room r
     CROSS JOIN LATERAL (
           SELECT d.delivery_id FROM deliveries d
            WHERE d.merchant_id = $1 AND d.endpoint_id = r.endpoint_id
              AND d.status IN ('pending', 'retrying') AND d.next_at <= kassa_now()
            ORDER BY d.next_at LIMIT greatest(0, r.places) + {AHEAD}) due
     WHERE r.places > 0
"""
# Whatever the planner believes of tables that it has not looked at yet: OFFSET 0 and the arrays of ids lead it to the few rows that
# are meant, and not through an endpoint's whole history. Rows to be changed are named by arrays alone, and by their events, too:
# whichever index is taken then begins with what is known. A join beside the arrays made the planner count each array as ten rows,
# and take an index that reads all that an endpoint was ever sent.
_CLAIM = f"""
    WITH {MOMENT}, lease AS MATERIALIZED (SELECT at, bare + make_interval(secs => $5) AS ends_at FROM moment),
    room AS MATERIALIZED (
        SELECT p.endpoint_id, p.ordered, p.status = 'enabled' AS enabled,
               CASE WHEN p.status <> 'enabled' OR ({_PAUSED}) THEN 0 ELSE {_PLACES} - {_HELD_HERE} END AS places
          FROM endpoints p WHERE p.merchant_id = $1 AND p.endpoint_id = ANY($2) AND p.deleted_at IS NULL
    ), named AS MATERIALIZED (
        SELECT d.endpoint_id, d.delivery_id, d.event_id, d.subject, d.sequence, d.next_at, d.replayed,
               r.places, r.ordered, r.enabled
          FROM ({{picked}}) AS picked JOIN room r USING (endpoint_id)
         CROSS JOIN LATERAL (
               SELECT * FROM deliveries d
                WHERE d.merchant_id = $1 AND d.endpoint_id = picked.endpoint_id AND d.delivery_id = picked.delivery_id
               OFFSET 0) d
         WHERE d.status IN ('pending', 'retrying') AND d.next_at <= kassa_now()
    ), first_open AS MATERIALIZED (
        SELECT o.endpoint_id, o.subject, min(o.sequence) AS sequence FROM deliveries o
         WHERE o.merchant_id = $1 AND o.endpoint_id = ANY($2) AND o.subject = ANY (ARRAY(SELECT subject FROM named))
           AND o.status NOT IN ('success', 'failed') AND NOT o.replayed
         GROUP BY o.endpoint_id, o.subject
    ), wanted AS MATERIALIZED (
        SELECT n.endpoint_id, n.delivery_id, n.event_id, n.next_at, n.places,
               NOT n.enabled OR (n.ordered AND NOT n.replayed AND coalesce(n.sequence > f.sequence, false)) AS behind
          FROM named n LEFT JOIN first_open f USING (endpoint_id, subject)
    ), held_back AS (
        UPDATE deliveries d SET status = 'blocked', next_at = NULL
         WHERE d.merchant_id = $1 AND d.endpoint_id = ANY($2)
           AND d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM wanted WHERE behind))
           AND d.event_id = ANY (ARRAY(SELECT event_id FROM wanted WHERE behind))
    ), chosen AS MATERIALIZED (
        SELECT delivery_id, event_id FROM (
            SELECT endpoint_id, delivery_id, event_id, places,
                   row_number() OVER (PARTITION BY endpoint_id ORDER BY next_at, event_id) AS nth
              FROM wanted WHERE NOT behind) AS ranked
         WHERE nth <= places
    ), claimed AS (
        UPDATE deliveries d
           SET status = 'processing', next_at = NULL, queued_until = NULL, attempts = d.attempts + 1, tries = d.tries + 1,
               began_at = lease.at, lease_until = lease.ends_at, lease_version = d.lease_version + 1
          FROM lease
         WHERE d.merchant_id = $1 AND d.endpoint_id = ANY($2)
           AND d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM chosen))
           AND d.event_id = ANY (ARRAY(SELECT event_id FROM chosen))
        RETURNING d.endpoint_id, d.delivery_id, d.attempts, d.tries, d.lease_version, d.began_at
    )
    SELECT w.endpoint_id, w.delivery_id, w.behind, c.attempts, c.tries, c.lease_version, c.began_at,
           p.url, p.format, p.hidden, p.secret,
           CASE WHEN p.old_secret_until > kassa_now() THEN p.old_secret END AS old_secret,
           w.event_id, e.subject, e.sequence, e.type, e.version, e.occurred_at, e.data::text AS data,
           e.traceparent
      FROM wanted w
      LEFT JOIN claimed c ON c.endpoint_id = w.endpoint_id AND c.delivery_id = w.delivery_id
      LEFT JOIN endpoints p ON p.merchant_id = $1 AND p.endpoint_id = c.endpoint_id
      LEFT JOIN events e ON e.merchant_id = $1 AND c.delivery_id IS NOT NULL AND e.event_id = w.event_id
     ORDER BY w.next_at, w.event_id
"""
_CLAIM_NAMED = _CLAIM.format(picked=_NAMED)
_CLAIM_OLDEST = _CLAIM.format(picked=_NAMED + _OLDEST)


async def claim(
    tx: Tx,
    merchant_id: str,
    endpoint_ids: Sequence[uuid.UUID],
    timeout_s: float,
    *,
    event_ids: Sequence[uuid.UUID] = (),
    delivery_ids: Sequence[uuid.UUID] = (),
    oldest: bool = False,
) -> Taken:
    """Claim what may begin now at these endpoints, which are locked: of those named and, with `oldest`, of those due longest.

    One that must wait for an earlier one of its subject is blocked; one without room stays due.
    """
    rows = await tx.rows(
        _CLAIM_OLDEST if oldest else _CLAIM_NAMED,
        merchant_id, list(endpoint_ids), list(event_ids), list(delivery_ids), float(timeout_s + LEASE_BEYOND_S),
    )  # fmt: skip
    claimed = [_claimed(merchant_id, row) for row in rows if row["attempts"] is not None]
    waiting = [row for row in rows if row["attempts"] is None]
    left = [(row["endpoint_id"], row["delivery_id"]) for row in waiting if not row["behind"]]
    return Taken(claimed, left, len(waiting) - len(left), frozenset(row["event_id"] for row in rows))


def _claimed(merchant_id: str, row: Row) -> Claimed:
    event = Recorded(
        merchant_id, row["event_id"], row["subject"], row["sequence"], row["type"], row["version"], row["occurred_at"], row["data"],
        row["traceparent"],
    )  # fmt: skip
    return Claimed(
        merchant_id, row["endpoint_id"], row["delivery_id"], row["attempts"], row["tries"], row["lease_version"], row["began_at"],
        row["url"], row["format"], row["hidden"], row["secret"], row["old_secret"], event,
    )  # fmt: skip


# ── outcomes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_ENDED = """
    ended AS MATERIALIZED (
        SELECT e.*, moment.at + make_interval(secs => e.wait_s) AS again_at
          FROM moment, unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::float8[], $7::int[], $8::text[], $9::int[],
                              $10::text[], $11::text[])
            AS e (endpoint_id, delivery_id, lease_version, status, wait_s, status_code, error, duration_ms, response, last_error)
    ), alive AS (
        SELECT unnest($12::uuid[]) AS endpoint_id
    ), noted AS (
        UPDATE deliveries d
           SET status = e.status, lease_until = NULL, queued_until = NULL, last_status_code = e.status_code,
               last_error = coalesce(e.last_error, e.error),
               next_at = CASE e.status WHEN 'retrying' THEN e.again_at END,
               ended_at = CASE WHEN e.status IN ('success', 'failed') THEN moment.at END
          FROM ended e, moment
         WHERE d.merchant_id = $1 AND d.endpoint_id = e.endpoint_id AND d.delivery_id = e.delivery_id
           AND d.endpoint_id = ANY($2) AND d.delivery_id = ANY($3) AND d.event_id = ANY($13)
           AND d.status = 'processing' AND d.lease_version = e.lease_version
        RETURNING d.endpoint_id, d.delivery_id, d.subject, d.status, d.attempts, d.began_at
    ), tried AS (
        INSERT INTO delivery_attempts
               (merchant_id, endpoint_id, delivery_id, number, began_at, duration_ms, status_code, error, response)
        SELECT $1, n.endpoint_id, n.delivery_id, n.attempts, n.began_at, e.duration_ms, e.status_code, e.error, e.response
          FROM noted n JOIN ended e ON e.endpoint_id = n.endpoint_id AND e.delivery_id = n.delivery_id
    )
"""
_HEALED = """
    healed AS (
        UPDATE endpoints p
           SET failures = h.failures, throttled = h.throttled, paused_until = h.paused_until, pause_s = h.pause_s,
               attempts_since_success = h.attempts_since_success, good_at = h.good_at,
               status = CASE WHEN h.reason IS NULL THEN 'enabled' ELSE 'disabled' END, disabled_reason = h.reason,
               updated_at = CASE WHEN p.disabled_reason IS DISTINCT FROM h.reason THEN moment.at ELSE p.updated_at END
          FROM moment, unnest($14::uuid[], $15::int[], $16::bool[], $17::timestamptz[], $18::int[], $19::int[], $20::timestamptz[],
                              $21::text[])
            AS h (endpoint_id, failures, throttled, paused_until, pause_s, attempts_since_success, good_at, reason)
         WHERE p.merchant_id = $1 AND p.endpoint_id = h.endpoint_id AND p.endpoint_id = ANY($14)
    )
"""
_NOTE = f"""
    WITH {MOMENT}, {_ENDED}, {{healed}} {released_behind("noted")}
    SELECT delivery_id, true AS noted FROM noted UNION ALL SELECT delivery_id, false FROM released
"""
_NOTE_AS_BEFORE = _NOTE.format(healed="")
_NOTE_AND_HEALTH = _NOTE.format(healed=f"{_HEALED},")


@dataclass(frozen=True, slots=True)
class Noted:
    """Whose outcomes were written, and what may be looked at again because of them."""

    written: set[uuid.UUID]
    released: list[uuid.UUID]


async def note(
    tx: Tx,
    merchant_id: str,
    ended: Sequence[tuple[Ended, Verdict, str | None]],
    alive: Sequence[uuid.UUID],
    healths: dict[uuid.UUID, Health],
) -> Noted:
    """Write outcomes with their verdicts (and a last error of another kind), and how endpoints are that are not as they were.

    `alive` are those of the endpoints that may be called afterwards. An outcome whose lease went to another is not written: then
    `written` lacks it.
    """
    rows = await tx.rows(
        _NOTE_AND_HEALTH if healths else _NOTE_AS_BEFORE, merchant_id,
        *placeholders([_outcome(each, said, error) for each, said, error in ended], 10),
        list(alive), [each.claimed.event.event_id for each, _, _ in ended],
        *(placeholders([_health(endpoint_id, health) for endpoint_id, health in healths.items()], 8) if healths else ()),
    )  # fmt: skip
    return Noted({row["delivery_id"] for row in rows if row["noted"]}, [row["delivery_id"] for row in rows if not row["noted"]])


def _outcome(ended: Ended, said: Verdict, last_error: str | None) -> tuple[Any, ...]:
    claimed, outcome = ended.claimed, ended.outcome
    return (
        claimed.endpoint_id, claimed.delivery_id, claimed.lease_version, said.status, float(said.wait_s),
        outcome.status_code, outcome.error, outcome.duration_ms, outcome.response, last_error,
    )  # fmt: skip


def _health(endpoint_id: uuid.UUID, health: Health) -> tuple[Any, ...]:
    return (
        endpoint_id, health.failures, health.throttled, health.paused_until, health.pause_s, health.attempts_since_success,
        health.good_at, health.reason,
    )  # fmt: skip


# ── what is due ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def endpoints_with_due(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Endpoints of all merchants that have something due and room for it, the one that has waited longest first."""
    rows = await reader.rows(
        f"""
        SELECT p.merchant_id, p.endpoint_id FROM endpoints p
         CROSS JOIN LATERAL (
               SELECT d.next_at FROM deliveries d
                WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                  AND d.status IN ('pending', 'retrying') AND d.next_at <= kassa_now()
                ORDER BY d.next_at LIMIT 1) due
         WHERE p.deleted_at IS NULL AND p.status = 'enabled' AND NOT ({_PAUSED}) AND {_HELD} < {_PLACES}
         ORDER BY due.next_at LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def due_for_broker(reader: Reader, limit: int, each: int) -> list[Due]:
    """Due deliveries whose message is not on its way, at most `each` of an endpoint, oldest first.

    These are later attempts, replays and released ones, and first attempts that nobody made within a minute.
    """
    rows = await reader.rows(
        f"""
        SELECT p.merchant_id, p.endpoint_id, due.delivery_id, due.event_id FROM endpoints p
         CROSS JOIN LATERAL (
               SELECT * FROM (
                   SELECT d.* FROM deliveries d
                    WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                      AND d.status IN ('pending', 'retrying') AND d.next_at <= kassa_now()
                    ORDER BY d.next_at LIMIT $2) AS oldest
                WHERE queued_until <= now()
                   OR (queued_until IS NULL AND (attempts > 0 OR replayed OR next_at > created_at
                                                 OR next_at <= kassa_now() - interval '{QUEUED_S} seconds'))) due
         WHERE p.deleted_at IS NULL AND p.status = 'enabled' AND NOT ({_PAUSED}) AND {_HELD} < {_PLACES}
         ORDER BY due.next_at LIMIT $1
        """,
        limit, each,
    )  # fmt: skip
    return [Due(**dict(row.items())) for row in rows]


async def mark_queued(tx: Tx, merchant_id: str, due: Sequence[Due]) -> set[uuid.UUID]:
    """Note that these are given to the broker; returns those that are still due. Their endpoints are locked."""
    rows = await tx.rows(
        f"""
        UPDATE deliveries d SET queued_until = now() + interval '{QUEUED_S} seconds'
         WHERE d.merchant_id = $1 AND d.endpoint_id = ANY($2) AND d.delivery_id = ANY($3) AND d.event_id = ANY($4)
           AND d.status IN ('pending', 'retrying') AND (d.queued_until IS NULL OR d.queued_until <= now())
        RETURNING d.delivery_id
        """,
        merchant_id, list({each.endpoint_id for each in due}), [each.delivery_id for each in due],
        [each.event_id for each in due],
    )  # fmt: skip
    return {row["delivery_id"] for row in rows}
