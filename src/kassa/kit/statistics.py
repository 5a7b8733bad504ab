"""What the planner knows of our tables, soon after they have grown.

PostgreSQL looks at a table by itself about a minute after it has changed much. Until then it plans as if the table were nearly
empty, and one that fills within that minute is searched through where an index would do. So what has grown fourfold is looked at.
"""

from __future__ import annotations

from kassa.kit.database import Database

_GROWN = """
    SELECT quote_ident(c.relname) AS name FROM pg_class c
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND pg_relation_size(c.oid) >= 8 * 8192
       AND pg_relation_size(c.oid) > 4 * 8192 * greatest(CASE WHEN c.reltuples < 0 THEN 0 ELSE c.relpages END, 1)
     ORDER BY 1
"""


_OLDEST = """
    SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::float8 FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND backend_xmin IS NOT NULL
"""


async def oldest_snapshot_s(db: Database) -> float:
    """For how many seconds the oldest open transaction keeps PostgreSQL from clearing up; those of other accounts may be hidden."""
    return float(await db.value(_OLDEST) or 0)


async def look_at_grown_tables(db: Database) -> int:
    """Let the planner look at tables that have grown since it last did; returns how many. Safe at any time and in any process."""
    grown = [row["name"] for row in await db.rows(_GROWN)]
    for name in grown:
        await db.execute(f"ANALYZE {name}")
    return len(grown)
