"""One connection to the broker, shared with the client library: messages go past it, everything else is the library's.

The library connects, proves who we are, keeps the line alive, opens and closes channels and declares. Frames that it sends are
whole when they are written, so ours may be written between them. Of what arrives, the frames of messages go to whoever took their
channel, and the rest to the library, in its order. So the library sees less than arrives. The broker's keeper asks it something
every few seconds: else it would take a line that is busy for a dead one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from kassa.events import frames
from kassa.events.frames import AROUND, BODY, END, HEADER, HEARTBEAT, METHOD, Properties

log = logging.getLogger("kassa.broker")


class Taker(Protocol):
    """Who takes the frames of messages on one channel. Nothing that it does may raise."""

    def begin(self, method: int, data: bytes, at: int) -> bool | None:
        """A method, which begins at `at`: True when it is taken and a message follows, False when none does, None: not mine."""

    def whole(self, message: Properties) -> None:
        """The message that followed has arrived whole. Its body is passed over: the database knows it."""

    def lost(self) -> None:
        """The connection has ended."""


class Line(TransportFactory):
    """Makes the transport of one connection, and can end it at once whatever is still to be sent."""

    def __init__(self, *, tls: bool) -> None:
        self._maker: TransportFactory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._writer: _Gathering | None = None
        self._tap: _Tap | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        reader, writer = await self._maker.create(url, **kwargs)
        # The broker says nothing before the library has, so nothing has arrived yet.
        self._writer, self._tap = _Gathering(writer), _Tap(writer.transport)
        return reader, cast("asyncio.StreamWriter", self._writer)

    def take(self, channel: int, taker: Taker) -> None:
        """From now on `taker` takes the frames of messages on this channel."""
        assert self._tap is not None
        self._tap.take(channel, taker)

    def write(self, data: bytes) -> None:
        """Send whole frames, in this order, at the end of this turn; nothing where the connection is over."""
        if self._writer is not None:
            self._writer.write(data)

    def cut(self) -> None:
        """End it."""
        if self._writer is not None:
            self._writer.transport.abort()


class _Tap(asyncio.Protocol):
    """Stands before the library's own reader, and takes out the frames that are not for it."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._behind = cast("asyncio.Protocol", transport.get_protocol())
        self._transport = transport
        self._streams: dict[int, _Stream] = {}
        self._rest = b""
        transport.set_protocol(self)

    def take(self, channel: int, taker: Taker) -> None:
        self._streams[channel] = _Stream(taker)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, passed, size = 0, 0, len(data)
        while size - at >= AROUND:
            kind, channel, length = frames.head(data, at)
            end = at + AROUND + length
            if not METHOD <= kind <= HEARTBEAT:  # not AMQP as we know it: for the library to judge
                at = size
                break
            if end > size:
                break
            stream = self._streams.get(channel)
            if stream is not None:
                if data[end - 1] != END:
                    log.warning("broker: a frame without an end")
                    self._transport.abort()
                    return
                if stream.takes(kind, data, at + AROUND - 1, end - 1):
                    if passed < at:
                        self._behind.data_received(data[passed:at])
                    passed = end
            at = end
        if passed < at:
            self._behind.data_received(data[passed:at])
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams.values():
            stream.taker.lost()
        self._behind.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()


class _Stream:
    """One channel whose messages are taken: where in a message it is."""

    __slots__ = ("_left", "_properties", "_within", "taker")

    def __init__(self, taker: Taker) -> None:
        self.taker = taker
        self._within = False
        self._properties: Properties | None = None
        self._left = 0

    def takes(self, kind: int, data: bytes, at: int, end: int) -> bool:
        """Whether this frame, whose payload is there, was taken."""
        if kind == METHOD:
            begun = self.taker.begin(frames.method(data, at)[0], data, at)
            self._within = bool(begun)
            return begun is not None
        if not self._within:
            return False
        if kind == HEADER:
            self._properties = frames.read_properties(data, at, end)
            self._left = self._properties.body_size
        elif kind == BODY:
            self._left -= end - at
        if self._left <= 0 and self._properties is not None:
            message, self._properties, self._within = self._properties, None, False
            self.taker.whole(message)
        return True


class _Gathering:
    """A writer that sends what is written in one turn of the loop together."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._send)
        self._parts.append(data)

    async def drain(self) -> None:
        """Send all, and wait while too much is on its way."""
        self._send()
        await self._writer.drain()

    def write_eof(self) -> None:
        """Send all, and say that there is no more."""
        self._send()
        self._writer.write_eof()

    def close(self) -> None:
        """Send all, and close."""
        self._send()
        self._writer.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._writer.is_closing():  # what was left for a connection that is over is lost with it
            self._writer.write(b"".join(parts))
