"""Every question about what dead owners left, and about what became old.

Endpoints are found by plain reads over all merchants; what is changed is changed behind the lock of its endpoint.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.kit.database import Reader, Tx
from kassa.webhooks.delivery.model import KEPT
from kassa.webhooks.delivery.store import MOMENT, released_behind

# ── what dead owners left ────────────────────────────────────────────────────────────────────────────────────────────


async def endpoints_with_lapsed(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Endpoints of all merchants that have a delivery whose lease is over."""
    rows = await reader.rows(
        """
        SELECT DISTINCT merchant_id, endpoint_id FROM deliveries WHERE status = 'processing' AND lease_until < now()
         ORDER BY merchant_id, endpoint_id LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def reclaim(tx: Tx, merchant_id: str, endpoint_ids: Sequence[uuid.UUID], plan: int) -> int:
    """Count the attempts of lapsed leases as lost: due at once, or at their end after `plan` attempts; returns how many there were.

    The endpoints are locked.
    """
    return len(
        await tx.rows(
            f"""
            WITH {MOMENT}, alive AS (
                SELECT endpoint_id FROM endpoints
                 WHERE merchant_id = $1 AND endpoint_id = ANY($2) AND status = 'enabled' AND deleted_at IS NULL
            ), lost AS (
                UPDATE deliveries d
                   SET status = v.status, next_at = CASE v.status WHEN 'retrying' THEN moment.at END,
                       ended_at = CASE v.status WHEN 'failed' THEN moment.at END, lease_until = NULL,
                       lease_version = d.lease_version + 1, last_status_code = NULL,
                       last_error = CASE WHEN v.deleted THEN 'endpoint_deleted' ELSE 'cut' END
                  FROM moment, (
                       SELECT l.endpoint_id, l.delivery_id, p.deleted_at IS NOT NULL AS deleted,
                              CASE WHEN p.deleted_at IS NOT NULL OR l.tries >= $3 THEN 'failed'
                                   WHEN p.status = 'enabled' THEN 'retrying' ELSE 'blocked' END AS status
                         FROM deliveries l JOIN endpoints p ON p.merchant_id = l.merchant_id AND p.endpoint_id = l.endpoint_id
                        WHERE l.merchant_id = $1 AND l.endpoint_id = ANY($2) AND l.status = 'processing' AND l.lease_until < now()
                       ) AS v
                 WHERE d.merchant_id = $1 AND d.endpoint_id = v.endpoint_id AND d.delivery_id = v.delivery_id
                RETURNING d.endpoint_id, d.delivery_id, d.subject, d.status, d.attempts, d.began_at
            ), tried AS (
                INSERT INTO delivery_attempts (merchant_id, endpoint_id, delivery_id, number, began_at, error)
                SELECT $1, endpoint_id, delivery_id, attempts, began_at, 'cut' FROM lost
            ), {released_behind("lost")}
            SELECT delivery_id FROM lost
            """,
            merchant_id, list(endpoint_ids), plan,
        )
    )  # fmt: skip


# ── what became old ──────────────────────────────────────────────────────────────────────────────────────────────────

_OLD = f"interval '{KEPT.days} days'"


async def endpoints_left_over(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Disabled or deleted endpoints that have due deliveries all the same, and deleted ones that have blocked ones.

    An event that was recorded while its endpoint was being closed leaves them.
    """
    rows = await reader.rows(
        """
        SELECT p.merchant_id, p.endpoint_id FROM endpoints p
         WHERE (p.deleted_at IS NOT NULL OR p.status = 'disabled')
           AND EXISTS (SELECT FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                          AND d.status NOT IN ('success', 'failed') AND NOT d.replayed
                          AND (d.status IN ('pending', 'retrying') OR (d.status = 'blocked' AND p.deleted_at IS NOT NULL))
                       UNION ALL
                       SELECT FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                          AND d.status IN ('pending', 'retrying') AND d.next_at IS NOT NULL)
         ORDER BY p.merchant_id, p.endpoint_id LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def endpoints_with_forgotten(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Enabled endpoints where the first open delivery of a subject is blocked: it waits for nothing.

    An event that was recorded while its endpoint was being enabled leaves one.
    """
    rows = await reader.rows(
        """
        SELECT DISTINCT p.merchant_id, p.endpoint_id FROM endpoints p
         CROSS JOIN LATERAL (
               SELECT DISTINCT ON (o.subject) o.status FROM deliveries o
                WHERE o.merchant_id = p.merchant_id AND o.endpoint_id = p.endpoint_id
                  AND o.status NOT IN ('success', 'failed') AND NOT o.replayed
                ORDER BY o.subject, o.sequence) first
         WHERE p.deleted_at IS NULL AND p.status = 'enabled' AND first.status = 'blocked'
         ORDER BY p.merchant_id, p.endpoint_id LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def release_forgotten(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID) -> int:
    """Make the first open delivery of each subject due where it is blocked. The endpoint is locked; nothing while it is closed."""
    return await tx.execute(
        """
        UPDATE deliveries d SET status = 'pending', next_at = d.created_at, queued_until = now()
          FROM (SELECT DISTINCT ON (o.subject) o.delivery_id, o.status FROM deliveries o
                 WHERE o.merchant_id = $1 AND o.endpoint_id = $2
                   AND o.status NOT IN ('success', 'failed') AND NOT o.replayed
                   AND EXISTS (SELECT FROM endpoints p WHERE p.merchant_id = $1 AND p.endpoint_id = $2
                                  AND p.status = 'enabled' AND p.deleted_at IS NULL)
                 ORDER BY o.subject, o.sequence) AS first
         WHERE first.status = 'blocked' AND d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = first.delivery_id
        """,
        merchant_id, endpoint_id,
    )  # fmt: skip


async def endpoints_given_up(reader: Reader, limit: int, days: int, attempts: int) -> list[tuple[str, uuid.UUID]]:
    """Enabled endpoints that answered no 2xx for `days`, with at least so many attempts."""
    rows = await reader.rows(
        """
        SELECT merchant_id, endpoint_id FROM endpoints
         WHERE status = 'enabled' AND deleted_at IS NULL
           AND attempts_since_success >= $2 AND good_at <= kassa_now() - make_interval(days => $3)
         ORDER BY merchant_id, endpoint_id LIMIT $1
        """,
        limit, attempts, days,
    )  # fmt: skip
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def disable(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, reason: str) -> None:
    """Disable an endpoint, which is locked."""
    await tx.execute(
        """
        UPDATE endpoints SET status = 'disabled', disabled_reason = $3, updated_at = kassa_now()
         WHERE merchant_id = $1 AND endpoint_id = $2
        """,
        merchant_id, endpoint_id, reason,
    )  # fmt: skip


async def endpoints_with_old(reader: Reader, limit: int) -> list[tuple[str, uuid.UUID]]:
    """Endpoints of all merchants with deliveries that were blocked, or dead letters, for more than 90 days."""
    rows = await reader.rows(
        f"""
        SELECT p.merchant_id, p.endpoint_id FROM endpoints p
         WHERE EXISTS (SELECT FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                          AND d.status NOT IN ('success', 'failed') AND NOT d.replayed
                          AND d.status = 'blocked' AND p.status = 'disabled' AND d.created_at < kassa_now() - {_OLD}
                       UNION ALL
                       SELECT FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                          AND d.status = 'failed' AND d.ended_at < kassa_now() - {_OLD})
         ORDER BY p.merchant_id, p.endpoint_id LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["endpoint_id"]) for row in rows]


async def end_blocked(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, limit: int) -> int:
    """Make dead letters of deliveries that were blocked for 90 days at a disabled endpoint, which is locked; returns how many."""
    return await tx.execute(
        f"""
        UPDATE deliveries d SET status = 'failed', last_error = 'endpoint_disabled', queued_until = NULL, ended_at = kassa_now()
          FROM (SELECT o.delivery_id FROM deliveries o JOIN endpoints p USING (merchant_id, endpoint_id)
                 WHERE o.merchant_id = $1 AND o.endpoint_id = $2 AND o.status = 'blocked' AND p.status = 'disabled'
                   AND o.created_at < kassa_now() - {_OLD} LIMIT $3) AS old
         WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = old.delivery_id
        """,
        merchant_id, endpoint_id, limit,
    )  # fmt: skip


async def drop_dead(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, limit: int) -> int:
    """Drop dead letters that are older than 90 days, with their attempts. The endpoint is locked. Returns how many."""
    return len(
        await tx.rows(
            f"""
            WITH dropped AS (
                DELETE FROM deliveries d
                 USING (SELECT delivery_id FROM deliveries
                         WHERE merchant_id = $1 AND endpoint_id = $2 AND status = 'failed' AND ended_at < kassa_now() - {_OLD}
                         LIMIT $3) AS old
                 WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.delivery_id = old.delivery_id
                RETURNING d.delivery_id
            ), forgotten AS (
                DELETE FROM delivery_attempts a USING dropped
                 WHERE a.merchant_id = $1 AND a.endpoint_id = $2 AND a.delivery_id = dropped.delivery_id
            )
            SELECT delivery_id FROM dropped
            """,
            merchant_id, endpoint_id, limit,
        )
    )  # fmt: skip
