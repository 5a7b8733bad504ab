"""A request as a handler sees it: who calls, what the address says, the headers that count, and the body on demand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from kassa.api.auth import Caller, Tokens
from kassa.api.errors import CallerGone, InvalidInput
from kassa.api.options import Receive, Scope, Send
from kassa.api.streams import Closing
from kassa.kit.context import Context
from kassa.kit.jsontext import BadJson
from kassa.kit.languages import preferred

_BODY_WITHIN_S = 30.0
_NUMBER = re.compile(r"[0-9]{1,19}")
_LARGEST_PAGE = 10**18

# Where a request keeps what is found out about it on its way.
ROUTE = "kassa.route"
CALLER = "kassa.caller"


@dataclass(frozen=True, slots=True)
class Desk:
    """What every handler works with."""

    ctx: Context
    tokens: Tokens
    closing: Closing
    watch: Any = None
    trusted: bool = False
    """Whether a gateway in front says for which merchant a request is."""
    webhook_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """With which a provider may sign its reports: two while the secret is being rotated."""
    address_of: Callable[[Scope], str] = lambda _scope: "unknown"
    """Where a request comes from, behind proxies that are trusted."""


class Call(Request):
    """One request. FastAPI takes it for a plain `Request` when it documents a handler."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, desk: Desk, values: Mapping[str, str]) -> None:
        super().__init__(scope, receive, send)
        self.ctx = desk.ctx
        self.closing = desk.closing
        self.watch = desk.watch
        self.trusted = desk.trusted
        self.webhook_secrets = desk.webhook_secrets
        self.in_path = values
        """What stands in the path at the places of `{names}`."""
        self._desk = desk

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name; sent more than once its values are joined by commas."""
        return header(self.scope, name)

    @property
    def operation(self) -> str:
        """Method and route template: `PUT /api/cart/items/{item_id}`."""
        return f"{self.scope['method']} {self.scope[ROUTE]}"

    @property
    def caller(self) -> Caller:
        """Who calls. Raises `Unauthorized` without a valid token."""
        return caller_of(self.scope, self._desk.tokens)

    @property
    def caller_or_guest(self) -> Caller | None:
        """Who calls, None for a guest. Raises `Unauthorized` for a token that is there and wrong."""
        if any(name == b"authorization" for name, _ in self.scope["headers"]):
            return self.caller
        return None

    def bearer(self, token: str) -> Caller:
        """Who a token names that did not come in the request's own header. Raises `Unauthorized`."""
        return self._desk.tokens.caller([f"Bearer {token}"])

    @property
    def address(self) -> str:
        """Where the caller sits, `unknown` where the server knows no address."""
        return self._desk.address_of(self.scope)

    @property
    def language(self) -> str:
        """What the caller reads best of the languages in which buyers are written to (`Accept-Language`), else `en`."""
        return preferred(self.header(b"accept-language"))

    async def read(self) -> bytes:
        """The whole body. Raises `TooLarge`, `BadJson` when it does not come within 30 s, `CallerGone` when it never will."""
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise CallerGone
                    if part := message.get("body", b""):
                        parts.append(part)
                    if not message.get("more_body", False):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            raise BadJson("The body did not come in time.") from None

    def asked(self) -> Mapping[str, str]:
        """The members of the query. Raises `InvalidInput` for one that stands twice."""
        raw = self.scope.get("query_string", b"")
        if not raw:
            return {}
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidInput.at("query", problem="names something twice", kind="twice")
        return found

    def asked_often(self) -> Mapping[str, list[str]]:
        """The members of the query, each with all its values."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    def page(self) -> tuple[int, int]:
        """`page` (from 1) and `limit` (1 to 100) of a list. Raises `InvalidInput`."""
        asked = self.asked()
        return whole(asked, "page", 1, _LARGEST_PAGE), whole(asked, "limit", 20, 100)


def header(scope: Scope, name: bytes) -> str | None:
    """A header by its lower-case name; sent more than once its values are joined by commas."""
    found = headers(scope, name)
    return ", ".join(found) if found else None


def headers(scope: Scope, name: bytes) -> list[str]:
    """Every value of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def caller_of(scope: Scope, tokens: Tokens) -> Caller:
    """Who sent the request; the token is verified once for it. Raises `Unauthorized`."""
    known: Any = scope.get(CALLER)
    if known is None:
        known = scope[CALLER] = tokens.caller(headers(scope, b"authorization"))
    found: Caller = known
    return found


def whole(asked: Mapping[str, str], name: str, default: int, largest: int) -> int:
    """A whole number from 1 to `largest` in a query. Raises `InvalidInput`."""
    text = asked.get(name)
    if text is None:
        return default
    number = int(text) if _NUMBER.fullmatch(text) else 0
    if not 1 <= number <= largest:
        problem = "must be a whole number of 1 or more" if name == "page" else f"must be a whole number from 1 to {largest}"
        raise InvalidInput.at(name, problem=problem, kind="range")
    return number
