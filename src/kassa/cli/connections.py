"""A connection that may not be slow for ever, nor say more than a request needs: the server's own protocol, with limits.

The library closes a connection that is quiet between two requests. One that sends a byte a second would live for ever, before its
headers are whole or after its answer is out. Here each part of a request has its time, and headers have a size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S: Final = 10.0
"""From the first byte of a request, or from connecting, until its headers are whole."""
BODY_S: Final = 35.0
"""From the headers until the body is whole: a little longer than whoever reads it waits, who can say so politely."""
ENDING_S: Final = 10.0
"""How long a connection that was refused may take for what is still unread."""
TAKING_S: Final = 60.0
"""How long the last answer of a connection may take to be read."""
MOST_HEADERS: Final = 100
MOST_BYTES: Final = 32 * 1024
"""Of an address and all headers together. A token has 8 kB at most."""
MOST_CONNECTIONS: Final = 4000

_HEAD: Final = b"HTTP/1."
_PROBLEM: Final = '{{"type": "about:blank", "title": "{title}", "status": {status}, "detail": "{detail}", "code": "{code}"}}'


def _refusal(status: int, title: str, detail: str, code: str, *headers: str) -> bytes:
    body = _PROBLEM.format(title=title, status=status, detail=detail, code=code)
    head = (
        f"HTTP/1.1 {status} {title}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
        *headers,
    )
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode("ascii")


_TOO_SLOW: Final = _refusal(408, "Request Timeout", "The request did not come in time.", "request_timeout")
_TOO_LONG: Final = _refusal(431, "Request Header Fields Too Large", "The address and headers are too large.", "headers_too_large")
_FULL: Final = _refusal(503, "Service Unavailable", "Too many connections; try again.", "unavailable", "retry-after: 1")
_MALFORMED: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 31\r\n"
    b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\nInvalid HTTP request received.\n"
)
"""What is no request has no address, and so no contract in whose words it could be answered."""


class Gathered:
    """A transport that sends the head of an answer together with what follows it in the same turn of the loop.

    The server writes them one by one, and each write is a packet that wakes up both ends: a third of what a short answer costs.
    Everything else is the transport's own.
    """

    __slots__ = ("_head", "_loop", "_transport", "abort", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send bytes; the head of an answer waits until the next ones, or until the loop comes round."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing has followed yet."""
        head, self._head = self._head, b""
        if head and not self.is_closing():
            self._transport.write(head)

    def close(self) -> None:
        """Send what is left, then close."""
        self.flush()
        self._transport.close()


class Guarded(HttpToolsProtocol):
    """The server's protocol for one connection. Made by the server.

    A request that comes whole, as nearly all do, sets no clock.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._part, self._timed = "", "nothing"
        """What is being read, `head` or `body`, and what the clock was set for."""
        self._bytes = self._headers = 0
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection; one too many is told so and closed."""
        super().connection_made(Gathered(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(_FULL)
        else:
            self._within(HEADERS_S, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, however."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came. Nothing is read of a connection that was refused, and no byte gives a part of a request more time."""
        if self._is_refused:
            return
        super().data_received(data)
        stage = self._part or ("answer" if self._is_answering() else "nothing")
        if stage == self._timed or self._is_refused:
            return
        self._timed = stage
        match stage:
            case "head":
                self._within(HEADERS_S, self._head_is_late)
            case "body":
                self._within(BODY_S, self._close)
            case "nothing":  # empty lines, say
                self._within(HEADERS_S, self._close)
            case _:
                self._stop_clock()

    def send_400_response(self, msg: str) -> None:
        """What came is no request, or has too large a head."""
        del msg
        self._refuse(_TOO_LONG if self._is_too_long() else _MALFORMED)

    def on_message_begin(self) -> None:
        """The first line of a request begins."""
        self._bytes = self._headers = 0
        self._part, self._timed = "head", ""
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._bytes += len(url)
        self._judge()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. What comes behind a body is none: it would reach a request that has been judged already."""
        self._headers += 1
        self._bytes += len(name) + len(value)
        self._judge()
        if self._part == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered; its body may still come."""
        self._part = "body"
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._part = ""
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out. Whoever does not take it does not keep the connection."""
        super().on_response_complete()
        if self.transport.is_closing() and not self._is_refused:
            self._within(TAKING_S, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after an answer."""
        if not self.transport.is_closing():
            self._close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _judge(self) -> None:
        if self._is_too_long():
            raise ValueError("the head of the request is too large")

    def _is_too_long(self) -> bool:
        return self._bytes > MOST_BYTES or self._headers > MOST_HEADERS

    def _head_is_late(self) -> None:
        self._refuse(_TOO_SLOW)

    def _refuse(self, answer: bytes) -> None:
        """Say why, if nobody is being answered here, and close."""
        if not self._is_answering() and not self.transport.is_closing():
            self.transport.write(answer)
        self._close()

    def _close(self) -> None:
        self._is_refused = True
        self.transport.close()
        self._within(ENDING_S, self.transport.abort)

    def _within(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_clock()
        self._deadline = self.loop.call_later(seconds, act)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
