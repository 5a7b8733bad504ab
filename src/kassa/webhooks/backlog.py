"""How far merchants are from being told everything: figures for an operator, over all merchants."""

from __future__ import annotations

from dataclasses import dataclass

from kassa.kit.database import Reader


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits.

    `waiting_s`: age of the oldest event that the broker has not confirmed. `late_s`: for how long the oldest due delivery has been
    due. `open`: deliveries that are not at their end, by state. `dead`: dead letters.
    """

    waiting_s: float
    late_s: float
    open: dict[str, int]
    dead: int


async def read_backlog(reader: Reader, *, broker: bool) -> Backlog:
    """The present figures; with `broker` also how far the relay is. It asks for each merchant and endpoint, not for each row."""
    waiting = await reader.value(_WAITING) if broker else None
    row = await reader.row(_DELIVERIES)
    assert row is not None
    counted = {status: row[status] for status in ("pending", "processing", "retrying", "blocked")}
    return Backlog(max(0.0, waiting or 0.0), max(0.0, row["late_s"] or 0.0), counted, row["dead"])


_WAITING = """
    SELECT extract(epoch FROM kassa_now() - min(least(
               (SELECT occurred_at FROM events e WHERE e.merchant_id = m.merchant_id AND e.place IS NULL ORDER BY event_id LIMIT 1),
               (SELECT occurred_at FROM events e WHERE e.merchant_id = m.merchant_id AND e.place > f.relayed ORDER BY place LIMIT 1)
           )))::float8
      FROM merchants m LEFT JOIN feeds f USING (merchant_id)
"""
_DELIVERIES = """
    SELECT extract(epoch FROM kassa_now() - min(d.due_at))::float8 AS late_s,
           coalesce(sum(d.pending), 0)::bigint AS pending, coalesce(sum(d.retrying), 0)::bigint AS retrying,
           coalesce(sum(d.processing), 0)::bigint AS processing, coalesce(sum(d.blocked), 0)::bigint AS blocked,
           coalesce(sum(d.dead), 0)::bigint AS dead
      FROM (
        SELECT (SELECT min(next_at) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status IN ('pending', 'retrying') AND w.next_at <= kassa_now()) AS due_at,
               (SELECT count(*) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status = 'pending') AS pending,
               (SELECT count(*) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status = 'retrying') AS retrying,
               (SELECT count(*) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status = 'processing') AS processing,
               (SELECT count(*) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status = 'blocked') AS blocked,
               (SELECT count(*) FROM deliveries w WHERE w.merchant_id = p.merchant_id AND w.endpoint_id = p.endpoint_id
                   AND w.status = 'failed') AS dead
          FROM endpoints p WHERE p.deleted_at IS NULL) d
"""
