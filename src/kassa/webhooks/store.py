"""Every question that endpoints ask the database.

Rows to be changed are named by an array and not by a join: a plan that was made while the tables were empty would compare each row
of the one with each of the other.

Whoever changes deliveries of an endpoint locks its row first, and works in a statement of its own behind that, whose snapshot is
fresh. An event's own statement takes no lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kassa.kit.database import Reader, Row, Tx
from kassa.webhooks.model import Attempt, Change, Delivery, Endpoint, Wish

_MADE = """
    delivery_made AS (
        INSERT INTO deliveries
            (merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, sequence, status, next_at, created_at)
        SELECT $1, p.endpoint_id, kassa_delivery_id(e.event_id, p.endpoint_id), e.event_id,
               e.type, e.subject, e.sequence,
               CASE p.status WHEN 'enabled' THEN 'pending' ELSE 'blocked' END,
               CASE p.status WHEN 'enabled' THEN kassa_now(){wait} END, kassa_now()
          FROM event_recorded e JOIN endpoints p ON p.merchant_id = $1 AND p.deleted_at IS NULL
         WHERE CASE e.type WHEN 'test.ping' THEN e.subject = 'endpoint:' || p.endpoint_id
                           ELSE p.events && ARRAY[e.type, split_part(e.type, '.', 1) || '.*', '*'] END
           AND (NOT p.hidden OR NOT EXISTS (SELECT FROM endpoints own WHERE own.merchant_id = $1
                                               AND NOT own.hidden AND own.deleted_at IS NULL))
        RETURNING 1)
"""


def delivery_made(first_wait_s: int = 0) -> str:
    """The part of an event's own statement that makes its deliveries, due after `first_wait_s` seconds, ± 20 % (rulings, 20)."""
    wait = f" + interval '{first_wait_s} seconds' * (0.8 + 0.4 * random())" if first_wait_s else ""
    return _MADE.format(wait=wait)


DELIVERY_MADE = delivery_made()
"""The same where the first attempt comes at once, as the usual plan says."""

STEP = 2000
"""Rows of one statement, so that nobody waits long for a lock on an endpoint with a long history."""
_ENDPOINT = (
    "merchant_id, endpoint_id, url, events, format, ordered, description, hidden, status, disabled_reason, secret, old_secret, "
    "old_secret_until, failures, throttled, paused_until, pause_s, attempts_since_success, good_at, created_at, updated_at, "
    "deleted_at"
)
_FIRST = "'00000000-0000-0000-0000-000000000000'::uuid"
"""An id below all others: a bound that is always there is always looked up in the index."""
_DELIVERY = (
    "merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, sequence, status, replayed, attempts, next_at, "
    "last_status_code, last_error, created_at, ended_at"
)
_WAITS = """
    d.status = 'pending' AND NOT d.replayed
    AND (SELECT ordered FROM endpoints p WHERE p.merchant_id = d.merchant_id AND p.endpoint_id = d.endpoint_id)
    AND d.sequence > (SELECT b.sequence FROM deliveries b WHERE b.merchant_id = d.merchant_id AND b.endpoint_id = d.endpoint_id
                         AND b.subject = d.subject AND b.status NOT IN ('success', 'failed') AND NOT b.replayed
                       ORDER BY b.sequence LIMIT 1)
"""
"""Whoever claims it will find that it has to wait for an earlier one."""
_SHOWN = f"""
    (SELECT d.merchant_id, d.endpoint_id, d.delivery_id, d.event_id, d.event_type, d.subject, d.sequence,
            CASE WHEN w.waits THEN 'blocked' ELSE d.status END AS status, d.replayed, d.attempts,
            CASE WHEN NOT w.waits THEN d.next_at END AS next_at, d.last_status_code, d.last_error, d.created_at, d.ended_at
       FROM deliveries d CROSS JOIN LATERAL (SELECT coalesce({_WAITS}, false) AS waits) w) AS shown
"""
"""Deliveries as merchants see them."""
_HEALTHY = (
    "failures = 0, throttled = false, paused_until = NULL, pause_s = 0, attempts_since_success = 0, "
    "good_at = greatest(good_at, kassa_now())"
)


def _endpoint(row: Row) -> Endpoint:
    return Endpoint(**{**dict(row.items()), "events": tuple(row["events"])})


