"""How Alembic reaches the database: for `kassa migrate` and for `alembic upgrade head` alike.

The whole upgrade is one transaction that begins by locking the version table, so a second caller waits and then finds
nothing to do. A statement that waits longer than `LOCK_TIMEOUT_S` for a table in use gives up, and the upgrade leaves no trace.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from kassa import migrate
from kassa.cli.where import beside
from kassa.settings import Settings, SettingsError

LOCK_TIMEOUT_S = 5
"""How long one statement may wait for a lock, in seconds: behind a waiting ALTER TABLE every other query waits too."""

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)"


def database_url() -> str:
    """The DSN that was handed over; on Alembic's own command line `DATABASE_URL`, else that of a `kassa dev` in this folder."""
    given = context.config.attributes.get("dsn")
    try:
        found = str(given) if given else beside(Settings.load(False, need=())).database_url
    except SettingsError as error:
        raise SystemExit(f"kassa: {error}") from None
    return found.replace("postgresql://", "postgresql+psycopg://", 1)


def make_version_table(connection: Connection) -> None:
    """Make the table that will be locked. Two at once: the second finds it made."""
    try:
        with connection.begin():
            connection.execute(text(VERSION_TABLE))
    except (IntegrityError, ProgrammingError):
        with connection.begin():
            connection.execute(text(VERSION_TABLE))


def upgrade(connection: Connection) -> None:
    """Wait for a running upgrade, look, then run what is missing."""
    with connection.begin():
        migrate.check_server(int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10000)
    make_version_table(connection)
    with connection.begin():
        connection.execute(text(f"SET LOCAL lock_timeout = '{migrate.WAIT_S}s'"))
        connection.execute(text("LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        migrate.refuse_unknown({row[0] for row in connection.execute(text("SELECT version_num FROM alembic_version"))})
        context.configure(connection=connection)
        context.run_migrations()


def main() -> None:
    """Run against the database, or print the SQL when Alembic was asked for `--sql`."""
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = create_engine(
        database_url(), poolclass=NullPool, connect_args={"connect_timeout": 10, "application_name": "kassa migrate"}
    )
    with engine.connect() as connection:
        connection.rollback()
        upgrade(connection)


main()
