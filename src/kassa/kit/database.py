"""The only place that opens a connection, begins a transaction or commits one.

`transaction(name)` gives a `Tx`; whoever takes a `tx` is part of that transaction. Whatever was given to
`tx.at_commit` runs last inside it. Isolation is READ COMMITTED; conflicts are met by conditional updates
and by row locks in one order (see ARCHITECTURE.md). An outside call with a transaction open is refused by
`kassa.kit.neighbour`, which asks `in_transaction`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import asyncpg
import orjson

from kassa.kit import crash
from kassa.kit.errors import Busy, Unknown

Row = asyncpg.Record
T = TypeVar("T")
ACQUIRE_S = 10.0
log = logging.getLogger("kassa.database")
_open: ContextVar[str | None] = ContextVar("kassa_open_transaction", default=None)

_LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's farewell arrived while the connection lay idle
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
)
_TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)


class DatabaseAway(Busy):
    """The database does not answer; nothing was written."""

    code = "unavailable"
    retry_after = 2


class CommitUnknown(Unknown):
    """The connection broke while committing: read again by id to learn whether it happened."""

    code = "commit_unknown"


def in_transaction() -> str | None:
    """The name of the transaction that is open in this task, if any."""
    return _open.get()


class Tx:
    """An open transaction. Parameters are written `$1`, `$2` and so on."""

    __slots__ = ("_connection", "_database", "_last", "notes")

    def __init__(self, connection: Any, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._last: dict[object, Callable[[Tx], Awaitable[None]]] = {}
        self.notes: dict[object, Any] = {}
        """What the rooms keep for the end of the transaction, each under a key of its own."""

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        """All rows of the answer."""
        self._database.statements += 1
        found: list[Row] = await self._connection.fetch(sql, *args)
        return found

    async def row(self, sql: str, *args: Any) -> Row | None:
        """The first row, or None."""
        self._database.statements += 1
        found: Row | None = await self._connection.fetchrow(sql, *args)
        return found

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        self._database.statements += 1
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run a statement; returns how many rows it touched."""
        self._database.statements += 1
        return _touched(await self._connection.execute(sql, *args))

    def at_commit(self, key: object, act: Callable[[Tx], Awaitable[None]]) -> None:
        """Run `act` as the last thing before the commit, once per `key`."""
        self._last.setdefault(key, act)

    def port(self, kind: type[T]) -> T | None:
        """What bootstrap put behind the port `kind` for acts inside transactions, if anything."""
        return cast("T | None", self._database.ports.get(kind))

    async def finish(self) -> None:
        """Run what was given to `at_commit`. Called by the database, once."""
        for act in self._last.values():
            await act(self)


