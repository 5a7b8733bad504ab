"""The planner is told of tables that have grown, once each time."""

from __future__ import annotations

from tests.rig import DatabaseServer

from kassa.kit.database import Database
from kassa.kit.statistics import look_at_grown_tables


async def known(db: Database) -> int:
    found: int = await db.value("SELECT reltuples::int FROM pg_class WHERE relname = 'grows'")
    return found


async def fill(db: Database, rows: int) -> None:
    await db.execute("INSERT INTO grows SELECT n, repeat('x', 1000) FROM generate_series(1, $1::int) n", rows)


async def test_what_has_grown_is_looked_at_and_nothing_else(database_server: DatabaseServer) -> None:
    alone = await Database.connect(database_server.fresh(), size=2)
    await alone.execute("CREATE TABLE grows (number int, filler text) WITH (autovacuum_enabled = false)")
    while await look_at_grown_tables(alone):
        pass
    assert await known(alone) == -1, "a small table is not worth it"
    await fill(alone, 200)
    assert await look_at_grown_tables(alone) == 1
    assert await known(alone) == 200
    assert await look_at_grown_tables(alone) == 0
    await fill(alone, 200)
    assert await look_at_grown_tables(alone) == 0, "PostgreSQL sees to what grows slowly"
    await fill(alone, 600)
    assert await look_at_grown_tables(alone) == 1
    assert await known(alone) == 1000
    await alone.close()
