"""A bell that says *look now*, so that whoever waits for something in the database need not wait for the next look.

It is rung after a commit. It carries nothing and promises nothing: a ring may be lost, and whoever listens looks now and then
without one. In this process it is heard at once; through Redis, where there is one, in the other processes some milliseconds later.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

from kassa.kit.redis import Redis

CHANNEL: Final = "kassa:bell"
_TOGETHER_S = 0.003
"""Rings within so many seconds travel as one message."""
_MOST = 1000
"""Topics of one message; what would be more is left to those who look now and then."""


class Ear:
    """Hears the topics that it was made for. `ring` may be called by whoever wants to wake its owner."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or will wait next."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether there was a ring since the last wait; waits for one for at most `timeout_s` seconds."""
        if not self._rung.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._rung.wait()
        heard = self._rung.is_set()
        self._rung.clear()
        return heard


class Bell:
    """One per process. Topics are short texts such as `order:<id>`."""

    def __init__(self) -> None:
        self._ears: dict[str, set[Ear]] = {}
        self._name = uuid.uuid4().hex
        self._to_tell: dict[str, None] = {}
        self._something = asyncio.Event()
        self._together = False

    def ring(self, *topics: str) -> None:
        """Ring for each of `topics`. It neither waits nor fails."""
        for topic in topics:
            self._wake(topic)
        if self._together and len(self._to_tell) < _MOST:
            self._to_tell.update(dict.fromkeys(topics))
            self._something.set()

    @contextlib.asynccontextmanager
    async def listen(self, *topics: str) -> AsyncIterator[Ear]:
        """Hear rings for any of `topics` inside the block. One that comes between two waits is not lost."""
        ear = Ear()
        for topic in set(topics):
            self._ears.setdefault(topic, set()).add(ear)
        try:
            yield ear
        finally:
            for topic in set(topics):
                self._ears[topic].discard(ear)
                if not self._ears[topic]:
                    del self._ears[topic]

    @contextlib.asynccontextmanager
    async def together(self, redis: Redis) -> AsyncIterator[None]:
        """Inside the block, rings go to all processes that use this Redis, as long as it answers; theirs are heard here.

        The connection is made before the block begins, if that can be done within a second.
        """
        await redis.open()
        self._together = True
        tasks = [asyncio.create_task(redis.follow(CHANNEL, self._hear)), asyncio.create_task(self._tell(redis))]
        try:
            yield
        finally:
            self._together = False
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._publish(redis)

    def _wake(self, topic: str) -> None:
        for ear in self._ears.get(topic, ()):
            ear.ring()

    def _hear(self, message: bytes) -> None:
        name, *topics = message.decode(errors="replace").split("\n")
        if name != self._name:
            for topic in topics:
                self._wake(topic)

    async def _tell(self, redis: Redis) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(_TOGETHER_S)
            await self._publish(redis)

    async def _publish(self, redis: Redis) -> None:
        self._something.clear()
        topics, self._to_tell = self._to_tell, {}
        if topics:
            await redis.ask("PUBLISH", CHANNEL, "\n".join((self._name, *topics)))
