"""Spread the tables of a PostgreSQL with Citus over its servers by merchant, or say why it cannot be done.

`SHARED` names the tables that belong to no merchant, and how they live there; all others are distributed by `merchant_id`, and
their shards lie together. A test holds that against the schema, another every statement of the program. `plan` only looks;
`distribute` does what is left: each step is a transaction of its own, and a second call goes on where the first one stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg

from kassa import migrate
from kassa.kit.hosts import Hosts

Kind = Literal["distributed", "reference", "local"]
COLUMN: Final = "merchant_id"
ROOT: Final = "merchants"
"""The first table; the shards of all others lie beside its own."""
OLDEST_CITUS: Final = 11

SHARED: Final[dict[str, tuple[Kind, str]]] = {
    "alembic_version": ("local", "which migrations were made; nobody's data"),
    "clock": ("local", "the shift of the one clock; one row"),
    "verify_look": ("local", "how far the watch over all merchants is; one row"),
    "verify_found": ("local", "what the watch found, by invariant; about all merchants"),
    "inbox_unmatched": ("local", "reports of payments that nobody knows, so nobody knows whose they are (rulings, 22)"),
    "plans": ("reference", "what every merchant may subscribe to; what was bought is copied into the subscription"),
    "api_key_hashes": ("reference", "finds the merchant of a key, so it cannot be known before (rulings, 22)"),
    "sealed_keys": ("reference", "the installation's own keys; nobody's data"),
}
"""Tables outside the rule that every row says whose it is, each with its reason. `reference`: a copy on every server, so that it
can be joined anywhere; `local`: on the coordinator alone, and never joined with a distributed one."""

_NOTES = "kassa_foreign_keys"
_TABLES = """
    SELECT c.relname AS name, greatest(c.reltuples, 0)::int8 AS about FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'kassa_foreign_keys'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY c.relname
"""
_SPREAD = "SELECT table_name::text AS name, citus_table_type AS kind, distribution_column AS by FROM citus_tables"
_KEYS = """
    SELECT k.conrelid::regclass::text AS name, k.confrelid::regclass::text AS other, quote_ident(k.conname) AS key,
           pg_get_constraintdef(k.oid) AS definition
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relnamespace = 'public'::regnamespace ORDER BY 1, 3
"""
_FUNCTIONS = """
    SELECT p.oid::regprocedure::text AS name FROM pg_proc p
     WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'kassa\\_%'
       AND NOT EXISTS (SELECT FROM pg_dist_object o WHERE o.classid = 'pg_proc'::regclass AND o.objid = p.oid) ORDER BY 1
"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
       AND application_name NOT LIKE 'citus%'
