"""Whether the database answers at all: one that is frozen or cut off neither answers nor breaks its connections.

While something is asked, a look every tenth of a second. When for two of them nothing came back, a connection of its own is tried
beside the pool; when for five more nothing did, neither there nor here, the database is *away*: whoever waits for a connection or
for an answer is told so at once, and everybody who comes later, until it answers again. So nobody piles up behind it, and a thaw
meets an empty queue.

The connection beside the pool looks at every address of the database. Where another one has become the primary while the former
still answers, all that leads to the former is left in the same way.

Looks are counted, not seconds: a process that was itself held up has not waited.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg

from kassa.kit.hosts import Superseded

_LOOK_S = 0.1
_SILENT = 2
"""Looks without an answer after which a connection beside the pool is tried."""
_AWAY = 7
"""Looks without an answer, that connection's included, after which the database is away."""
_PROBE_S = 1.0
log = logging.getLogger("kassa.database")


class Pulse:
    """The pulse of one pool's database.

    `progress` counts what was asked, `probe` opens a connection beside the pool, `forget` makes the pool connect anew.
    """

    def __init__(
        self, progress: Callable[[], int], probe: Callable[[float], Awaitable[Any]], forget: Callable[[], Awaitable[None]]
    ) -> None:
        self._progress, self._probe, self._forget = progress, probe, forget
        self._asked: dict[Any, bool] = {}
        self._waiting: set[asyncio.Timeout] = set()
        self._task: asyncio.Task[None] | None = None
        self._released = 0
        self._superseded = False
        self.away = False
        """The database does not answer."""

    def begin(self, connection: Any) -> None:
        """Something is asked over `connection` from now on."""
        self._asked[connection] = False
        self._watch()

    def be_patient(self, connection: Any) -> None:
        """What is asked over it may take as long as it needs: it is not cut off."""
        if connection in self._asked:
            self._asked[connection] = True

    def end(self, connection: Any) -> None:
        """Nothing is asked over it any more. A second time changes nothing."""
        self._asked.pop(connection, None)
        self._released += 1

    @contextlib.asynccontextmanager
    async def waiting(self, seconds: float) -> AsyncIterator[None]:
        """Wait in the block for at most so long, and no longer than until the database is away. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds) as limit:
            self._waiting.add(limit)
            self._watch()
            try:
                yield
            finally:
                self._waiting.discard(limit)

    async def stop(self) -> None:
        """Look no more. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    def _watch(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_on(), name="the database's pulse")

    async def _look_on(self) -> None:
        silent, before, probing = 0, -1, None
        try:
            while self._asked or self._waiting:
                await asyncio.sleep(_LOOK_S)
                heard, beside = self._progress() + self._released, False
                if probing is not None and probing.done():
                    beside, probing = probing.result(), None
                silent = 0 if beside or heard != before else silent + 1
                before = heard
                if silent >= _AWAY or self._superseded:
                    await self._be_away()
                    silent, self._superseded = 0, False
                elif silent >= _SILENT and probing is None:
                    probing = asyncio.create_task(self._answers(), name="a look beside the pool")
        finally:
            if probing is not None:
                probing.cancel()

    async def _be_away(self) -> None:
        log.warning("database: it does not answer")
        self.away = True
        try:
            while True:
                now = asyncio.get_running_loop().time()
                for limit in tuple(self._waiting):
                    limit.reschedule(now)
                for connection in [each for each, patient in self._asked.items() if not patient]:
                    connection.terminate()
                    self._asked.pop(connection, None)
                await self._forget()
                if await self._answers():
                    break
                await asyncio.sleep(_LOOK_S)
        finally:
            self.away = False
        log.warning("database: it answers again")

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_S):
                connection = await self._probe(_PROBE_S)
                try:
                    await connection.fetchval("SELECT 1")
                finally:
                    connection.terminate()
        except Superseded:
            self._superseded = True
            return False
        except asyncpg.CannotConnectNowError:
            return False
        except asyncpg.PostgresError:
            return True  # what refuses, answers
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return False
        return True
