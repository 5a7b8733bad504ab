"""How the machine is: what waits in its queues and for how long, who leads what, connections and sizes. Over all merchants."""

from __future__ import annotations

from collections.abc import Sequence

from kassa.desk.model import Queue, System
from kassa.kit.database import Reader

_LARGEST = 12

# Each by an index that holds only what waits; payments of orders are led by their checkouts.
_QUEUES = """
    SELECT 'purchases' AS name, count(*) AS count, extract(epoch FROM kassa_now() - min(next_at))::float8 AS late_s
      FROM checkouts WHERE next_at <= kassa_now()
    UNION ALL
    SELECT 'payments', count(*), extract(epoch FROM kassa_now() - min(next_ask_at))::float8
      FROM payments WHERE next_ask_at <= kassa_now() AND ref_kind <> 'order'
    UNION ALL
    SELECT 'refunds', count(*), extract(epoch FROM kassa_now() - min(next_at))::float8 FROM refunds WHERE next_at <= kassa_now()
    UNION ALL
    SELECT 'messages to buyers', count(*), extract(epoch FROM kassa_now() - min(next_at))::float8
      FROM notices WHERE status = 'pending' AND next_at <= kassa_now()
    UNION ALL
    SELECT 'reports of unknown payments', count(*), extract(epoch FROM kassa_now() - min(received_at))::float8
      FROM inbox_unmatched WHERE next_at IS NOT NULL
    UNION ALL
    SELECT 'attempts at Payme past their time', count(*),
           (extract(epoch FROM kassa_now()) * 1000 - min(deadline_ms))::float8 / 1000
      FROM payme_transactions WHERE state = 1 AND deadline_ms <= extract(epoch FROM kassa_now()) * 1000
"""
_LEASES = """
    SELECT 'the watch over invariants' AS name, nullif(lease_until, '-infinity') AS until,
           CASE WHEN place IS NULL THEN 'rests until its next look' ELSE 'looks, step ' || (place->>'step') END AS about
      FROM verify_look
    UNION ALL
    SELECT 'the relay of merchant ' || merchant_id, lease_until, (last - relayed) || ' events behind' FROM (
        SELECT * FROM feeds WHERE lease_until IS NOT NULL ORDER BY lease_until DESC LIMIT 20) f
"""
_CONNECTIONS = """
    SELECT coalesce(nullif(application_name, ''), 'unnamed') AS program, coalesce(state, 'hidden') AS state, count(*) AS count
      FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
     GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""
_SIZES = """
    SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes, greatest(c.reltuples, 0)::bigint AS rows
      FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
     ORDER BY 2 DESC LIMIT $1
"""


async def read_queues(reader: Reader) -> Sequence[Queue]:
    """What is due and not yet taken up, queue by queue."""
    return [Queue(row["name"], row["count"], max(0.0, row["late_s"] or 0.0)) for row in await reader.rows(_QUEUES)]


async def read_system(reader: Reader) -> System:
    """The present figures. The database's own catalogue is asked, whose small tables are read as a whole."""
    about = await reader.row(
        """
        SELECT pg_database_size(current_database()) AS bytes, split_part(current_setting('server_version'), ' ', 1) AS server,
               (SELECT string_agg(version_num, ', ') FROM alembic_version) AS schema,
               extract(epoch FROM kassa_now() - now())::float8 AS ahead_s, current_setting('max_connections')::int AS most
        """
    )
    assert about is not None
    return System(
        queues=await read_queues(reader),
        connections=[(row["program"], row["state"], row["count"]) for row in await reader.rows(_CONNECTIONS)],
        leases=[(row["name"], row["until"], row["about"]) for row in await reader.rows(_LEASES)],
        sizes=[(row["name"], row["bytes"], row["rows"]) for row in await reader.rows(_SIZES, _LARGEST)],
        database_bytes=about["bytes"],
        server=about["server"],
        schema=about["schema"] or "none",
        ahead_s=about["ahead_s"],
        max_connections=about["most"],
    )