"""


class CannotDistribute(migrate.SchemaError):
    """The tables cannot be spread; the text is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does to which table (or function, or key), in one transaction, and about how many rows that moves."""

    act: str
    name: str
    sql: tuple[str, ...]
    rows: int = 0


Tell = Callable[[Step, float], None]
"""Is told of each step that is done, and how many seconds it took."""


def kinds(tables: Iterable[str]) -> dict[str, Kind]:
    """How each of `tables` lives where they are spread."""
    return {name: SHARED[name][0] if name in SHARED else "distributed" for name in tables}


async def plan(dsn: str) -> list[Step]:
    """What is left to be done, in order; nothing when all tables are spread.

    Raises `CannotDistribute` without Citus, and what `migrate.check` raises when the schema is not of this code.
    """
    connection = await _connect(dsn)
    try:
        await _look(connection)
        return await _steps(connection)
    finally:
        await connection.close()


async def distribute(dsn: str, tell: Tell = lambda *_: None) -> list[Step]:
    """Do what is left to be done; returns the steps. Called again, it finds nothing to do, or goes on after a failure.

    Foreign keys are noted in a table, dropped, and made again at the end: no order of tables has all of them intact on the way.
    Raises as `plan` does; `CannotDistribute` also while anybody else is connected.
    """
    connection = await _connect(dsn)
    try:
        await _look(connection)
        steps = await _steps(connection)
        others = await connection.fetchval(_OTHERS) if steps else 0
        if others:
            raise CannotDistribute(f"{others} other sessions are connected: stop `kassa serve`, `rpc` and `work` first")
        for step in steps:
            began = time.monotonic()
            async with connection.transaction():
                for sql in step.sql:
                    await connection.execute(sql)
            tell(step, time.monotonic() - began)
    except asyncpg.PostgresError as error:
        raise CannotDistribute(f"it stopped, and goes on from there when it is run again: {error}") from error
    finally:
        await connection.close()
    return steps


async def _connect(dsn: str) -> Any:
    try:
        return await Hosts(migrate.plain(dsn)).connect(within_s=5, server_settings={"application_name": "kassa migrate"})
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise migrate.WrongServer(f"the database does not answer, or refuses: {error}") from None


async def _look(connection: Any) -> None:
    """Raise when the tables cannot be spread here."""
    await migrate.check(connection)
    version = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'citus'")
    if version is None:
        raise CannotDistribute(
            "this PostgreSQL has no extension citus: CREATE EXTENSION citus, and add its workers, or leave it as it is"
        )
    if int(version.split(".")[0]) < OLDEST_CITUS:
        raise CannotDistribute(f"this is Citus {version}; Kassa is written for {OLDEST_CITUS} or newer")
    for row in await connection.fetch(_SPREAD):
        if row["kind"] == "distributed" and row["by"] != COLUMN:
            raise CannotDistribute(f"{row['name']} is distributed by {row['by']}, not by {COLUMN}: undistribute it first")


async def _steps(connection: Any) -> list[Step]:
    about = {row["name"]: row["about"] for row in await connection.fetch(_TABLES)}
    wanted = kinds(about)
    spread = {row["name"] for row in await connection.fetch(_SPREAD)}
    left = {name for name, kind in wanted.items() if kind != "local" and name not in spread}
    functions = [row["name"] for row in await connection.fetch(_FUNCTIONS)]
    standing = await connection.fetch(_KEYS)
    begun = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"public.{_NOTES}")
    noted = await connection.fetch(f"SELECT name, key, definition FROM {_NOTES}") if begun else []
    away = [row for row in standing if {row["name"], row["other"]} & left]
    again = sorted({(row["name"], row["key"], row["definition"]) for row in [*noted, *away]})
    return [
        *(Step("function", name, (f"SELECT create_distributed_function('{name}')",)) for name in functions),
        *([_drop(away)] if away else []),
        *(_spread(name, wanted[name], about[name]) for name in sorted(left, key=lambda each: _turn(each, wanted))),
        *(_add(name, key, definition) for name, key, definition in again),
        *([Step("end", _NOTES, (f"DROP TABLE {_NOTES}",))] if begun or again else []),
    ]


def _turn(name: str, wanted: dict[str, Kind]) -> tuple[bool, bool, str]:
    """Copies first, then the root, then whatever lies beside it."""
    return wanted[name] != "reference", name != ROOT, name


def _drop(keys: list[Any]) -> Step:
    made = f"CREATE TABLE IF NOT EXISTS {_NOTES} (name text, key text, definition text, PRIMARY KEY (name, key))"
    noted = [
        f"INSERT INTO {_NOTES} VALUES ({_quoted(row['name'])}, {_quoted(row['key'])}, {_quoted(row['definition'])})" for row in keys
    ]
    dropped = [f"ALTER TABLE {row['name']} DROP CONSTRAINT {row['key']}" for row in keys]
    return Step("set aside", f"{len(keys)} foreign keys", (made, *noted, *dropped))


def _spread(name: str, kind: Kind, rows: int) -> Step:
    if kind == "reference":
        return Step("copy", name, (f"SELECT create_reference_table('{name}')",), rows)
    beside = "none" if name == ROOT else ROOT
    return Step("distribute", name, (f"SELECT create_distributed_table('{name}', '{COLUMN}', colocate_with => '{beside}')",), rows)


def _add(name: str, key: str, definition: str) -> Step:
    gone = f"DELETE FROM {_NOTES} WHERE name = {_quoted(name)} AND key = {_quoted(key)}"
    return Step("foreign key", f"{name}.{key}", (f"ALTER TABLE {name} ADD CONSTRAINT {key} {definition}", gone))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
