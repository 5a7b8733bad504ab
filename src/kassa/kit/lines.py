"""Connections to strangers' servers, over each of which one HTTP/1.1 request at a time is posted and its answer read.

The answer is parsed by llhttp (httptools) as it arrives; only what `kit/egress.py` needs of it is kept. A line that is whole after
its answer is kept for a few seconds, under the address and the name that it was made with. A general client takes several times as
long for a request, and every event to a merchant is one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

READ_LIMIT: Final = 4096
"""Bytes of an answer's body that are read; behind them the line is cut."""
_HEAD_LIMIT: Final = 32_768
BODY_S: Final = 2.0
"""The status has said it all; a body that comes slowly is not waited for."""
KEPT_S: Final = 4.0
"""Shorter than the patience of most servers, so that they seldom hang up just when a line is used again."""


class Way(NamedTuple):
    """Where a line leads: the address that was judged, and the name that TLS is to prove. `tls` is None for plain HTTP."""

    address: str
    port: int
    name: str
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said: `body` is at most its first 4 KiB."""

    status: int
    retry_after: str | None
    body: bytes


class Lines:
    """All lines of a process. Use them within one event loop; `close` ends them."""

    def __init__(self) -> None:
        self._idle: dict[Way, list[Line]] = {}
        self._all: set[Line] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def kept(self, way: Way) -> Line | None:
        """A line that leads there and lies idle, the one that was used last."""
        idle = self._idle.get(way)
        while idle:
            line = idle.pop()
            if line.whole:
                return line
        return None

    async def open(self, way: Way, timeout_s: float) -> Line:
        """A new line. Raises `ssl.SSLError` when TLS fails, any other `OSError`, `TimeoutError` too, when nobody answers."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, line = await loop.create_connection(
                lambda: Line(way, self._keep, self._all.discard),
                way.address,
                way.port,
                ssl=way.tls,
                server_hostname=way.name if way.tls is not None else None,
            )
        self._all.add(line)
        return line

    async def close(self) -> None:
        """Cut all lines."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for line in list(self._all):
            line.cut()
        await asyncio.sleep(0)  # until they have heard of it

    def _keep(self, line: Line) -> None:
        self._idle.setdefault(line.way, []).append(line)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(KEPT_S / 2, self._sweep)

    def _sweep(self) -> None:
        """Cut what has lain idle for too long."""
        loop = asyncio.get_running_loop()
        for way, idle in list(self._idle.items()):
            for line in idle:
                if loop.time() - line.idle_since > KEPT_S / 2:
                    line.cut()
            self._idle[way] = [line for line in idle if line.whole]
            if not self._idle[way]:
                del self._idle[way]
        self._sweeping = loop.call_later(KEPT_S / 2, self._sweep) if self._idle else None


class Line(asyncio.Protocol):
    """One connection. What the parser has read of the present answer is kept here until the answer is given."""

    def __init__(self, way: Way, keep: Callable[[Line], None], forget: Callable[[Line], None]) -> None:
        self.way = way
        self.idle_since = 0.0
        self._keep = keep
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0
        self._status: int | None = None
        self._retry_after: str | None = None
        self._parts: list[bytes] = []
        self._head = 0
        self._read = 0
        self._size = 0
        self._ended = False
        self._again = False
        self._body_awaited = False

    @property
    def whole(self) -> bool:
        """Whether it can be asked, as far as this side knows."""
        return self._transport is not None and not self._transport.is_closing()

    async def post(self, request: bytes, until: float) -> Answer:
        """Send a request, wait for its answer until `until` by the loop's clock.

        Once the status is there, it is given whatever happens then. Before, `TimeoutError`, another `OSError` or `ValueError` is
        raised, and the line is cut.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._begin(waiting, until)
        self._timer = loop.call_at(until, self._late)
        if self._transport is None:
            self._fail(ConnectionResetError("hung up"))
        else:
            self._transport.write(request)
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._waiting is waiting:  # else it is another's line by now
                self._over()
                self.cut()
            raise

    def cut(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # ── what the event loop says ─────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on. What comes without having been asked for ends the line."""
        if self._waiting is None:
            self.cut()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._again = False
        except HttpParserError:
            # What follows a whole answer without being one ends the line, and says nothing about the answer.
            self._again = False
            if self._status is None:
                self._fail(ValueError("no HTTP"))
                return
            self._ended = True
        if self._status is not None:
            self._go_on(self._status)
            return
        self._read += len(data)
        if self._read > _HEAD_LIMIT:
            self._fail(ValueError("a head without end"))

    def _go_on(self, status: int) -> None:
        if self._ended or self._size >= READ_LIMIT:
            self._again = self._again and self._ended
            self._give(status)
        elif not self._body_awaited:
            self._await_body()

    def connection_lost(self, exc: Exception | None) -> None:
        """What has been said counts; a body may end so."""
        self._transport = None
        self._forget(self)
        if self._status is not None:
            self._give(self._status)
        else:
            self._fail(exc or ConnectionResetError("hung up"))

    # ── what the parser says ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A second answer to one request is one too many."""
        if self._ended:
            self._again = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one that matters."""
        self._head += len(name) + len(value)
        if self._retry_after is None and not self._ended and name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The status is known, unless it only says that the answer is to come, or the head is longer than is heard to the end."""
        if self._ended:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._retry_after = None
        elif self._head <= _HEAD_LIMIT:
            self._status = status

    def on_body(self, part: bytes) -> None:
        """Keep the beginning."""
        if not self._ended and self._size < READ_LIMIT:
            self._parts.append(part[: READ_LIMIT - self._size])
        self._size += len(part)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._status is not None and not self._ended:
            self._ended = True
            self._again = self._status != 101 and self._parser.should_keep_alive()

    # ── the present answer ───────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, waiting: asyncio.Future[Answer], until: float) -> None:
        self._waiting, self._until = waiting, until
        self._status, self._retry_after, self._parts = None, None, []
        self._head, self._read, self._size = 0, 0, 0
        self._ended, self._again, self._body_awaited = False, False, False

    def _await_body(self) -> None:
        self._body_awaited = True
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(self._until, loop.time() + BODY_S), self._late)

    def _late(self) -> None:
        self._again = False
        if self._status is not None:
            self._give(self._status)
        else:
            self._fail(TimeoutError())

    def _give(self, status: int) -> None:
        waiting = self._over()
        if waiting is not None:
            waiting.set_result(Answer(status, self._retry_after, b"".join(self._parts)))
        if waiting is not None and self._again and self.whole:
            self.idle_since = asyncio.get_running_loop().time()
            self._keep(self)
        else:
            self.cut()

    def _fail(self, error: Exception) -> None:
        waiting = self._over()
        if waiting is not None:
            waiting.set_exception(error)
        self.cut()

    def _over(self) -> asyncio.Future[Answer] | None:
        """Whoever still waits; from now on the line is nobody's."""
        waiting, self._waiting = self._waiting, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return None if waiting is None or waiting.done() else waiting
