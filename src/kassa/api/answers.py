"""An answer: a status, bytes and headers, sent as it is. Money is written digit by digit, never through a float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from kassa.api.options import Receive, Scope, Send
from kassa.kit.money import Money, major_text

Header = tuple[bytes, bytes]
JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Sending it twice sends the same bytes."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    content_type: bytes = JSON

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        size = str(len(self.body)).encode()
        # Of what is not there neither kind nor size may be told (RFC 9110, 8.6).
        told = () if self.status == 204 else ((b"content-type", self.content_type), (b"content-length", size))
        headers = [*told, *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})

    def with_headers(self, *headers: Header) -> Answer:
        """The same answer with more headers."""
        return Answer(self.status, self.body, (*self.headers, *headers), self.content_type)


def json_answer(status: int, content: Any, *headers: Header) -> Answer:
    """An answer of JSON."""
    return Answer(status, dumps(content), headers)


def dumps(content: Any) -> bytes:
    """JSON bytes. Amounts must have come through `major` or `money`: a Decimal or a float of ours would be an error."""
    return orjson.dumps(content)


def major(minor: int, currency: str) -> orjson.Fragment:
    """An amount as a JSON number in major units, the shortest exact form: `349.7`."""
    return orjson.Fragment(major_text(minor, currency).encode())


def money(amount: Money) -> orjson.Fragment:
    """The same, of a `Money`."""
    return major(amount.minor, amount.currency)


def retry_after(seconds: int) -> Header:
    """When it is worth trying again, in whole seconds."""
    return (b"retry-after", str(max(1, seconds)).encode())


BEARER: Header = (b"www-authenticate", b"Bearer")