def _delivery(row: Row) -> Delivery:
    return Delivery(**dict(row.items()))


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def find(reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False) -> Endpoint | None:
    """A merchant's endpoint, or None; with `hidden` also the operator's."""
    row = await reader.row(
        f"""
        SELECT {_ENDPOINT} FROM endpoints
         WHERE merchant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL AND (NOT hidden OR $3)
        """,
        merchant_id, endpoint_id, hidden,
    )  # fmt: skip
    return _endpoint(row) if row else None


async def lock(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False) -> Endpoint | None:
    """The same, locked: nobody else changes it or its deliveries until this transaction ends."""
    row = await tx.row(
        f"""
        SELECT {_ENDPOINT} FROM endpoints
         WHERE merchant_id = $1 AND endpoint_id = $2 AND deleted_at IS NULL AND (NOT hidden OR $3) FOR NO KEY UPDATE
        """,
        merchant_id, endpoint_id, hidden,
    )  # fmt: skip
    return _endpoint(row) if row else None


async def lock_any(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID) -> Endpoint | None:
    """The same for every endpoint that ever was, a deleted one too."""
    row = await tx.row(
        f"SELECT {_ENDPOINT} FROM endpoints WHERE merchant_id = $1 AND endpoint_id = $2 FOR NO KEY UPDATE", merchant_id, endpoint_id
    )
    return _endpoint(row) if row else None


async def endpoints_of(reader: Reader, merchant_id: str) -> list[Endpoint]:
    """The endpoints that a merchant made, oldest first."""
    rows = await reader.rows(
        f"""
        SELECT {_ENDPOINT} FROM endpoints WHERE merchant_id = $1 AND deleted_at IS NULL AND NOT hidden
         ORDER BY created_at, endpoint_id
        """,
        merchant_id,
    )
    return [_endpoint(row) for row in rows]


async def all_endpoints(reader: Reader, merchant_id: str | None, limit: int) -> list[Endpoint]:
    """The endpoints of one merchant or of all, the operator's too; for an operator."""
    rows = await reader.rows(
        f"""
        SELECT {_ENDPOINT} FROM endpoints WHERE deleted_at IS NULL AND ($1::text IS NULL OR merchant_id = $1)
         ORDER BY length(merchant_id), merchant_id, created_at, endpoint_id LIMIT $2
        """,
        merchant_id, limit,
    )  # fmt: skip
    return [_endpoint(row) for row in rows]


async def lock_merchants(tx: Tx, merchant_ids: Sequence[str]) -> None:
    """Let one transaction at a time make endpoints for these merchants: no row of ours is there to be locked before the first."""
    for merchant_id in sorted(set(merchant_ids)):
        await tx.execute("SELECT FROM merchants WHERE merchant_id = $1 FOR NO KEY UPDATE", merchant_id)


async def count_own(tx: Tx, merchant_id: str) -> int:
    """How many endpoints a merchant has, the operator's not counted."""
    found: int = await tx.value(
        "SELECT count(*) FROM endpoints WHERE merchant_id = $1 AND deleted_at IS NULL AND NOT hidden", merchant_id
    )
    return found


async def insert(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, wish: Wish, secret: bytes, *, hidden: bool = False
) -> Endpoint | None:
    """Write a new endpoint; None where the merchant has the operator's already."""
    row = await tx.row(
        f"""
        INSERT INTO endpoints (merchant_id, endpoint_id, url, events, format, ordered, description, hidden, secret,
                               good_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, kassa_now(), kassa_now(), kassa_now())
        ON CONFLICT (merchant_id) WHERE hidden AND deleted_at IS NULL DO NOTHING
        RETURNING {_ENDPOINT}
        """,
        merchant_id, endpoint_id, wish.url, list(wish.events), wish.format, wish.ordered, wish.description, hidden, secret,
    )  # fmt: skip
    return _endpoint(row) if row else None


async def update(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, change: Change) -> Endpoint:
    """Change what is named."""
    row = await tx.row(
        f"""
        UPDATE endpoints
           SET url = coalesce($3, url), events = coalesce($4, events), ordered = coalesce($5, ordered),
               description = CASE WHEN $7 THEN $6 ELSE description END, updated_at = kassa_now()
         WHERE merchant_id = $1 AND endpoint_id = $2
        RETURNING {_ENDPOINT}
        """,
        merchant_id, endpoint_id, change.url, None if change.events is None else list(change.events), change.ordered,
        change.description, change.describe,
    )  # fmt: skip
    assert row is not None
    return _endpoint(row)


