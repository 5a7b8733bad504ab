"""Sessions: what a pool of connections looks like to `kassa.kit.database`, with the memory behind it.

A statement happens at one moment, wholly or not at all. One that needs a row of another transaction waits for that one's end and
is then judged anew from its beginning.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import asyncpg
import sqlglot
from sqlglot import exp
from tests.histories.memory.changes import compile_change
from tests.histories.memory.expressions import Scope, Unplayable
from tests.histories.memory.selects import Query, compile_query
from tests.histories.memory.tables import Blocked, Row, Tables, Transaction, Values, Watch

STATEMENT_TIMEOUT_S = 15.0
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Record:
    """A row of an answer, as `asyncpg.Record` shows itself."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Sequence[str], values: tuple[Any, ...]) -> None:
        self._names, self._values = names, values

    def __getitem__(self, which: str | int) -> Any:
        if isinstance(which, str):
            try:
                return self._values[self._names.index(which)]
            except ValueError:
                raise KeyError(which) from None
        return self._values[which]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> Sequence[str]:
        return self._names

    def values(self) -> tuple[Any, ...]:
        return self._values

    def items(self) -> Iterator[tuple[str, Any]]:
        return zip(self._names, self._values, strict=True)

    def __repr__(self) -> str:
        return f"<Record {dict(self.items())}>"


@dataclass(frozen=True)
class Statement:
    """A compiled statement: its parts in their order, then what it answers."""

    parts: list[tuple[str, Query]]
    main: Query
    word: str


@functools.lru_cache(maxsize=2000)
def compiled(sql: str) -> Statement:
    """A statement as something that can be run. Raises `Unplayable`."""
    node = sqlglot.parse_one(sql, read="postgres")
    scope = Scope(compile_query=compile_query)
    parts = []
    told = node.args.get("with_")
    for part in told.expressions if told is not None else ():
        query = _compile(part.this, scope)
        scope.parts[part.alias] = query.columns
        parts.append((part.alias, query))
    if told is not None:
        node.set("with_", None)
    return Statement(parts, _compile(node, scope), type(node).__name__.upper())


def _compile(node: Any, scope: Scope) -> Query:
    return compile_change(node, scope) if isinstance(node, exp.Insert | exp.Update | exp.Delete) else compile_query(node, scope)


class Parts(dict[str, list[Values]]):
    """The parts of a `WITH`: each runs when somebody draws from it; one that writes and that nobody draws from runs last."""

    def __init__(self, statement: Statement, env: dict[str, Any]) -> None:
        super().__init__()
        self._queries, self._env = {f"@{name}": query for name, query in statement.parts}, env

    def __missing__(self, name: str) -> list[Values]:
        query = self._queries[name]
        found = self[name] = [dict(zip(query.columns, row, strict=True)) for row in query.rows(self._env)]
        return found


class Run:
    """One statement while it runs: its parameters and moment, and the writes that wait for its end."""

    def __init__(self, session: Connection, args: Sequence[Any], now: datetime) -> None:
        self.args, self.now, self.clock = args, now, session.server.clock()
        self.tables, self.transaction, self._session = session.server.tables, session.transaction, session
        self.parts: Mapping[str, list[Values]] = {}
        self._changed: dict[int, tuple[str, Row, Values | None]] = {}
        self._new: list[tuple[str, Values]] = []

    def lock(self, table: str, row: Row) -> None:
        """Hold a row until the transaction ends. Raises `Blocked`."""
        assert self.transaction is not None
        self.tables[table].lock(row, self.transaction)

    def alike(self, table: str, values: Values, index: Any, besides: Row | None = None) -> Row | None:
        """A row, old or of this very statement, with the same key."""
        _, columns, condition = index
        for name, other in self._new:
            if name == table and all(values[column] is not None and values[column] == other[column] for column in columns):
                env = {table: values, "$": self}
                if condition is None or (condition(env) is True and condition({table: other, "$": self}) is True):
                    raise Unplayable(f"one statement puts the same key into {table} twice")
        found = self.tables[table].alike(values, self, index, besides=besides)
        return found

    def put(self, table: str, values: Values) -> Values:
        """A new row, when the statement has ended."""
        self.tables[table].check(values, self)
        self._new.append((table, values))
        return values

    def change(self, table: str, row: Row, after: Values | None) -> None:
        """A row as it is when the statement has ended; None: gone."""
        self.lock(table, row)
        if id(row) in self._changed:
            raise Unplayable(f"one statement changes a row of {table} twice")
        if after is not None:
            self.tables[table].check(after, self)
            before = row.draft or {}
            for index in self.tables[table].unique:
                may_meet = index[2] is not None or any(before[column] != after[column] for column in index[1])
                if may_meet and self.alike(table, after, index, besides=row) is not None:
                    raise asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{index[0]}"')
        self._changed[id(row)] = (table, row, after)

    def configure(self, name: str, value: str) -> str:
        """`set_config`: the time limit of locks, in whole seconds; nothing else is known."""
        if name != "lock_timeout" or int(value) % 1000 or int(value) >= 60_000:
            raise Unplayable(f"set_config {name}")
        self._session.lock_timeout_s = int(value) / 1000
        return f"{int(value) // 1000}s" if int(value) else "0"

    def apply(self) -> int:
        """The statement has ended; returns how many rows it wrote."""
        assert self.transaction is not None
        for _, row, after in self._changed.values():
            row.draft = after
        for table, values in self._new:
            self.tables[table].put(self.transaction, values)
        return len(self._changed) + len(self._new)


