"""Indexes that are set aside while a table is filled, and made anew in one go afterwards: several times quicker than row by row.

It is the server's own mark for an index that is not ready. Only a superuser may set it; anybody else fills with the indexes in
place. A run that died half-way leaves marked indexes behind; the next one makes them anew, and so does `REINDEX`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

_MAY = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_ASIDE = "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = ANY($1::regclass[])"
_LARGEST_FIRST = """
    SELECT i.indexrelid::regclass::text FROM pg_index i
     WHERE i.indrelid = ANY($1::regclass[]) AND NOT i.indisready
     ORDER BY pg_relation_size(i.indrelid) DESC, i.indexrelid
"""
_ROOM = f"SET maintenance_work_mem = '{2000 if os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') > 2**33 else 256}MB'"
_ALONE = "SET max_parallel_maintenance_workers = 0"


@contextlib.asynccontextmanager
async def indexes_aside(connections: Sequence[Any], tables: list[str]) -> AsyncIterator[None]:
    """No index of these tables is kept while the block runs; after it all of them are made, and unique ones are checked."""
    first = connections[0]
    if await first.fetchval(_MAY):
        await first.execute(_ASIDE, tables)
    try:
        yield
    finally:
        names = [name for (name,) in await first.fetch(_LARGEST_FIRST, tables)]
        await asyncio.gather(*(_one_by_one(each, "REINDEX INDEX", names) for each in connections))


async def look_after(connections: Sequence[Any], tables: list[str]) -> None:
    """What the server does by itself in quiet hours: look at the tables for the planner, and note which pages all can see."""
    left = list(tables)
    await asyncio.gather(*(_one_by_one(each, "VACUUM (ANALYZE)", left) for each in connections))
    await connections[0].execute("ANALYZE")


async def _one_by_one(connection: Any, command: str, names: list[str]) -> None:
    """Take name after name; others take from the same list."""
    await connection.execute(_ROOM)
    await connection.execute(_ALONE)
    while names:
        await connection.execute(f"{command} {names.pop(0)}")
