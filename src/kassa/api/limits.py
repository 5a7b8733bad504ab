"""How much one caller may send: bytes of a body, and requests in a while. Both say no before anything is read or claimed."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Sequence
from typing import Final

from kassa.api.auth import Tokens
from kassa.api.call import caller_of, header, headers
from kassa.api.dialect import Dialects
from kassa.api.errors import RateLimited, TooLarge, Unauthorized
from kassa.api.options import ASGIApp, Message, Receive, Scope, Send
from kassa.kit.redis import Redis
from kassa.kit.window import Limiter

MAX_BODY: Final = 64 * 1024
_EXEMPT = frozenset({"/health", "/ready", "/api/v1/payments/webhook"})
"""Whoever asks whether we live, and providers that report: to turn those away would cost more than it saves."""


class BodyLimit:
    """Counts a body while it is read, and refuses one whose declared length is too large as soon as somebody wants to read it.

    Nothing is read here, so that who calls is judged before what was sent.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; reading too much raises `TooLarge` where it is read."""
        await self._inner(scope, _Counted(receive, header(scope, b"content-length")), send)


class _Counted:
    """`receive`, up to the limit."""

    __slots__ = ("_left", "_receive")

    def __init__(self, receive: Receive, declared: str | None) -> None:
        self._receive = receive
        self._left = MAX_BODY
        if declared is not None and declared.isdecimal() and int(declared[:20]) > MAX_BODY:
            self._left = -1

    async def __call__(self) -> Message:
        if self._left < 0:
            raise TooLarge
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise TooLarge
        return message


class RateLimit:
    """So many requests in any second, minute, hour or day for each caller, else for each address.

    They are counted over all processes that share `redis`, else in this process.
    """

    def __init__(
        self,
        inner: ASGIApp,
        rate: str,
        tokens: Tokens,
        dialects: Dialects,
        proxies: Proxies,
        *,
        trusted: bool = False,
        redis: Redis | None = None,
    ) -> None:
        self._inner = inner
        self._limiter = Limiter("http", rate, redis)
        self._tokens = tokens
        self._dialects = dialects
        self._proxies = proxies
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 429 in the shape of its address."""
        path = scope["path"]
        if path not in _EXEMPT:
            wait = await self._limiter.hit(self._who(scope))
            if wait > 0:
                await self._dialects.at(path).refuse(RateLimited(math.ceil(wait)))(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    def _who(self, scope: Scope) -> str:
        if scope["path"].startswith("/api/v1/"):
            return self._merchant(scope) or f"address:{self._proxies.address_of(scope)}"
        try:
            return f"user:{caller_of(scope, self._tokens).user}"
        except Unauthorized:
            return f"address:{self._proxies.address_of(scope)}"

    def _merchant(self, scope: Scope) -> str | None:
        """Whom a merchant's credentials name: the key by its hash, or the merchant where a gateway is trusted."""
        key, merchant = header(scope, b"x-api-key"), header(scope, b"x-merchant-id")
        if key is not None:
            return f"key:{hashlib.sha256(key.encode()).hexdigest()}"
        return f"merchant:{merchant[:64]}" if merchant is not None and self._trusted else None


class Proxies:
    """Finds the address of a caller behind proxies that are trusted; of nobody else is `X-Forwarded-For` believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = [ipaddress.ip_network(each, strict=False) for each in trusted]

    def address_of(self, scope: Scope) -> str:
        """The nearest address that is no trusted proxy, `unknown` where the server knows none."""
        client = scope.get("client")
        address: str = client[0] if client else "unknown"
        forwarded = ",".join(headers(scope, b"x-forwarded-for"))
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        while hops and self._is_trusted(address):
            address = hops.pop()
        return address[:64]

    def is_loopback(self, scope: Scope) -> bool:
        """Whether the caller sits on this machine. A request that came through a proxy nobody trusts does not."""
        address = self.address_of(scope)
        passed_on = any(name in {b"x-forwarded-for", b"forwarded", b"x-real-ip"} for name, _ in scope["headers"])
        if passed_on and not self._trusted:
            return False
        try:
            return ipaddress.ip_address(address).is_loopback
        except ValueError:
            return False

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)
