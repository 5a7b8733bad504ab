"""How much one caller may send: bytes of a body, and requests in a while. Both say no before anything is read or claimed."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from kassa.api.auth import Tokens
from kassa.api.call import caller_of, header, headers
from kassa.api.dialect import Dialects
from kassa.api.errors import RateLimited, TooLarge, Unauthorized
from kassa.api.options import ASGIApp, Message, Receive, Scope, Send

MAX_BODY: Final = 64 * 1024
_EXEMPT = frozenset({"/health", "/ready", "/api/v1/payments/webhook"})
"""Whoever asks whether we live, and providers that report: to turn those away would cost more than it saves."""
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_SWEEP_EVERY = 1024


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
    """So many requests in any second, minute, hour or day for each caller, else for each address; counted in this process."""

    def __init__(self, inner: ASGIApp, rate: str, tokens: Tokens, dialects: Dialects, proxies: Proxies) -> None:
        self._inner = inner
        self._window = Window(rate)
        self._tokens = tokens
        self._dialects = dialects
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 429 in the shape of its address."""
        path = scope["path"]
        if path not in _EXEMPT:
            wait = self._window.hit(self._who(scope), time.monotonic())
            if wait > 0:
                await self._dialects.at(path).refuse(RateLimited(math.ceil(wait)))(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    def _who(self, scope: Scope) -> str:
        try:
            return f"user:{caller_of(scope, self._tokens).user}"
        except Unauthorized:
            return f"address:{self._proxies.address_of(scope)}"


class Window:
    """A moving window in memory. `rate` is `100/second`, `/minute`, `/hour` or `/day`.

    The library `limits` keeps such windows too, but looks through all callers after every hit, each in a thread: with ten thousand
    callers one such look took 0.7 s of processor time. Here a hit looks at one caller, and a sweep comes every so many hits.
    """

    def __init__(self, rate: str) -> None:
        amount, _, unit = rate.partition("/")
        self._amount = int(amount)
        self._seconds = _SECONDS[unit]
        self._hits: dict[str, deque[float]] = {}
        self._until_sweep = _SWEEP_EVERY

    def hit(self, who: str, now: float) -> float:
        """Count a request of `who` at `now` (seconds); returns 0, or for how many seconds it is one too many."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep(now)
        hits = self._hits.get(who)
        if hits is None:
            hits = self._hits[who] = deque(maxlen=self._amount)
        if len(hits) == self._amount and (free_at := hits[0] + self._seconds) > now:
            return free_at - now
        hits.append(now)
        return 0

    def _sweep(self, now: float) -> None:
        self._until_sweep = max(_SWEEP_EVERY, len(self._hits))
        for who in [who for who, hits in self._hits.items() if hits[-1] + self._seconds <= now]:
            del self._hits[who]


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
