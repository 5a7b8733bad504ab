"""Migrations: one transaction, safe for many callers, and a clear word about a database that does not fit."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from tests import rig

from kassa import migrate


def look(dsn: str) -> None:
    rig.run_alone(lambda: migrate.check(dsn))


def test_an_empty_database_is_outdated_and_an_upgrade_mends_it(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    with pytest.raises(migrate.SchemaOutdated, match="run `kassa migrate`"):
        look(dsn)
    migrate.upgrade(dsn)
    look(dsn)
    migrate.upgrade(dsn.replace("postgresql://", "postgresql+asyncpg://"))
    look(dsn)


def test_eight_upgrades_at_once_are_one(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    command = [sys.executable, "-c", "import sys; from kassa import migrate; migrate.upgrade(sys.argv[1])", dsn]
    running = [subprocess.Popen(command, env=rig.clean_environment(), stderr=subprocess.PIPE) for _ in range(8)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    look(dsn)


def test_an_older_schema_is_outdated(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.fresh()
    rig.query(dsn, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(migrate.SchemaOutdated, match="at 0001"):
        look(dsn)


def test_a_newer_schema_is_left_alone(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.fresh()
    rig.query(dsn, "UPDATE alembic_version SET version_num = '9999'")
    rig.query(dsn, "COMMENT ON TABLE alembic_version IS 'kassa: code of 9998 or later'")
    with pytest.raises(migrate.SchemaTooNew, match="9999"):
        look(dsn)
    with pytest.raises(migrate.SchemaTooNew, match="9999"):
        migrate.upgrade(dsn)


@pytest.mark.parametrize("note", ["NULL", "'whatever'", "'kassa: code of  or later'"])
def test_a_newer_schema_that_does_not_say_whom_it_fits_is_left_alone(database_server: rig.DatabaseServer, note: str) -> None:
    dsn = database_server.fresh()
    rig.query(dsn, "UPDATE alembic_version SET version_num = '9999'")
    rig.query(dsn, f"COMMENT ON TABLE alembic_version IS {note}")
    with pytest.raises(migrate.SchemaTooNew, match="9999"):
        look(dsn)


def test_a_newer_schema_that_says_that_it_fits_will_do(database_server: rig.DatabaseServer) -> None:
    """A release was taken back and its schema stays. It is not this code's to change."""
    dsn = database_server.fresh()
    assert rig.query(dsn, "SELECT obj_description('alembic_version'::regclass) AS note") == [{"note": migrate.note_of_code()}]
    rig.query(dsn, "UPDATE alembic_version SET version_num = '9999'")
    look(dsn)
    with pytest.raises(migrate.SchemaTooNew, match="9999"):
        migrate.upgrade(dsn)


def test_an_upgrade_that_fails_leaves_no_trace(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    rig.query(dsn, "CREATE TABLE orders (mine int)")
    with pytest.raises(Exception, match="orders"):
        migrate.upgrade(dsn)
    tables = rig.query(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [row["tablename"] for row in tables] == ["alembic_version", "orders"]


@pytest.mark.parametrize("dsn", ["postgresql://me@127.0.0.1:1/shop", "postgresql://me@name.invalid/shop"])
def test_a_server_that_does_not_answer_is_the_wrong_server(dsn: str) -> None:
    with pytest.raises(migrate.WrongServer, match="does not answer"):
        look(dsn)
    with pytest.raises(migrate.WrongServer, match="does not answer"):
        migrate.upgrade(dsn)


def test_a_server_before_15_is_the_wrong_server() -> None:
    migrate.check_server(15)
    with pytest.raises(migrate.WrongServer, match="PostgreSQL 14; Kassa needs 15"):
        migrate.check_server(14)


async def test_a_connection_can_be_asked_too(kassa_dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(kassa_dsn)
    await migrate.check(connection)
    await connection.close()


def test_the_chain_of_revisions_has_one_end() -> None:
    known, head = migrate.revisions()
    assert head in known
    assert asyncio.iscoroutinefunction(migrate.check)


def test_alembics_own_command_line_does_the_same(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(
        command, cwd=rig.ROOT, env=rig.clean_environment(DATABASE_URL=dsn), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    look(dsn)
