"""Whether a statement waits for another transaction, or is merely slow: asked of PostgreSQL over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib

from kassa.kit.hosts import Hosts
from kassa.kit.lost import LOST

_WITHIN_S = 5


class Blocked:
    """The looks of one process, one after the other."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._looking: set[asyncio.Task[None]] = set()
        self._one_looks = asyncio.Lock()

    def look(self, pid: int, limit: asyncio.Timeout) -> None:
        """End the wait of the server process `pid` now, if it waits for another transaction. Returns at once."""
        task = asyncio.get_running_loop().create_task(self._look(pid, limit), name="is it blocked")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self, pid: int, limit: asyncio.Timeout) -> None:
        with contextlib.suppress(*LOST, TimeoutError, RuntimeError):  # the last one when the statement has ended meanwhile
            # Not from the pool: those who wait may hold all of it.
            async with self._one_looks:
                aside = await self._hosts.connect(within_s=_WITHIN_S)
                try:
                    blocked = await aside.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid)
                finally:
                    await aside.close(timeout=_WITHIN_S)
            if blocked:
                limit.reschedule(asyncio.get_running_loop().time())