async def restore_health(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID) -> None:
    """Forget failures, throttling and breaker: its five days begin now."""
    await tx.execute(f"UPDATE endpoints SET {_HEALTHY} WHERE merchant_id = $1 AND endpoint_id = $2", merchant_id, endpoint_id)


async def set_secret(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, secret: bytes, overlap_s: int, description: str | None = None
) -> Endpoint:
    """Sign with another secret, and for `overlap_s` with the one before, too; a still older one is forgotten."""
    row = await tx.row(
        f"""
        UPDATE endpoints
           SET secret = $3, old_secret = CASE WHEN $4 > 0 THEN secret END,
               old_secret_until = kassa_now() + make_interval(secs => CASE WHEN $4 > 0 THEN $4 END),
               description = coalesce($5, description), updated_at = kassa_now()
         WHERE merchant_id = $1 AND endpoint_id = $2
        RETURNING {_ENDPOINT}
        """,
        merchant_id, endpoint_id, secret, overlap_s, description,
    )  # fmt: skip
    assert row is not None
    return _endpoint(row)


async def set_status(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, reason: str | None) -> Endpoint:
    """Disable an endpoint for `reason`, or enable it for None: then its health begins anew."""
    row = await tx.row(
        f"""
        UPDATE endpoints
           SET status = CASE WHEN $3::text IS NULL THEN 'enabled' ELSE 'disabled' END, disabled_reason = $3,
               updated_at = kassa_now() {"" if reason else ", " + _HEALTHY}
         WHERE merchant_id = $1 AND endpoint_id = $2
        RETURNING {_ENDPOINT}
        """,
        merchant_id, endpoint_id, reason,
    )  # fmt: skip
    assert row is not None
    return _endpoint(row)


async def delete(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID) -> None:
    """Delete an endpoint. The row stays: its deliveries are a history."""
    await tx.execute(
        "UPDATE endpoints SET deleted_at = kassa_now(), updated_at = kassa_now() WHERE merchant_id = $1 AND endpoint_id = $2",
        merchant_id, endpoint_id,
    )  # fmt: skip


# ── deliveries of an endpoint whose state changed ────────────────────────────────────────────────────────────────────


async def end_open(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, limit: int) -> int:
    """End deliveries that will not be made any more; an attempt that is under way finds its lease gone. Returns how many."""
    return await tx.execute(
        """
        UPDATE deliveries d
           SET status = 'failed', last_error = 'endpoint_deleted', next_at = NULL, lease_until = NULL, queued_until = NULL,
               lease_version = lease_version + 1, ended_at = kassa_now()
         WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = ANY(ARRAY(
            (SELECT delivery_id FROM deliveries
              WHERE merchant_id = $1 AND endpoint_id = $2 AND status IN ('pending', 'retrying') LIMIT $3)
            UNION ALL
            (SELECT delivery_id FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2 AND status = 'processing' LIMIT $3)
            UNION ALL
            (SELECT delivery_id FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2 AND status = 'blocked' LIMIT $3)
         ))
        """,
        merchant_id, endpoint_id, limit,
    )  # fmt: skip


async def hold_due(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, limit: int) -> int:
    """Let due deliveries wait until their endpoint is enabled; returns how many."""
    return await tx.execute(
        """
        UPDATE deliveries d SET status = 'blocked', next_at = NULL, queued_until = NULL
         WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = ANY(ARRAY(
            SELECT delivery_id FROM deliveries
             WHERE merchant_id = $1 AND endpoint_id = $2 AND status IN ('pending', 'retrying') LIMIT $3))
        """,
        merchant_id, endpoint_id, limit,
    )  # fmt: skip


