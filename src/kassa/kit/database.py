"""The only place that opens a connection, begins a transaction or commits one.

`transaction(name)` gives a `Tx`; whoever takes a `tx` is part of that transaction. Writes left with `tx.later` travel as one
statement, and a transaction that is nothing else needs no `BEGIN`. Whatever was given to `tx.at_commit` runs last inside it.
Isolation is READ COMMITTED; conflicts are met by conditional updates and by row locks in one order (see ARCHITECTURE.md). An
outside call with a transaction open is refused by `kassa.kit.neighbour`, which asks `in_transaction`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar, cast

import asyncpg

from kassa.kit import blocked, crash, trace
from kassa.kit.errors import Busy, Unknown
from kassa.kit.figures import DATABASE_ERRORS, POOL_WAIT, TRANSACTION, timed
from kassa.kit.hand import Hand, open_pool
from kassa.kit.hosts import Hosts
from kassa.kit.lost import LOST, REFUSED, TRY_AGAIN
from kassa.kit.pulse import Pulse
from kassa.kit.writes import UNMET, Unmet, Write, compose

Row = asyncpg.Record
T = TypeVar("T")
ACQUIRE_S = 10.0
log = logging.getLogger("kassa.database")
_open: ContextVar[str | None] = ContextVar("kassa_open_transaction", default=None)

_BEGIN_WITHOUT_WAITING = "BEGIN; SET LOCAL synchronous_commit = off"
_ALONE = "one statement"


class DatabaseAway(Busy):
    """The database does not answer; nothing was written."""

    code = "unavailable"
    retry_after = 2


class Broken(DatabaseAway):
    """The database does not answer; nothing was written, and over another connection the same may go well."""


class Blocked(Busy):
    """Another transaction holds what this one needs; nothing was written."""

    code = "unavailable"


class CommitUnknown(Unknown):
    """The connection broke while committing: read again by id to learn whether it happened."""

    code = "commit_unknown"


def in_transaction() -> str | None:
    """The name of the transaction that is open in this task, if any."""
    return _open.get()


class Tx:
    """An open transaction. Parameters are written `$1`, `$2` and so on.

    `BEGIN` is sent with the first statement, so that `kassa_now()` is the moment of that one.
    """

    __slots__ = (
        "_after",
        "_alone",
        "_begun",
        "_last",
        "_lasting",
        "_left",
        "_restoring",
        "_written",
        "connection",
        "database",
        "notes",
        "reads_only",
    )

    def __init__(self, connection: Any, database: Database, *, alone: bool = False, lasting: bool = True) -> None:
        self.connection = connection
        self.database = database
        self._alone = self._begun = alone
        self._lasting = lasting
        self._left: list[tuple[Write, tuple[Any, ...]]] = []
        self._written: set[str] = set()
        self._last: dict[object, tuple[bool, Callable[[Tx], Awaitable[None]]]] = {}
        self._restoring: dict[object, Callable[[], None]] = {}
        self._after: dict[object, Callable[[], None]] = {}
        self.reads_only = False
        self.notes: dict[object, Any] = {}
        """What the rooms keep for the end of the transaction, each under a key of its own."""

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        """All rows of the answer."""
        found: list[Row] = await self._ask("fetch", sql, args)
        return found

    async def row(self, sql: str, *args: Any) -> Row | None:
        """The first row, or None."""
        found: Row | None = await self._ask("fetchrow", sql, args)
        return found

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        return await self._ask("fetchval", sql, args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run a statement; returns how many rows it touched."""
        return _touched(await self._ask("execute", sql, args))

    async def later(self, write: Write, *args: Any) -> None:
        """Leave `write` to be sent together with others: before the next question, at the latest right before the commit.

        What it expects is found out then; if it is not met, its error is raised and the transaction rolls back.
        """
        if not write.seen.isdisjoint(self._written):
            await self.send()
        self._left.append((write, args))
        self._written |= write.written

    async def send(self) -> None:
        """Send what is left by now. What it expects and does not meet is raised."""
        if self._left:
            if not self._begun:
                await self._begin()
            await self._send_left()

    async def now(self) -> datetime:
        """The present time of the one clock: the start of this transaction."""
        found: datetime = await self.value("SELECT kassa_now()")
        return found

    def at_commit(self, key: object, act: Callable[[Tx], Awaitable[None]], *, last: bool = False) -> None:
        """Run `act` as the last thing before the commit, once per `key`; one that is `last` behind all that are not."""
        self._last.setdefault(key, (last, act))

    def after_commit(self, key: object, act: Callable[[], None]) -> None:
        """Call `act` right after the commit, once per `key`: for what is only quicker with it. It must neither wait nor raise."""
        self._after.setdefault(key, act)

    def if_undone(self, key: object, restore: Callable[[], None]) -> None:
        """Call `restore` when the transaction fails; the first one given under a `key` counts."""
        self._restoring.setdefault(key, restore)

    def be_patient(self) -> None:
        """What is asked here may take as long as it needs, also when the database is silent for a while."""
        self.database.pulse.be_patient(self.connection)

    def port(self, kind: type[T]) -> T | None:
        """What bootstrap put behind the port `kind` for acts inside transactions, if anything."""
        return cast("T | None", self.database.ports.get(kind))

    async def finish(self) -> None:
        """Run what was given to `at_commit`; send what is left, unless that is the whole transaction. Called by the database."""
        for _, act in sorted(self._last.values(), key=_is_last):
            await act(self)
        if self._left and self._begun:
            await self.send()

    async def commit(self) -> None:
        """Commit: what is left, if that is all there is, in a single round trip. Called by the database."""
        if self._begun:
            await _commit(self.connection)
        elif self._left:
            try:
                await self._send_left()
            except LOST as error:
                raise CommitUnknown from error

    async def roll_back(self) -> None:
        """Undo what was sent. Called by the database."""
        if self._begun:
            await _rollback(self.connection)

    def announce(self) -> None:
        """Call what was given to `after_commit`. Called by the database when the transaction is committed."""
        for each in self._after.values():
            each()

    def restore(self) -> None:
        """Bring back in memory what this transaction had changed there. Called by the database when the transaction failed."""
        for each in self._restoring.values():
            each()

    async def _ask(self, how: str, sql: str, args: tuple[Any, ...]) -> Any:
        """One question. The first one of a transaction is asked once more on another connection when its own is found broken."""
        await self.send()
        first = not self._begun or (self._alone and sql.lstrip().startswith("SELECT"))
        while True:
            try:
                if not self._begun:
                    await self._begin()
                self.database.statements += 1
                return await timed(getattr(self.connection, how)(sql, *args))
            except LOST:
                if not first:
                    raise
            except asyncpg.PostgresError as error:
                if error.sqlstate != UNMET:
                    raise
                raise Unmet(error.args[0]) from None
            first = False
            self._begun = self._alone
            self.connection = await self.database.another(self.connection)

    async def _begin(self) -> None:
        await self.connection.execute("BEGIN" if self._lasting else _BEGIN_WITHOUT_WAITING)
        self._begun = True

    async def _send_left(self) -> None:
        writes, args = tuple(write for write, _ in self._left), [arg for _, given in self._left for arg in given]
        self._left = []
        self._written = set()
        self.database.statements += 1
        try:
            await timed(self.connection.fetchrow(compose(writes), *args))
        except asyncpg.LockNotAvailableError as error:
            hurried = next((write for write in writes if write.patience_s is not None), None)
            raise hurried.unmet() if hurried is not None and hurried.unmet is not None else error from error
        except asyncpg.PostgresError as error:
            unmet = (
                next((write.unmet for write in writes if write.name == error.args[0]), None) if error.sqlstate == UNMET else None
            )
            if unmet is None:
                raise
            raise unmet() from None