@dataclass(frozen=True)
class Said:
    """One statement as it was said and answered: what the comparison with PostgreSQL plays again."""

    session: int
    sql: str
    args: tuple[Any, ...]
    now: datetime
    clock: datetime
    rows: list[tuple[Any, ...]] | None
    error: str | None = None


class Host(Protocol):
    """The process whose connections these are: it may be slow, stand still, or die around any statement."""

    async def before(self, what: str) -> None:
        """Right before a statement is done."""
        ...

    async def after(self, what: str) -> None:
        """Done, and the answer is not back yet."""
        ...


@dataclass
class Server:
    """The database: what is in it, the time, and how often it was written to."""

    time: Callable[[], float]
    tables: Tables = field(default_factory=Tables)
    commits: int = 0
    heard: list[Said] | None = None
    """What was said, while somebody wants to know."""
    watch: Watch | None = None
    """Is shown each row that a commit makes another: its table, how it was (None: not there), and how it is."""
    sessions: int = 0
    unplayable: list[str] = field(default_factory=list)
    """Statements that the memory could not run: a history with one of them has shown nothing."""

    def clock(self) -> datetime:
        """The time of the database."""
        return BEGINNING + timedelta(microseconds=round(self.time() * 1_000_000))

    def of(self, table: str) -> list[Values]:
        """The committed rows of a table."""
        return self.tables.of(table)


