"""The memory is no second truth: whatever a history said to it, a real PostgreSQL answers the same, statement by statement."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from tests.histories.memory import Said, Unplayable
from tests.histories.memory.schema import TABLES, known, read
from tests.histories.memory.server import compiled
from tests.histories.play import History
from tests.histories.steps import deal
from tests.histories.town import Town
from tests.rig import DatabaseServer, run_alone

from kassa.kit.hand import _prepare

CLOCK = """
    CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT current_setting('histories.now')::timestamptz $$;
    CREATE FUNCTION histories_clock() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT current_setting('histories.clock')::timestamptz $$;
    ALTER TABLE merchants ALTER created_at SET DEFAULT kassa_now();
    ALTER TABLE products ALTER created_at SET DEFAULT kassa_now(), ALTER updated_at SET DEFAULT kassa_now();
"""
WAITED = {"55P03", "57014", "40P01"}
"""Errors of who waited too long or for each other: what they said cannot be said again without waiting."""


def test_the_memory_knows_the_present_schema(kassa_dsn: str) -> None:
    """If not: `python -m tests.histories.memory.schema DSN` with the DSN of a migrated database."""
    found, wanted = run_alone(lambda: read(kassa_dsn)), known()
    assert {table for table in TABLES if found[table] != wanted.get(table)} == set()


@pytest.mark.parametrize(("seed", "kind"), [("c1", "own"), ("c2", "services"), ("c3", "products")])
def test_postgresql_answers_what_the_memory_answered(database_server: DatabaseServer, seed: str, kind: str) -> None:
    town = Town(seed, kind)
    heard = town.server.heard = []
    with town.open():
        history = History(town)
        for step in deal(random.Random(seed), kind, 24):
            history.take(step)
        assert history.rest() == []
        left = {table: town.server.of(table) for table in TABLES}
    assert len(heard) > 90
    dsn = database_server.fresh()
    run_alone(lambda: play_again(dsn, heard, left))


async def play_again(dsn: str, heard: Sequence[Said], left: dict[str, list[dict[str, Any]]]) -> None:
    sessions: dict[int, asyncpg.Connection] = {}
    first = await asyncpg.connect(dsn)
    await first.execute(CLOCK)
    try:
        for said in heard:
            if said.session not in sessions:
                sessions[said.session] = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
                await _prepare(sessions[said.session])
            await say_again(sessions[said.session], said)
        await _prepare(first)
        for table, rows in left.items():
            found = [tuple(row.values()) for row in await first.fetch(f"SELECT * FROM {table}")]
            wanted = [tuple(row.values()) for row in rows]
            assert in_any_order(found) == in_any_order(wanted), table
    finally:
        for connection in [first, *sessions.values()]:
            connection.terminate()


async def say_again(connection: asyncpg.Connection, said: Said) -> None:
    if said.sql in {"COMMIT", "ROLLBACK", "BEGIN"}:
        await connection.execute(said.sql)
        return
    if said.error in WAITED:
        return
    moments = [f"{moment:%Y-%m-%d %H:%M:%S.%f}+00" for moment in (said.now, said.clock)]
    await connection.execute("SELECT set_config('histories.now', $1, false), set_config('histories.clock', $2, false)", *moments)
    sql = re.sub(r"\bclock_timestamp\(\)", "histories_clock()", re.sub(r"(?<![a-z_])now\(\)", "kassa_now()", said.sql))
    try:
        # Who waits here waits for somebody who let go in the memory.
        found = await connection.fetch(sql, *said.args, timeout=10)
    except asyncpg.PostgresError as error:
        assert error.sqlstate == said.error, sql[:300]
        return
    assert said.error is None, sql[:300]
    rows, wanted = [as_told(tuple(row)) for row in found], [as_told(row) for row in said.rows or [] if row]
    if "ORDER BY" in sql.rpartition(")")[2]:
        assert rows == wanted, sql[:300]
    else:
        assert in_any_order(rows) == in_any_order(wanted), sql[:300]


def as_told(value: Any) -> Any:
    """Rows inside rows and lists as plain values."""
    if isinstance(value, asyncpg.Record | tuple):
        return tuple(as_told(each) for each in value)
    return [as_told(each) for each in value] if isinstance(value, list) else value


def in_any_order(rows: Sequence[Any]) -> list[str]:
    return sorted(repr([_shown(each) for each in as_told(row)]) for row in rows)


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return sorted((name, _shown(each)) for name, each in value.items())  # `jsonb` has an order of its own
    return str(value) if type(value).__name__ in {"UUID", "Decimal"} else value


@pytest.mark.parametrize(
    "sql",
    ["SELECT pg_sleep(1)", "SELECT * FROM clock", "SELECT a FROM orders GROUP BY a HAVING count(*) > 1", "TRUNCATE orders"],
)
def test_what_the_memory_does_not_know_it_refuses(sql: str) -> None:
    with pytest.raises(Unplayable):
        compiled(sql)
