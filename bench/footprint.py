"""`python -m bench.footprint --dsn DSN --orders N`: what an order takes on the disk, table by table, for docs/capacity.md.

The database must have some ended purchases (`kassa simulate`); `bench.fill` repeats them, and what tables and indexes have grown by
is divided by N. Nobody else may use the database.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import asyncpg

from bench.fill import fill

_SIZES = """
    SELECT c.relname AS name, pg_table_size(c.oid) AS rows, pg_indexes_size(c.oid) AS indexes
      FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""
_SHOWN = 20
"""Bytes an order; what grows by less is not shown."""


def main() -> int:
    """Fill the database and print a line for each table that grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    parser.add_argument(
        "--dsn", required=True, help="a database with some ended purchases; its user may set session_replication_role"
    )
    parser.add_argument("--orders", type=int, default=40_000, help="how many purchases to add")
    given = parser.parse_args()
    grown = asyncio.run(measured(given.dsn, given.orders))
    for name, (rows, indexes) in sorted(grown.items(), key=lambda each: -sum(each[1])):
        print(f"{name:24} {rows:8.0f} {indexes:8.0f} {rows + indexes:8.0f}")
    print(f"{'in all':24} {'':8} {'':8} {sum(map(sum, grown.values())):8.0f}")
    return 0


async def measured(dsn: str, orders: int) -> dict[str, tuple[float, float]]:
    """Bytes for each order: of rows and of indexes, by table."""
    connection = await asyncpg.connect(dsn)
    try:
        before = await _sizes(connection)
        await fill(dsn, orders)
        after = await _sizes(connection)
    finally:
        await connection.close()
    grown = {name: tuple((now - then) / orders for now, then in zip(after[name], before[name], strict=True)) for name in after}
    return {name: (rows, indexes) for name, (rows, indexes) in grown.items() if rows + indexes >= _SHOWN}


async def _sizes(connection: Any) -> dict[str, tuple[int, int]]:
    return {row["name"]: (row["rows"], row["indexes"]) for row in await connection.fetch(_SIZES)}


if __name__ == "__main__":
    raise SystemExit(main())