class Connection:
    """One session, as `asyncpg.Connection` shows itself to the kit."""

    def __init__(self, server: Server, host: Host) -> None:
        self.server, self.host = server, host
        server.sessions += 1
        self.number = server.sessions
        self.transaction: Transaction | None = None
        self.lock_timeout_s = 0.0
        self._open = False
        self._failed = False
        self._closed = False
        self._now = server.clock()

    def is_closed(self) -> bool:
        return self._closed

    def is_in_transaction(self) -> bool:
        return self.transaction is not None

    def terminate(self) -> None:
        self.drop()

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        query, rows, _ = await self._statement(sql, args)
        return [Record(query.columns, row) for row in rows] if query.columns else []

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        found = await self.fetch(sql, *args)
        return found[0] if found else None

    async def fetchval(self, sql: str, *args: Any) -> Any:
        found = await self.fetchrow(sql, *args)
        return found[0] if found is not None else None

    async def execute(self, sql: str, *args: Any) -> str:
        if sql.startswith("BEGIN"):
            return self._begin()
        if sql in {"COMMIT", "ROLLBACK"}:
            return await self._end(commit=sql == "COMMIT")
        query, rows, word = await self._statement(sql, args)
        return f"{word} {len(rows)}" if query.writes or word == "SELECT" else f"{word} 0"

    def drop(self) -> None:
        """The other side has gone: whatever was not committed never was."""
        self._closed = True
        if self._open:
            self._finish(commit=False)
        elif self.transaction is not None:
            self._quietly_end(commit=False)

    def _begin(self) -> str:
        # Sent together with the first statement as far as time goes; nothing can be seen of it from outside.
        self._open, self._failed, self.transaction = True, False, Transaction()
        self._now = self.server.clock()
        self._note("BEGIN", (), None)
        return "BEGIN"

    async def _end(self, *, commit: bool) -> str:
        if not self._open:
            return "ROLLBACK"
        await self._meet(self.host.before, "COMMIT" if commit else "ROLLBACK")
        self._finish(commit=commit and not self._failed)
        await self._meet(self.host.after, "COMMIT" if commit else "ROLLBACK")
        return "COMMIT"

    async def _meet(self, moment: Callable[[str], Awaitable[None]], what: str) -> None:
        """Whatever happens to the process around a statement; a connection that breaks is not used again."""
        try:
            await moment(what)
        except BaseException:
            self.drop()
            raise

    def _finish(self, *, commit: bool) -> None:
        transaction, self.transaction = self.transaction, None
        self._open, self.lock_timeout_s = False, 0.0
        assert transaction is not None
        self._note("COMMIT" if commit else "ROLLBACK", (), None)
        if commit and transaction.rows:
            self.server.commits += 1
        transaction.end(commit=commit, watch=self.server.watch)

    async def _statement(self, sql: str, args: tuple[Any, ...]) -> tuple[Query, list[tuple[Any, ...]], str]:
        statement = self._compiled(sql)
        await self._meet(self.host.before, statement.word)
        alone = not self._open
        if alone:
            self.transaction, self._failed, self._now = Transaction(), False, self.server.clock()
        elif self._failed:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        try:
            rows = await self._patiently(statement, sql, args)
        except BaseException as error:
            self._failed = True
            if alone:
                self._quietly_end(commit=False)
            if isinstance(error, asyncpg.PostgresError):
                await self._meet(self.host.after, statement.word)
            raise
        if alone:
            self._quietly_end(commit=True)
        await self._meet(self.host.after, statement.word)
        return statement.main, rows, statement.word

    def _compiled(self, sql: str) -> Statement:
        try:
            return compiled(sql)
        except Unplayable as error:
            self.server.unplayable.append(f"{error}\n{sql}")
            raise

    def _quietly_end(self, *, commit: bool) -> None:
        transaction, self.transaction = self.transaction, None
        self.lock_timeout_s = 0.0
        if transaction is not None:
            if commit and transaction.rows:
                self.server.commits += 1
            transaction.end(commit=commit, watch=self.server.watch)

    async def _patiently(self, statement: Statement, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The statement, as often as it must wait for somebody."""
        left_s = STATEMENT_TIMEOUT_S
        while True:
            run = Run(self, args, self._now)
            try:
                rows = self._run(statement, run)
            except Blocked as blocked:
                began = self.server.time()
                await self._wait(blocked.holder, left_s)
                left_s -= self.server.time() - began
                continue
            except Unplayable as error:
                self.server.unplayable.append(f"{error}\n{sql}")
                raise
            except asyncpg.PostgresError as error:
                self._note(sql, args, None, error=error.sqlstate)
                raise
            self._note(sql, args, rows)
            return rows

    def _run(self, statement: Statement, run: Run) -> list[tuple[Any, ...]]:
        env: dict[str, Any] = {"$": run}
        run.parts = Parts(statement, env)
        rows = statement.main.rows(env)
        for name, query in statement.parts:
            if query.writes:
                run.parts[f"@{name}"]
        run.apply()
        return rows

    async def _wait(self, holder: Transaction, left_s: float) -> None:
        mine = self.transaction
        assert mine is not None
        other: Transaction | None = holder
        while other is not None:
            if other is mine:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            other = other.waits_for
        ended = asyncio.get_running_loop().create_future()
        holder.waiting.append(ended)
        mine.waits_for = holder
        limit = self.lock_timeout_s or left_s
        try:
            async with asyncio.timeout(min(limit, left_s)):
                await ended
        except TimeoutError:
            if self.lock_timeout_s:
                raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout") from None
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout") from None
        finally:
            mine.waits_for = None

    def _note(self, sql: str, args: tuple[Any, ...], rows: list[tuple[Any, ...]] | None, error: str | None = None) -> None:
        if self.server.heard is not None:
            self.server.heard.append(Said(self.number, sql, args, self._now, self.server.clock(), rows, error))


class Pool:
    """As many connections as are asked for; what `kassa.kit.database.Database` takes for an `asyncpg` pool."""

    def __init__(self, server: Server, host: Host) -> None:
        self._server, self._host = server, host
        self._idle: list[Connection] = []
        self.all: list[Connection] = []

    def get_idle_size(self) -> int:
        return 1

    async def acquire(self, *, timeout: float | None = None) -> Connection:
        del timeout
        if not self._idle:
            self._idle.append(Connection(self._server, self._host))
            self.all.append(self._idle[0])
        return self._idle.pop()

    async def release(self, connection: Connection) -> None:
        if connection.transaction is None and not connection.is_closed():
            self._idle.append(connection)

    async def expire_connections(self) -> None:
        self._idle = []

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        for connection in self.all:
            connection.drop()


class Address:
    """Where the database is, as `kassa.kit.hosts.Hosts` says it: a look from beside the pool is always answered."""

    async def connect(self, *_: Any, **__: Any) -> Address:
        return self

    async def fetchval(self, sql: str, *_: Any) -> Any:
        return "pg_blocking_pids" in sql

    async def close(self, **_: Any) -> None:
        pass

    def terminate(self) -> None:
        pass
