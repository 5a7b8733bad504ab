"""Connections kept in hand: one that came back whole goes out again at once, the last one first.

The library's pool lends to anybody, so each loan costs it a task, two timers and a stand-in for the connection; three loans were a
tenth of a checkout. Here every loan goes through `kassa.kit.database`, which knows when it has left nothing behind. The pool still
opens, counts and closes all connections, and is where everybody waits when all of them are lent.
"""

from __future__ import annotations

import asyncio
import contextlib
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
        self._tidying: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._is_open = True

    def take(self) -> Any | None:
        """A connection that is in hand, or None: the pool must be asked then."""
        while self._free:
            connection = self._free.pop()
            with contextlib.suppress(*LOST):  # raised when the pool has noticed by itself that it is closed
                if not connection.is_closed():
                    return connection
                self._give_back(connection)
        return None

    def connections(self) -> tuple[int, int, int]:
        """How many are lent, how many are open, and how many there may be."""
        size = self._pool.get_size()
        return size - self._pool.get_idle_size() - len(self._free), size, self._pool.get_max_size()

    async def ask(self) -> Any:
        """A connection of the pool. Raises what the pool raises."""
        self._asking += 1
        try:
            return await self._pool.acquire()
        finally:
            self._asking -= 1

    def keep(self, connection: Any) -> bool:
        """Keep a connection over which nothing is asked any more; False when it must go to the pool."""
        try:
            if not self._is_open or self._asking or connection.is_closed() or connection.is_in_transaction():
                return False
        except LOST:  # see `take`
            return False
        self._free.append(connection)
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_AGAIN_S, self._give_all_back)
        return True

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
        if self._returning:
            await asyncio.wait(self._returning)

    def _give_all_back(self) -> None:
        self._tidying = None
        while self._free:
            self._give_back(self._free.pop())

    def _give_back(self, connection: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._release(connection), name="a connection goes back")
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _release(self, connection: Any) -> None:
        with contextlib.suppress(*LOST):
            await self._pool.release(connection)


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