class Database:
    """A pool of connections. One per process."""

    def __init__(self, pool: asyncpg.Pool[Row], hosts: Hosts) -> None:
        self._pool = pool
        self._hand = Hand(pool)
        self.connections = self._hand.connections
        self._hosts = hosts
        self.pulse = Pulse(lambda: self.statements, lambda within_s: hosts.look(within_s=within_s), self._forget)
        self.ports: dict[type, Any] = {}
        self._blocked = blocked.Blocked(hosts)
        self.statements = 0
        """Statements sent so far, transaction control not counted: tests hold each route to its budget."""

    @classmethod
    async def connect(cls, dsn: str, *, size: int = 16, statement_timeout_s: int = 15) -> Database:
        """Open a pool of at most `size` connections to `dsn`. Raises `DatabaseAway` when nobody answers."""
        hosts = Hosts(dsn.replace("postgresql+asyncpg://", "postgresql://", 1))
        try:
            pool = await open_pool(hosts, size, statement_timeout_s)
        except (*LOST, TimeoutError) as error:
            raise DatabaseAway from error
        return cls(pool, hosts)

    async def close(self) -> None:
        """Close the pool, at most 5 s."""
        await self.pulse.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._hand.close()
                await self._pool.close()
                return
        self._pool.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self, name: str, *, lasting: bool = True) -> AsyncIterator[Tx]:
        """One transaction, committed at the end of the block and rolled back by any exception.

        Not `lasting`: its commit does not wait for the disk. It is seen by all at once, but a crash of the database itself may undo
        the last half second of such transactions. For what is then done again without harm, and nothing else.
        Raises `DatabaseAway` when nothing was written and `CommitUnknown` when that cannot be said.
        """
        outer = _open.get()
        if outer is not None:
            raise RuntimeError(f"transaction {name!r} inside {outer!r}")
        with trace.span(name):
            tx = Tx(await self._acquire(), self, lasting=lasting)
            token, began, whole = _open.set(name), time.perf_counter(), False
            try:
                try:
                    yield tx
                    await tx.finish()
                    crash.reach(name, "before_commit")
                except BaseException:
                    await tx.roll_back()
                    raise
                await tx.commit()
                crash.reach(name, "after_commit")
                tx.announce()
                whole = True
            except (*LOST, *TRY_AGAIN, *REFUSED) as error:
                tx.restore()
                if tx.reads_only and isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    raise  # a write in a snapshot: our mistake, not a standby's answer
                raise self._away(name, error, tx.connection) from error
            except BaseException:
                tx.restore()
                raise
            finally:
                _open.reset(token)
                await self._put_back(tx.connection, name, began, whole=whole)

    @contextlib.asynccontextmanager
    async def snapshot(self, name: str) -> AsyncIterator[Tx]:
        """Many questions about one moment: nothing can be written, what others commit meanwhile is not seen.

        A question may take as long as it needs. Raises `DatabaseAway`.
        """
        async with self.transaction(name) as tx:
            tx.be_patient()
            tx.reads_only = True
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await tx.execute("SET LOCAL statement_timeout = 0")
            yield tx

    async def at_once(self, name: str, sql: str, *args: Any, patience_s: float) -> Row | None:
        """One statement that is a whole transaction called `name`: a single round trip. The first row of its answer, or None.

        Raises `Blocked` when it has waited for another transaction for `patience_s` seconds, `Unmet` when the statement itself says
        that it must not be, `DatabaseAway` when nothing was written, and `CommitUnknown` when that cannot be said.
        """
        outer = _open.get()
        if outer is not None:
            raise RuntimeError(f"transaction {name!r} inside {outer!r}")
        with trace.span(name):
            connection, began, whole = await self._acquire(), time.perf_counter(), False
            try:
                crash.reach(name, "before_commit")
                self.statements += 1
                async with asyncio.timeout(None) as limit:
                    watch = asyncio.get_running_loop().call_later(
                        patience_s, self._blocked.look, connection.get_server_pid(), limit
                    )
                    try:
                        found: Row | None = await timed(connection.fetchrow(sql, *args))
                    finally:
                        watch.cancel()
                crash.reach(name, "after_commit")
                whole = True
            except TimeoutError:
                raise Blocked from None
            except (*TRY_AGAIN, *REFUSED) as error:
                raise self._away(name, error, connection) from error
            except LOST as error:
                raise CommitUnknown from error
            except asyncpg.PostgresError as error:
                if error.sqlstate != UNMET:
                    raise
                whole = True  # the statement has ended, and its transaction with it
                raise Unmet(error.args[0]) from None
            finally:
                await self._put_back(connection, name, began, whole=whole)
        return found

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
        tx = Tx(await self._acquire(), self, alone=True)
        began, whole = time.perf_counter(), False
        try:
            yield tx
            whole = True
        except (*LOST, *TRY_AGAIN, *REFUSED) as error:
            raise self._away(_ALONE, error, tx.connection) from error
        finally:
            await self._put_back(tx.connection, _ALONE, began, whole=whole)

    async def _acquire(self) -> Any:
        """A connection, waited for at most 10 s; a server that has none left is asked again until then."""
        until = time.monotonic() + ACQUIRE_S
        while True:
            if self.pulse.away:
                raise DatabaseAway
            connection = self._hand.take()
            if connection is None:
                try:
                    async with self.pulse.waiting(max(0.1, until - time.monotonic())):
                        connection = await self._hand.ask()
                except asyncpg.TooManyConnectionsError as error:
                    if time.monotonic() >= until:
                        raise _away("taking a connection", error) from error
                    await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - so that waiting processes do not knock together
                    continue
                except (*LOST, asyncpg.PostgresError, TimeoutError) as error:  # whatever keeps it from us, nothing was written
                    raise _away("taking a connection", error) from error
            self.pulse.begin(connection)
            POOL_WAIT.note(time.monotonic() - until + ACQUIRE_S)
            return connection

    async def another(self, connection: Any) -> Any:
        """A connection in the place of one that is broken. Called by a transaction of this database; raises `DatabaseAway`."""
        await self._release(connection)
        return await self._acquire()

    async def _put_back(self, connection: Any, name: str, began: float, *, whole: bool) -> None:
        TRANSACTION.note(time.perf_counter() - began, name)
        # Whatever was raised may have left a statement under way, which the pool waits for.
        if whole and self._hand.keep(connection):
            self.pulse.end(connection)
        else:
            await self._release(connection)

    async def _release(self, connection: Any) -> None:
        self.pulse.end(connection)
        await self._hand.release(connection)

    async def _forget(self) -> None:
        await self._pool.expire_connections()
        self._hand.drop()

    def _away(self, where: str, error: BaseException, connection: Any) -> DatabaseAway:
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            with contextlib.suppress(*LOST):
                connection.terminate()  # the next one may lead to where writes are taken
        return _away(where, error)


Reader = Database | Tx
"""Whatever a plain question can be asked of."""


def placeholders(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into `width` columns, for `unnest($1, $2, …)`: a hundred lines travel as one statement."""
    return [[row[i] for row in rows] for i in range(width)]


def _away(where: str, error: BaseException) -> DatabaseAway:
    # The class tells an operator what it was; the text could hold a value of a row.
    log.warning("database: %s: %s", where, type(error).__name__)
    DATABASE_ERRORS.labels(type(error).__name__).inc()
    kind = Broken if isinstance(error, (*LOST, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)) else DatabaseAway
    return kind("The database is busy; try again.") if isinstance(error, TRY_AGAIN) else kind()


async def _commit(connection: Any) -> None:
    try:
        await connection.execute("COMMIT")
    except LOST as error:
        raise CommitUnknown from error


async def _rollback(connection: Any) -> None:
    with contextlib.suppress(*LOST, asyncpg.PostgresError):
        if not connection.is_closed():
            await connection.execute("ROLLBACK")


def _is_last(given: tuple[bool, object]) -> bool:
    return given[0]


def _touched(tag: str) -> int:
    last = tag.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else 0
