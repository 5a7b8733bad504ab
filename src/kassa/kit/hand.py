"""Connections kept in hand: one that came back whole goes out again at once, the last one first.

The library's pool lends to anybody, so each loan costs it a task, two timers and a stand-in for the connection; three loans were a
tenth of a checkout. Here every loan goes through `kassa.kit.database`, which knows when it has left nothing behind. While all are
lent, everybody waits here in a queue, and what comes back whole goes to the first of it. The pool still opens, counts and closes
all connections, and looks at each that did not come back whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

import asyncpg
import orjson

from kassa.kit.hosts import Hosts
from kassa.kit.lost import LOST

_AGAIN_S = 60.0
"""Seconds after which the pool sees its connections again: it closes those that nobody needs, and those that are worn out."""


async def open_pool(hosts: Hosts, size: int, statement_timeout_s: int) -> asyncpg.Pool[asyncpg.Record]:
    """A pool of at most `size` connections. Raises what connecting raises."""
    return await asyncpg.create_pool(
        connect=hosts.connect,
        min_size=min(2, size),
        max_size=size,
        init=_prepare,
        reset=_leave_as_is,
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


class Hand:
    """What is in hand of `pool`'s connections."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._free: list[Any] = []
        self._asking = 0
        self._waiting: deque[asyncio.Future[Any]] = deque()
        """Of those who wait here, first come first: each is given a connection, or None when it is worth asking the pool."""
        self._tidying: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._is_open = True

    def take(self) -> Any | None:
        """A connection that is in hand, or None: it must be asked for then."""
        while self._free:
            if self._is_good(connection := self._free.pop()):
                return connection
        return None

    def connections(self) -> tuple[int, int, int]:
        """How many are lent, how many are open, and how many there may be."""
        size = self._pool.get_size()
        return size - self._pool.get_idle_size() - len(self._free), size, self._pool.get_max_size()

    async def ask(self) -> Any:
        """The next connection that comes back, or one of the pool while that has any. Raises what the pool raises."""
        enqueue = self._waiting.append
        while self._is_open and self._all_are_lent():
            enqueue(mine := asyncio.get_running_loop().create_future())
            try:
                connection = await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled():  # whoever leaves at that moment leaves it to the next
                    self._pass_on(mine.result())
                raise
            if connection is not None and self._is_good(connection):
                return connection
            enqueue = self._waiting.appendleft
        self._asking += 1
        try:
            return await self._pool.acquire()
        finally:
            self._asking -= 1

    def keep(self, connection: Any) -> bool:
        """Keep a connection over which nothing is asked any more, for who waits or in hand; False when it must go to the pool."""
        try:
            if not self._is_open or self._asking or connection.is_closed() or connection.is_in_transaction():
                return False
        except LOST:  # see `_is_good`
            return False
        if self._give_to_first(connection):
            return True
        self._free.append(connection)
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_AGAIN_S, self._give_all_back)
        return True

    async def release(self, connection: Any) -> None:
        """Give a connection back to the pool, whatever state it is in; who waits here may ask the pool then."""
        try:
            with contextlib.suppress(*LOST):
                await self._pool.release(connection)
        finally:
            self._give_to_first(None)

    def drop(self) -> None:
        """Cut off all that is in hand: the database does not answer."""
        free, self._free = self._free, []
        for connection in free:
            with contextlib.suppress(*LOST):
                connection.terminate()

    async def close(self) -> None:
        """Give everything back to the pool, now and from now on."""
        self._is_open = False
        if self._tidying is not None:
            self._tidying.cancel()
        self._give_all_back()
        while self._give_to_first(None):
            pass
        if self._returning:
            await asyncio.wait(self._returning)

    def _all_are_lent(self) -> bool:
        """Whether the pool has none that it could lend at once, nor may open another."""
        idle: int = self._pool.get_idle_size()
        return not idle and bool(self._pool.get_size() == self._pool.get_max_size())

    def _is_good(self, connection: Any) -> bool:
        with contextlib.suppress(*LOST):  # raised when the pool has noticed by itself that it is closed
            if not connection.is_closed():
                return True
            self._give_back(connection)
        return False

    def _give_to_first(self, connection: Any | None) -> bool:
        """Whether somebody waits; the first who does is given this."""
        while self._waiting:
            if not (first := self._waiting.popleft()).done():
                first.set_result(connection)
                return True
        return False

    def _pass_on(self, connection: Any | None) -> None:
        if connection is None:
            self._give_to_first(None)
        elif not self.keep(connection):
            self._give_back(connection)

    def _give_all_back(self) -> None:
        self._tidying = None
        while self._free:
            self._give_back(self._free.pop())

    def _give_back(self, connection: Any) -> None:
        task = asyncio.get_running_loop().create_task(self.release(connection), name="a connection goes back")
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)


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
