"""Bring a database to the schema of this code, or say in one line why it cannot be used as it is.

`upgrade` runs the Alembic revisions of `kassa/migrations` under a lock that makes a second caller wait and then find nothing left
to do; how, stands in `migrations/env.py`. `check` only looks: it is what `serve`, `work` and `/ready` ask. An upgrade notes in the
database which code may still work on it, so that a release can be taken back without its schema (decision 0045).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from kassa.kit.hosts import Hosts

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
OLDEST_SERVER = 15
OLDEST_CODE = "0029"
"""Code whose newest revision is this one, or a later one, may work on the schema of this code. A revision that takes something away
raises it to the revision from which on no code uses that."""
WAIT_S = 60
"""How long an upgrade waits for another one, in seconds."""


class SchemaError(Exception):
    """The database cannot be used as it is; the text is one line that says why and what to do."""


class SchemaOutdated(SchemaError):
    """The schema is older than this code needs."""


class SchemaTooNew(SchemaError):
    """The schema was made by newer code."""


class WrongServer(SchemaError):
    """The server is not a PostgreSQL that Kassa works with, or it does not answer."""


def plain(dsn: str) -> str:
    """The DSN as the database driver wants it: `postgresql+asyncpg://` and `postgres://` are accepted too."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", dsn)


def upgrade(dsn: str) -> None:
    """Bring the database at `dsn` to the newest schema; does nothing when it is there. Safe to call from many processes at once.

    Raises `WrongServer` when nobody usable answers, `SchemaTooNew` when newer code was here. A revision that fails leaves no trace,
    and an empty database stays empty; what was done before it stands, and the next upgrade goes on from there.
    """
    from alembic import command  # noqa: PLC0415 - half a second that only an upgrade should pay
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    try:
        command.upgrade(configuration(dsn), "head")
    except OperationalError as error:
        raise WrongServer(f"the database does not answer, or refuses: {_first_line(error.orig)}") from None


def configuration(dsn: str) -> Config:
    """What Alembic needs to know; `alembic.ini` says the same for its own command line."""
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["dsn"] = plain(dsn)
    return config


async def check(database: Any) -> None:
    """Compare the schema with this code. `database` is a DSN, or anything with asyncpg's `fetch`.

    A newer schema will do, if whoever made it noted that code like this one may work on it. Raises `SchemaOutdated`,
    `SchemaTooNew`, or `WrongServer` (older than PostgreSQL 15, or nobody answers).
    """
    if not isinstance(database, str):
        return await _look(database)
    try:
        connection = await Hosts(plain(database)).connect(within_s=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise WrongServer(f"the database does not answer, or refuses: {_first_line(error)}") from None
    try:
        await _look(connection)
    finally:
        await connection.close()
    return None


_SCHEMA = "SELECT version_num, obj_description('alembic_version'::regclass, 'pg_class') AS note FROM alembic_version"


async def _look(connection: Any) -> None:
    check_server(int((await connection.fetch("SELECT current_setting('server_version_num') AS version"))[0]["version"]) // 10000)
    tables = await connection.fetch("SELECT to_regclass('alembic_version') IS NOT NULL AS found")
    rows = await connection.fetch(_SCHEMA) if tables[0]["found"] else []
    compare({row["version_num"] for row in rows}, admitted_from(rows[0]["note"] if rows else None))


def check_server(version: int) -> None:
    """Raise `WrongServer` when the major `version` of the server is too old."""
    if version < OLDEST_SERVER:
        raise WrongServer(f"the server is PostgreSQL {version}; Kassa needs {OLDEST_SERVER} or newer")


def note_of_code() -> str:
    """What an upgrade notes at the table of revisions: which code may work on the schema."""
    return f"kassa: code of {OLDEST_CODE} or later"


def admitted_from(note: str | None) -> str | None:
    """The revision that code must have to work on the schema with this note; None where nobody noted it."""
    found = re.fullmatch(r"kassa: code of (\S+) or later", note or "")
    return found[1] if found else None


def compare(found: set[str], admitted: str | None = None) -> None:
    """Compare the revisions found in a database with those of this code. Raises `SchemaOutdated` or `SchemaTooNew`.

    `admitted`: code that has this revision fits a newer schema, too.
    """
    known, head = revisions()
    if found - known and admitted in known:
        return
    refuse_unknown(found)
    if found != {head}:
        at = f"at {', '.join(sorted(found))}" if found else "not there yet"
        raise SchemaOutdated(f"the schema is {at} and this Kassa needs {head}: run `kassa migrate`")


def refuse_unknown(found: set[str]) -> None:
    """Raise `SchemaTooNew` when a revision is found that this code does not have."""
    unknown = ", ".join(sorted(found - revisions()[0]))
    if unknown:
        raise SchemaTooNew(
            f"the schema is at {unknown}, which this Kassa does not know: run the newer Kassa, or use another database"
        )


@cache
def revisions() -> tuple[set[str], str]:
    """All revisions of this code and the newest one, read from the files themselves: the chain has no branches."""
    known, parents = set(), set()
    for file in (FOLDER / "versions").glob("[0-9]*.py"):
        names = dict(re.findall(r"^(revision|down_revision)\b[^=\n]*= *[\"']([^\"']+)[\"']", file.read_text(), re.MULTILINE))
        known.add(names["revision"])
        parents.add(names.get("down_revision"))
    (head,) = known - parents
    return known, head


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("connection failed: ").strip()