async def release_held(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> tuple[int, uuid.UUID | None]:
    """Make blocked deliveries behind `after` due now, oldest first; returns how many and the last.

    Whoever claims them sees to the order of their subjects.
    """
    row = await tx.row(
        f"""
        WITH held AS (
            SELECT delivery_id FROM deliveries
             WHERE merchant_id = $1 AND endpoint_id = $2 AND status = 'blocked' AND delivery_id > coalesce($3, {_FIRST})
             ORDER BY delivery_id LIMIT $4
        ), released AS (
            UPDATE deliveries d SET status = 'pending', next_at = kassa_now()
             WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = ANY(ARRAY(SELECT delivery_id FROM held))
               AND d.delivery_id > coalesce($3, {_FIRST})
               AND d.delivery_id <= (SELECT delivery_id FROM held ORDER BY delivery_id DESC LIMIT 1)
            RETURNING d.delivery_id
        )
        SELECT count(*) AS many, (array_agg(delivery_id ORDER BY delivery_id DESC))[1] AS last FROM released
        """,
        merchant_id, endpoint_id, after, limit,
    )  # fmt: skip
    assert row is not None
    return row["many"], row["last"]


# ── what merchants see of deliveries ─────────────────────────────────────────────────────────────────────────────────


async def find_delivery(reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Delivery | None:
    """One delivery of an endpoint, or None."""
    row = await reader.row(
        f"SELECT {_DELIVERY} FROM {_SHOWN} WHERE merchant_id = $1 AND endpoint_id = $2 AND delivery_id = $3",
        merchant_id, endpoint_id, delivery_id,
    )  # fmt: skip
    return _delivery(row) if row else None


async def delivery_anywhere(reader: Reader, merchant_id: str | None, delivery_id: uuid.UUID) -> Delivery | None:
    """One delivery by its id, of a merchant or (for an operator) of any: its event's id begins with the same 18 characters."""
    begin = str(delivery_id)[:18]
    row = await reader.row(
        f"""
        SELECT found.* FROM merchants m CROSS JOIN LATERAL (
            SELECT {_DELIVERY} FROM {_SHOWN}
             WHERE merchant_id = m.merchant_id AND event_id BETWEEN $2 AND $3 AND delivery_id = $1) found
         WHERE $4::text IS NULL OR m.merchant_id = $4 LIMIT 1
        """,
        delivery_id, uuid.UUID(begin + "-0000-000000000000"), uuid.UUID(begin + "-ffff-ffffffffffff"), merchant_id,
    )  # fmt: skip
    return _delivery(row) if row else None


async def page(
    reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, statuses: Sequence[str], before: uuid.UUID | None, limit: int
) -> list[Delivery]:
    """Deliveries of an endpoint, newest first, from behind `before`; of all states where none is named."""
    chosen = "AND status = ANY($5)" if statuses else "AND $5::text[] IS NOT NULL"
    rows = await reader.rows(
        f"""
        SELECT {_DELIVERY} FROM {_SHOWN}
         WHERE merchant_id = $1 AND endpoint_id = $2 AND ($3::uuid IS NULL OR delivery_id < $3) {chosen}
         ORDER BY delivery_id DESC LIMIT $4
        """,
        merchant_id, endpoint_id, before, limit, list(statuses),
    )  # fmt: skip
    return [_delivery(row) for row in rows]


async def attempts_of(reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> list[Attempt]:
    """The attempts of a delivery, the first one first."""
    rows = await reader.rows(
        """
        SELECT number, began_at, duration_ms, status_code, error, response FROM delivery_attempts
         WHERE merchant_id = $1 AND endpoint_id = $2 AND delivery_id = $3 ORDER BY number
        """,
        merchant_id, endpoint_id, delivery_id,
    )  # fmt: skip
    return [Attempt(**dict(row.items())) for row in rows]


async def deliveries_of(reader: Reader, merchant_id: str, event_ids: Sequence[uuid.UUID]) -> list[Delivery]:
    """The deliveries of some events, in the order of their making."""
    rows = await reader.rows(
        f"""
        SELECT {_DELIVERY} FROM {_SHOWN} WHERE merchant_id = $1 AND event_id = ANY($2)
         ORDER BY created_at, subject, sequence, delivery_id
        """,
        merchant_id, list(event_ids),
    )  # fmt: skip
    return [_delivery(row) for row in rows]


async def delivery_id(reader: Reader, event_id: uuid.UUID, endpoint_id: uuid.UUID) -> uuid.UUID:
    """The id of the delivery of an event to an endpoint, whether there is one or not."""
    found: uuid.UUID = await reader.value("SELECT kassa_delivery_id($1, $2)", event_id, endpoint_id)
    return found


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_AGAIN = "status = 'pending', next_at = kassa_now(), queued_until = NULL, tries = 0, replayed = true, ended_at = NULL"


async def replay_one(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Delivery | None:
    """Make a delivery due now, outside the order and with a new plan; None when it is being sent."""
    row = await tx.row(
        f"""
        UPDATE deliveries SET {_AGAIN}
         WHERE merchant_id = $1 AND endpoint_id = $2 AND delivery_id = $3 AND status <> 'processing'
        RETURNING {_DELIVERY}
        """,
        merchant_id, endpoint_id, delivery_id,
    )  # fmt: skip
    return _delivery(row) if row else None


async def release_next(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, subject: str) -> None:
    """Let the first blocked delivery of a subject be looked at again."""
    await tx.execute(
        """
        UPDATE deliveries d SET status = 'pending', next_at = kassa_now()
         WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = (
            SELECT delivery_id FROM deliveries
             WHERE merchant_id = $1 AND endpoint_id = $2 AND subject = $3
               AND status NOT IN ('success', 'failed') AND NOT replayed AND status = 'blocked'
             ORDER BY sequence LIMIT 1)
        """,
        merchant_id, endpoint_id, subject,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """One step of a replay: how many were made due, and where it ended; `last` None: nothing was left to look at."""

    replayed: int
    last: uuid.UUID | None


async def replay_step(
    tx: Tx,
    merchant_id: str,
    endpoint_id: uuid.UUID,
    status: str,
    since: datetime | None,
    until: datetime | None,
    after: uuid.UUID | None,
    newest: uuid.UUID,
    limit: int,
) -> Looked:
    """Look at the next `limit` deliveries behind `after`, up to `newest`, and make those due that fit."""
    row = await tx.row(
        f"""
        WITH looked AS (
            SELECT delivery_id, status, created_at FROM deliveries
             WHERE merchant_id = $1 AND endpoint_id = $2 AND delivery_id > coalesce($3, {_FIRST}) AND delivery_id <= $4
             ORDER BY delivery_id LIMIT $5
        ), last AS (
            SELECT delivery_id FROM looked ORDER BY delivery_id DESC LIMIT 1
        ), again AS (
            UPDATE deliveries d SET {_AGAIN}
             WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = ANY(ARRAY(
                SELECT delivery_id FROM looked
                 WHERE status = $6 AND ($7::timestamptz IS NULL OR created_at >= $7)
                   AND ($8::timestamptz IS NULL OR created_at <= $8)))
               AND d.delivery_id > coalesce($3, {_FIRST}) AND d.delivery_id <= (SELECT delivery_id FROM last)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM again) AS replayed,
               (SELECT delivery_id FROM last) AS last
        """,
        merchant_id, endpoint_id, after, newest, limit, status, since, until,
    )  # fmt: skip
    assert row is not None
    return Looked(row["replayed"], row["last"])


async def newest_delivery(reader: Reader, merchant_id: str, endpoint_id: uuid.UUID) -> uuid.UUID | None:
    """The newest delivery of an endpoint, or None."""
    found: uuid.UUID | None = await reader.value(
        "SELECT delivery_id FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2 ORDER BY delivery_id DESC LIMIT 1",
        merchant_id, endpoint_id,
    )  # fmt: skip
    return found


# ── the operator's default endpoint ──────────────────────────────────────────────────────────────────────────────────


async def hidden_endpoints(reader: Reader) -> list[Endpoint]:
    """The operator's endpoints of all merchants, oldest first; a plain read over merchants."""
    rows = await reader.rows(
        f"SELECT {_ENDPOINT} FROM endpoints WHERE hidden AND deleted_at IS NULL ORDER BY created_at, endpoint_id"
    )
    return [_endpoint(row) for row in rows]


async def oldest_hidden(reader: Reader, description: str) -> Endpoint | None:
    """The first of the operator's endpoints that was ever made and has this description, a deleted one too."""
    row = await reader.row(
        f"SELECT {_ENDPOINT} FROM endpoints WHERE hidden AND description = $1 ORDER BY created_at, endpoint_id LIMIT 1", description
    )
    return _endpoint(row) if row else None
