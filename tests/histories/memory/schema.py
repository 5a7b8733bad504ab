"""What the memory must know of the real schema: columns, defaults, unique keys and checks, as PostgreSQL itself writes them.

`python -m tests.histories.memory.schema DSN` reads a migrated database and writes `schema.json` anew; a test compares the two.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg

FILE = Path(__file__).with_name("schema.json")
TABLES = (
    "audit_heads",
    "audit_log",
    "bought_lines",
    "card_watch",
    "cart_lines",
    "carts",
    "cases",
    "channels",
    "checkout_steps",
    "checkouts",
    "event_counters",
    "events",
    "idempotency_keys",
    "inbox",
    "inbox_unmatched",
    "ledger_entries",
    "ledger_postings",
    "merchants",
    "order_lines",
    "order_timeline",
    "orders",
    "payments",
    "products",
    "refund_lines",
    "refunds",
    "remote_stock",
    "reservations",
    "sealed_keys",
    "stock_journal",
    "stock_levels",
    "subscriptions",
)
"""The tables that histories touch."""

_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed,
           pg_get_expr(d.adbin, d.adrelid) AS standard
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE = """
    SELECT c.relname AS name, i.indisprimary AS first, pg_get_expr(i.indpred, i.indrelid) AS condition,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n) AS columns
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1::text::regclass AND i.indisunique ORDER BY c.relname
"""
_CHECKS = """
    SELECT conname AS name, pg_get_expr(conbin, conrelid) AS condition FROM pg_constraint
     WHERE conrelid = $1::text::regclass AND contype = 'c' ORDER BY conname
"""


async def read(dsn: str) -> dict[str, Any]:
    """The tables of a migrated database."""
    connection = await asyncpg.connect(dsn)
    try:
        return {
            table: {
                "columns": [dict(row) for row in await connection.fetch(_COLUMNS, table)],
                "unique": [dict(row) for row in await connection.fetch(_UNIQUE, table)],
                "checks": [dict(row) for row in await connection.fetch(_CHECKS, table)],
            }
            for table in TABLES
        }
    finally:
        await connection.close()


def known() -> dict[str, Any]:
    """What `schema.json` says."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(asyncio.run(read(sys.argv[1])), indent=1) + "\n")
