"""How Alembic reaches the database: for `kassa migrate` and for `alembic upgrade head` alike.

A second caller waits for the lock that the first one holds beside its work, and then finds nothing to do. An empty database is
filled in one transaction. In one that is in use each revision is a transaction of its own: what it locks is free again when it is
done, and a statement that waits longer than `LOCK_TIMEOUT_S` for a table in use gives up, lets the buyers behind it pass, and is
tried again.
"""

from __future__ import annotations

import random
import time
from typing import Any

import psycopg
from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from kassa import migrate
from kassa.cli.where import beside
from kassa.settings import Settings, SettingsError

LOCK_TIMEOUT_S = 0.7
"""How long one statement may wait for a lock, in seconds: behind a waiting ALTER TABLE every other query waits too."""
TRIES = 60
PAUSE_S = (0.2, 1.0)
"""Between two tries: long enough for those who waited behind the last one."""
_LOCK_NOT_AVAILABLE = "55P03"

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)"


def database_url() -> str:
    """The DSN that was handed over; on Alembic's own command line `DATABASE_URL`, else that of a `kassa dev` in this folder."""
    given = context.config.attributes.get("dsn")
    try:
        found = str(given) if given else beside(Settings.load(False, need=())).database_url
    except SettingsError as error:
        raise SystemExit(f"kassa: {error}") from None
    return found


def make_version_table(connection: Connection) -> None:
    """Make the table that will be locked. Two at once: the second finds it made."""
    try:
        with connection.begin():
            connection.execute(text(VERSION_TABLE))
    except (IntegrityError, ProgrammingError):
        with connection.begin():
            connection.execute(text(VERSION_TABLE))


def upgrade(guard: Connection, connection: Connection) -> None:
    """Wait for a running upgrade, look, then run what is missing on `connection`; `guard` holds the lock meanwhile."""
    with guard.begin():
        migrate.check_server(int(guard.execute(text("SHOW server_version_num")).scalar_one()) // 10000)
    make_version_table(guard)
    with guard.begin():
        guard.execute(text(f"SET LOCAL lock_timeout = '{migrate.WAIT_S}s'"))
        # It keeps out its like, and not the note of a revision that is done.
        guard.execute(text("LOCK TABLE alembic_version IN SHARE UPDATE EXCLUSIVE MODE"))
        found = {row[0] for row in guard.execute(text("SELECT version_num FROM alembic_version"))}
        migrate.refuse_unknown(found)
        if found:
            in_use(connection)
        else:
            with connection.begin():
                context.configure(connection=connection)
                context.run_migrations()
        guard.execute(text(f"COMMENT ON TABLE alembic_version IS '{migrate.note_of_code()}'"))


def in_use(connection: Connection) -> None:
    """Run what is missing, a transaction for each revision. One that could not have its lock leaves no trace and is tried again."""
    with connection.begin():
        connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_S * 1000:.0f}"))
    for left in reversed(range(TRIES)):
        context.configure(connection=connection, transaction_per_migration=True)
        try:
            context.run_migrations()
        except OperationalError as error:
            connection.rollback()
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or not left:
                raise
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - so that it does not come when something else always does
        else:
            return


def main() -> None:
    """Run against the database, or print the SQL when Alembic was asked for `--sql`."""
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    dsn = database_url()
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=NullPool)
    with engine.connect() as guard, engine.connect() as connection:
        guard.rollback()
        connection.rollback()
        upgrade(guard, connection)


def connect(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to where writes are taken, also where `dsn` names several addresses."""
    return psycopg.connect(dsn, connect_timeout=10, application_name="kassa migrate", target_session_attrs="read-write")


main()
