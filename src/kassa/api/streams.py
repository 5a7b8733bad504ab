"""Server-sent events: a stream that looks for news when the bell rings and now and then, is kept alive, and ends in good time.

A look is one short question to the database; between looks no connection is held. A stream ends when its token does, when the
caller leaves, when the database is away or when the process stops: whoever resumes misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from kassa.api import metrics
from kassa.api.answers import Header
from kassa.api.options import Receive, Scope, Send
from kassa.kit.bell import Bell, Ear
from kassa.kit.errors import Busy

POLL_S = 0.8
HEARTBEAT_S = 15.0
HEARTBEAT = b": heartbeat\n\n"

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Closing:
    """Tells the streams of a process to end, those that are open and those that come."""

    def __init__(self) -> None:
        self._told: asyncio.Future[None] | None = None
        self._closed = False

    def close(self) -> None:
        """End every stream. A second time changes nothing."""
        self._closed = True
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def told(self) -> asyncio.Future[None]:
        """Done as soon as the process is closing."""
        if self._told is None:
            self._told = asyncio.get_running_loop().create_future()
            if self._closed:
                self._told.set_result(None)
        return self._told


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: `first` at once, then whatever `news` brings, for at most `seconds`.

    It looks for news when `bell` rings for `topic`, and whenever it has not looked for `POLL_S` seconds.
    """

    first: bytes
    news: Callable[[], Awaitable[bytes]]
    seconds: float
    closing: Closing
    topic: str = ""
    bell: Bell = field(default_factory=Bell)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is a reason to end."""
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        # A reader that waits for the next event gets a heartbeat at once: proxies hold headers back until a first byte comes.
        await send(_part(self.first or HEARTBEAT))
        leaving, told = asyncio.ensure_future(_until_gone(receive)), self.closing.told()
        metrics.STREAMS.inc()
        try:
            async with self.bell.listen(self.topic) as ear:
                with _woken_by(ear, leaving, told):
                    await self._go_on(ear, leaving, told, send)
        except Busy:
            pass
        finally:
            metrics.STREAMS.dec()
            leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _go_on(self, ear: Ear, leaving: asyncio.Future[None], told: asyncio.Future[None], send: Send) -> None:
        end = time.monotonic() + self.seconds
        spoke = time.monotonic()
        while (left := end - time.monotonic()) > 0:
            await ear.wait(min(POLL_S, left))
            if leaving.done() or told.done():
                return
            part = await self.news()
            if not part and time.monotonic() - spoke >= HEARTBEAT_S:
                part = HEARTBEAT
            if part:
                await send(_part(part))
                spoke = time.monotonic()


@contextlib.contextmanager
def _woken_by(ear: Ear, *ends: asyncio.Future[None]) -> Iterator[None]:
    """Inside the block, whoever waits with `ear` wakes up when one of `ends` comes."""

    def wake(_end: asyncio.Future[None]) -> None:
        ear.ring()

    for end in ends:
        end.add_done_callback(wake)
    try:
        yield
    finally:
        for end in ends:
            end.remove_done_callback(wake)


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
