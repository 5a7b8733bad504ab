"""`kassa migrate --distribute`, against a real PostgreSQL with a stand-in for Citus.

The stand-in (`citus.sql`) spreads nothing. It has Citus' functions by their names, keeps a book of what they were told, and refuses the
tables and keys that Citus refuses: a unique key without the merchant, a foreign key that leads out of what lies together.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tests import rig

from kassa import distribute, migrate
from kassa.distribute import SHARED, CannotDistribute, Step

STAND_IN = (Path(__file__).parent / "citus.sql").read_text()
KEYS = "SELECT conname FROM pg_constraint WHERE contype = 'f' ORDER BY 1"


@pytest.fixture
def plain(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture
def citus(plain: str) -> str:
    """A database that takes itself for one of Citus."""
    name = plain.rsplit("/", 1)[1].split("?", maxsplit=1)[0]

    async def pretend() -> None:
        connection = await asyncpg.connect(plain)
        try:
            await connection.execute(STAND_IN)
            await connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, standin')
        finally:
            await connection.close()

    rig.run_alone(pretend)
    return plain


def spread(dsn: str) -> dict[str, str]:
    return {
        row["name"]: row["kind"]
        for row in rig.query(dsn, "SELECT table_name::text AS name, citus_table_type AS kind FROM standin.spread")
    }


def keys(dsn: str) -> list[str]:
    return [row["conname"] for row in rig.query(dsn, KEYS)]


def kassa(dsn: str, *given: str) -> subprocess.CompletedProcess[str]:
    environment = rig.clean_environment(DATABASE_URL=dsn)
    return subprocess.run(
        [sys.executable, "-m", "kassa", "migrate", *given], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def test_all_tables_are_spread_once_and_their_keys_stand_again(citus: str) -> None:
    before = keys(citus)
    told: list[Step] = []
    steps = asyncio.run(distribute.distribute(citus, lambda step, _: told.append(step)))
    assert told == steps
    found = spread(citus)
    tables = {
        row["relname"]
        for row in rig.query(citus, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    }
    assert set(found) == {name for name in tables if SHARED.get(name, ("distributed", ""))[0] != "local"}
    assert {name for name, kind in found.items() if kind == "reference"} == {
        n for n, (kind, _) in SHARED.items() if kind == "reference"
    }
    assert keys(citus) == before
    assert len(before) > 15
    assert asyncio.run(distribute.distribute(citus)) == []
    assert asyncio.run(distribute.plan(citus)) == []


@pytest.mark.parametrize("after", [1, 9, 60, -1])
def test_a_run_that_was_broken_off_is_gone_on_with(citus: str, after: int) -> None:
    before = keys(citus)
    steps = asyncio.run(distribute.plan(citus))
    done = steps[:after]

    async def begin() -> None:
        connection = await asyncpg.connect(citus)
        try:
            for step in done:
                async with connection.transaction():
                    for sql in step.sql:
                        await connection.execute(sql)
        finally:
            await connection.close()

    rig.run_alone(begin)
    again = asyncio.run(distribute.distribute(citus))
    assert {(step.act, step.name) for step in again} <= {(step.act, step.name) for step in steps}
    assert len(again) in {len(steps) - len(done), len(steps) - len(done) + 1}
    assert keys(citus) == before
    assert asyncio.run(distribute.plan(citus)) == []


def test_a_table_of_a_later_release_is_spread_alone(citus: str) -> None:
    asyncio.run(distribute.distribute(citus))
    rig.query(citus, "CREATE TABLE later (merchant_id text, id uuid, PRIMARY KEY (merchant_id, id))")
    rig.query(citus, "DELETE FROM standin.spread WHERE table_name = 'plans'::regclass")
    steps = asyncio.run(distribute.distribute(citus))
    assert [(step.act, step.name) for step in steps] == [("copy", "plans"), ("distribute", "later")]


def test_a_key_without_the_merchant_is_refused_and_nothing_is_lost(citus: str) -> None:
    rig.query(citus, "CREATE UNIQUE INDEX wrong ON orders (order_number)")
    before = keys(citus)
    with pytest.raises(CannotDistribute, match=r"orders.*wrong"):
        asyncio.run(distribute.distribute(citus))
    rig.query(citus, "DROP INDEX wrong")
    asyncio.run(distribute.distribute(citus))
    assert keys(citus) == before


def test_a_plain_postgresql_is_left_alone_with_one_line(plain: str) -> None:
    before = keys(plain)
    said = kassa(plain, "--distribute")
    assert said.returncode == 2
    assert "no extension citus" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert keys(plain) == before


def test_an_outdated_schema_is_refused(citus: str) -> None:
    rig.query(citus, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(migrate.SchemaOutdated):
        asyncio.run(distribute.distribute(citus))


def test_an_old_citus_is_refused(citus: str) -> None:
    rig.query(citus, "UPDATE pg_extension SET extversion = '10.2-1' WHERE extname = 'citus'")
    with pytest.raises(CannotDistribute, match=r"Citus 10\.2-1"):
        asyncio.run(distribute.plan(citus))


def test_tables_that_were_spread_otherwise_are_refused(citus: str) -> None:
    rig.query(citus, "INSERT INTO standin.spread VALUES ('orders', 'distributed', 'order_id', 'orders')")
    with pytest.raises(CannotDistribute, match="by order_id"):
        asyncio.run(distribute.plan(citus))


def test_nobody_works_meanwhile(citus: str) -> None:
    async def beside() -> None:
        connection = await asyncpg.connect(citus)
        try:
            assert await distribute.plan(citus)
            with pytest.raises(CannotDistribute, match="1 other sessions"):
                await distribute.distribute(citus)
        finally:
            await connection.close()

    rig.run_alone(beside)
    assert spread(citus) == {}


def test_a_plan_is_printed_and_nothing_done(citus: str) -> None:
    said = kassa(citus, "--distribute", "--plan")
    assert said.returncode == 0, said.stderr
    assert "SELECT create_distributed_table('merchants', 'merchant_id', colocate_with => 'none');" in said.stdout
    assert "SELECT create_distributed_table('orders', 'merchant_id', colocate_with => 'merchants');" in said.stdout
    assert spread(citus) == {}


def test_a_script_reads_what_was_done(citus: str) -> None:
    said = kassa(citus, "--distribute", "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["done"] is True
    assert {"copy", "distribute", "foreign key", "function"} <= {step["act"] for step in told["steps"]}
    assert "distribute  orders" in said.stderr
    assert "already" in kassa(citus, "--distribute").stdout


@pytest.mark.parametrize("given", [("--plan",), ("--check", "--distribute")])
def test_what_does_not_belong_together_is_said(plain: str, given: tuple[str, ...]) -> None:
    said = kassa(plain, *given)
    assert said.returncode == 2
    assert "belong" in said.stderr
