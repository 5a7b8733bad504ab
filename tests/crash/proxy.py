"""A TCP proxy that does to a connection what networks do: slow, cut, swallow, reset, trickle.

It stands between two processes, on loopback, in threads of its own event loop, and does what it is told at any moment (`proxy.delay_s = 0.2`),
for new connections and for those that stand. Up is from the client to the server, down is the answer.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Weather:
    """What happens to bytes on their way. All of it may be changed while connections stand.

    `delay_s` and `jitter_s`: each piece waits so long. `rate`: bytes a second, None for no limit. `hold_up`, `hold_down`: bytes are taken and not handed
    on (a black hole) until it is over. `reset_up_after`, `reset_down_after`: a connection is reset when so many bytes have passed in that direction. `refuse`: new connections are reset at once.
    `once`: fine weather again as soon as one connection was reset.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate: float | None = None
    hold_up: bool = False
    hold_down: bool = False
    reset_up_after: int | None = None
    reset_down_after: int | None = None
    refuse: bool = False
    once: bool = False


class Proxy:
    """A proxy before `target` (a URL with host and port). Use it as a context manager; `url` is the same URL through it."""

    def __init__(self, target: str, *, seed: int = 0) -> None:
        self._parts = urlsplit(target)
        assert self._parts.port is not None, target
        self.weather = Weather()
        self.port = 0
        self.passed = 0
        """Bytes that were handed on so far, both ways."""
        self.opened = 0
        """Connections that were taken so far."""
        self._chance = random.Random(seed)
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The target's URL, with this proxy's host and port."""
        account = self._parts.netloc.rpartition("@")[0]
        place = f"{account}@127.0.0.1:{self.port}" if account else f"127.0.0.1:{self.port}"
        return urlunsplit(self._parts._replace(netloc=place))

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """Reset every connection that stands now; returns how many."""
        return self._run(self._cut())

    def clear(self) -> None:
        """Fine weather again. What a black hole has swallowed arrives now, as it does when a route comes back."""
        self.weather = Weather()

    @property
    def standing(self) -> int:
        """Connections that stand now."""
        return len(self._links)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        while self._links:
            await asyncio.sleep(0.01)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.weather.refuse:
            _abort(writer)
            return
        try:
            there = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            _abort(writer)
            return
        link = _Link(self, (reader, writer), there)
        self._links.add(link)
        try:
            await link.live()
        finally:
            self._links.discard(link)

    def _run(self, work: object) -> int:
        result: int = asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]
        return result

    async def pause(self, size: int) -> None:
        """The time that a piece of this size needs in this weather."""
        weather = self.weather
        seconds = weather.delay_s + (self._chance.random() * weather.jitter_s if weather.jitter_s else 0)
        if weather.rate:
            seconds += size / weather.rate
        if seconds:
            await asyncio.sleep(seconds)


End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class _Link:
    proxy: Proxy
    near: End
    far: End
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def live(self) -> None:
        """Hand bytes on both ways until both are over, or either is reset."""
        self.tasks = [
            asyncio.create_task(self._carry(self.near[0], self.far[1], up=True)),
            asyncio.create_task(self._carry(self.far[0], self.near[1], up=False)),
        ]
        await asyncio.wait(self.tasks)
        for _, writer in (self.near, self.far):
            writer.close()

    def reset(self) -> None:
        """Break it off with RST on both sides."""
        for _, writer in (self.near, self.far):
            _abort(writer)
        for task in self.tasks:
            task.cancel()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
        passed = 0
        try:
            while data := await source.read(_CHUNK):
                weather = self.proxy.weather
                size = max(1, int(weather.rate / 10)) if weather.rate else len(data)
                for start in range(0, len(data), size):
                    piece = data[start : start + size]
                    await self.proxy.pause(len(piece))
                    while self.proxy.weather.hold_up if up else self.proxy.weather.hold_down:
                        await asyncio.sleep(0.01)
                    most = self.proxy.weather.reset_up_after if up else self.proxy.weather.reset_down_after
                    left = len(piece) if most is None else most - passed
                    target.write(piece[: max(0, left)])
                    await target.drain()
                    passed += len(piece)
                    self.proxy.passed += len(piece)
                    if left <= len(piece) and most is not None:
                        if self.proxy.weather.once:
                            self.proxy.clear()
                        self.reset()
                        return
            target.write_eof()
        except (OSError, asyncio.CancelledError):
            self.reset()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, and no orderly end."""
    taken = writer.get_extra_info("socket")
    if taken is not None and taken.fileno() >= 0:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