class Database:
    """A pool of connections. One per process."""

    def __init__(self, pool: asyncpg.Pool[Row]) -> None:
        self._pool = pool
        self.ports: dict[type, Any] = {}
        self.statements = 0
        """Statements sent so far, transaction control not counted: tests hold each route to its budget."""

    @classmethod
    async def connect(cls, dsn: str, *, size: int = 16, statement_timeout_s: int = 15) -> Database:
        """Open a pool of at most `size` connections to `dsn`. Raises `DatabaseAway` when nobody answers."""
        try:
            pool = await asyncpg.create_pool(
                dsn.replace("postgresql+asyncpg://", "postgresql://", 1),
                min_size=min(2, size),
                max_size=size,
                init=_prepare,
                reset=_leave_as_is,
                timeout=5,
                max_inactive_connection_lifetime=300,
                server_settings={
                    "application_name": "kassa",
                    "statement_timeout": str(statement_timeout_s * 1000),
                    "idle_in_transaction_session_timeout": "30000",
                    "timezone": "UTC",
                    "jit": "off",
                    # A plan is kept for as long as its connection lives. Made while a table was small it would read the whole
                    # table ever after, the checks of foreign keys too; every question asked here has an index.
                    "enable_seqscan": "off",
                },
            )
        except (*_LOST, TimeoutError) as error:
            raise DatabaseAway from error
        return cls(pool)

    async def close(self) -> None:
        """Close the pool, at most 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._pool.close()
                return
        self._pool.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Tx]:
        """One transaction, committed at the end of the block and rolled back by any exception.

        Raises `DatabaseAway` when nothing was written and `CommitUnknown` when that cannot be said.
        """
        outer = _open.get()
        if outer is not None:
            raise RuntimeError(f"transaction {name!r} inside {outer!r}")
        connection = await self._acquire()
        token = _open.set(name)
        tx = Tx(connection, self)
        try:
            try:
                await connection.execute("BEGIN")
                yield tx
                await tx.finish()
                crash.reach(name, "before_commit")
            except BaseException:
                await _rollback(connection)
                raise
            await _commit(connection)
            crash.reach(name, "after_commit")
        except (*_LOST, *_TRY_AGAIN) as error:
            raise _away(name, error) from error
        finally:
            _open.reset(token)
            await self._release(connection)

    @contextlib.asynccontextmanager
    async def snapshot(self, name: str) -> AsyncIterator[Tx]:
        """Many questions about one moment: nothing can be written, what others commit meanwhile is not seen.

        A question may take as long as it needs. Raises `DatabaseAway`.
        """
        async with self.transaction(name) as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await tx.execute("SET LOCAL statement_timeout = 0")
            yield tx

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        """All rows of one statement outside any transaction."""
        async with self._alone() as tx:
            return await tx.rows(sql, *args)

    async def row(self, sql: str, *args: Any) -> Row | None:
        """The first row of one statement outside any transaction."""
        async with self._alone() as tx:
            return await tx.row(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        """The first value of one statement outside any transaction."""
        async with self._alone() as tx:
            return await tx.value(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run one statement in a transaction of its own."""
        async with self._alone() as tx:
            return await tx.execute(sql, *args)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[Tx]:
        connection = await self._acquire()
        try:
            yield Tx(connection, self)
        except (*_LOST, *_TRY_AGAIN) as error:
            raise _away("one statement", error) from error
        finally:
            await self._release(connection)

    async def _acquire(self) -> Any:
        """A connection, waited for at most 10 s; a server that has none left is asked again until then."""
        until = time.monotonic() + ACQUIRE_S
        while True:
            try:
                return await self._pool.acquire(timeout=max(0.1, until - time.monotonic()))
            except asyncpg.TooManyConnectionsError as error:
                if time.monotonic() >= until:
                    raise _away("taking a connection", error) from error
                await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - so that waiting processes do not knock together
            except (*_LOST, asyncpg.PostgresError, TimeoutError) as error:  # whatever keeps it from us, nothing was written
                raise _away("taking a connection", error) from error

    async def _release(self, connection: Any) -> None:
        with contextlib.suppress(*_LOST):
            await self._pool.release(connection)


Reader = Database | Tx
"""Whatever a plain question can be asked of."""


def placeholders(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into `width` columns, for `unnest($1, $2, …)`: a hundred lines travel as one statement."""
    return [[row[i] for row in rows] for i in range(width)]


def _away(where: str, error: BaseException) -> DatabaseAway:
    # The class tells an operator what it was; the text could hold a value of a row.
    log.warning("database: %s: %s", where, type(error).__name__)
    return DatabaseAway("The database is busy; try again.") if isinstance(error, _TRY_AGAIN) else DatabaseAway()


async def _commit(connection: Any) -> None:
    try:
        await connection.execute("COMMIT")
    except _LOST as error:
        raise CommitUnknown from error


async def _rollback(connection: Any) -> None:
    with contextlib.suppress(*_LOST, asyncpg.PostgresError):
        if not connection.is_closed():
            await connection.execute("ROLLBACK")


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
    )

    # `json`, unlike `jsonb`, keeps the members in the order in which they were sent.
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )


async def _leave_as_is(_connection: Any) -> None:
    # Nothing here sets a session variable, so the usual RESET ALL would be a round trip for nothing.
    return None


def _touched(tag: str) -> int:
    last = tag.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else 0
