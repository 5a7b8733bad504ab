"""How strangers are called: merchants' servers, whose addresses are hostile until proven otherwise (webhooks contract, 3 and 6).

Each call judges the address anew and connects to the very address that was judged, with the name in SNI and `Host`. Connections
are kept by address and name together, so one that is used again leads where it led when it was judged. Redirects are not
followed, proxies of the environment are not known, and little is read of an answer. Requests go over `kit/lines.py`, those that
a proxy makes go through aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from kassa.kit import addresses, crash
from kassa.kit.addresses import Resolver, Target
from kassa.kit.database import in_transaction
from kassa.kit.lines import BODY_S, KEPT_S, READ_LIMIT, Answer, Line, Lines, Way

KEPT: Final = 1024
"""Bytes of its text that are kept."""
LONGEST_WAIT_S: Final = 86_400
CONNECT_S: Final = 3.0
_LONG_NUMBER = re.compile(r"\d(?:[ -]?\d){11,}")
"""What may be the number of a card is not kept, whoever says it."""
_SECONDS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    `error` is None after a 2xx, else `timeout`, `connect`, `tls`, `dns`, `refused_address`, `redirect`, `status` or `cut`;
    `response` is the beginning of what was said, printable; `retry_after_s` is at most a day.
    """

    status_code: int | None
    error: str | None
    response: str | None = None
    retry_after_s: float | None = None
    duration_ms: int = 0


class Refused(Exception):
    """The call ends before a connection is made; the text is the outcome's `error`."""


class Egress:
    """The way out of a process. Use it as `async with Egress(…) as egress`.

    With `private` every address may be called; `proxy` then makes every call; `resolve` finds the addresses of a name.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        proxy: str | None = None,
        resolve: Resolver = addresses.resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._private = private
        self._proxy = proxy
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._lines = Lines()
        self._proxied: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if self._proxy is not None:
            self._proxied = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S, use_dns_cache=False, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_LIMIT,
                trust_env=False,
                skip_auto_headers=("Accept-Encoding",),
            )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._lines.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout_s: float, operators: bool = False) -> Outcome:
        """Post `body` and say what became of it; raises nothing that a stranger can cause. `timeout_s` bounds the whole call.

        `operators`: the address is the operator's own word and is not judged. Refuses to run inside a transaction.
        """
        if (inside := in_transaction()) is not None:
            raise RuntimeError(f"outside call 'webhook' inside transaction {inside!r}")
        crash.reach("webhook", "before_call")
        began = time.monotonic()
        until = asyncio.get_running_loop().time() + timeout_s
        status, said, wait_s = None, None, None
        try:
            answer = await self._send(url, body, headers, until, judged=not (operators or self._private))
            status, said, wait_s = answer.status, _printable(answer.body), _retry_after(answer.retry_after)
            error = _meaning(status)
        except Refused as refused:
            error = str(refused)
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as broken:
            error = _word_for(broken)
        crash.reach("webhook", "after_call")
        return Outcome(status, error, said, wait_s if error else None, round((time.monotonic() - began) * 1000))

    async def _send(self, url: str, body: bytes, headers: dict[str, str], until: float, *, judged: bool) -> Answer:
        place = _place(url)
        if place is None or (judged and not place.may_be_public):
            raise Refused("refused_address")
        if self._proxied is not None:
            return await self._send_by_proxy(self._proxied, place, body, headers, until, judged=judged)
        request = _request(place, headers, body)
        async with asyncio.timeout_at(until):
            line = await self._reach(place, await self._addresses(place.target, judged=judged))
        return await line.post(request, until)

    async def _reach(self, place: _Place, known: list[str]) -> Line:
        """A line to the first of these addresses that answers."""
        tls = self._tls if place.target.scheme == "https" else None
        until = time.monotonic() + CONNECT_S
        for address in known:
            way = Way(address, place.target.port, place.name, tls)
            if (kept := self._lines.kept(way)) is not None:
                return kept
            if (left_s := until - time.monotonic()) <= 0:
                break
            try:
                return await self._lines.open(way, left_s)
            except ssl.SSLError:
                raise
            except OSError:
                continue
        raise Refused("connect")

    async def _send_by_proxy(
        self, session: aiohttp.ClientSession, place: _Place, body: bytes, headers: dict[str, str], until: float, *, judged: bool
    ) -> Answer:
        async with asyncio.timeout_at(until):
            answer = await self._ask_proxy(session, place, body, headers, judged=judged)
        return Answer(answer.status, answer.headers.get("Retry-After"), await _read(answer, until))

    async def _ask_proxy(
        self, session: aiohttp.ClientSession, place: _Place, body: bytes, headers: dict[str, str], *, judged: bool
    ) -> aiohttp.ClientResponse:
        if not judged:
            # Where nothing is judged the proxy's own view of names is the better one: this machine may have none.
            return await self._ask(session, place.url, None, body, headers, CONNECT_S)
        named = {**headers, "Host": place.host}
        until = time.monotonic() + CONNECT_S
        broken: Exception | None = None
        for address in await self._addresses(place.target, judged=judged):
            left_s = until - time.monotonic()
            if left_s <= 0:
                break
            try:
                return await self._ask(session, place.url.with_host(address), place.name, body, named, left_s)
            except aiohttp.ClientSSLError:
                raise
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                broken = error
        raise broken or Refused("connect")

    async def _ask(
        self, session: aiohttp.ClientSession, url: URL, name: str | None, body: bytes, headers: dict[str, str], connect_s: float
    ) -> aiohttp.ClientResponse:
        return await session.post(
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            server_hostname=name,
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        )

    async def _addresses(self, target: Target, *, judged: bool) -> list[str]:
        """Where a URL leads now; all of it is judged, so that nothing depends on which address is taken."""
        known = [target.address] if target.address is not None else await self._resolve(target.host, target.port)
        if not known:
            raise Refused("dns")
        if judged and not all(map(addresses.is_public, known)):
            raise Refused("refused_address")
        return known


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL, taken apart: what `Host` and SNI say, and whether its text lets it be called when strangers are judged."""

    url: URL = field(repr=False)
    begins: str = field(repr=False)
    host: str
    name: str
    target: Target
    may_be_public: bool


@lru_cache(maxsize=2048)
def _place(url: str) -> _Place | None:
    """The same for the same text; where its name leads is asked at each call."""
    found = addresses.target(url)
    if found is None:
        return None
    try:
        whole = URL(url, encoded=url.isascii()).with_fragment(None)
    except ValueError:
        return None
    name = (whole.raw_host or "").rstrip(".")
    host = whole.host_port_subcomponent or name
    begins = f"POST {whole.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n"
    return _Place(whole, begins, host, name, found, addresses.refusal(url, private=False) is None)


def _request(place: _Place, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of a request. Raises `ValueError` for a header that would be more than one line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header is one line")
    return f"{place.begins}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _meaning(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else "status"


def _word_for(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError):
        return "connect"
    return "timeout" if isinstance(error, TimeoutError) else "cut"


async def _read(answer: aiohttp.ClientResponse, until: float) -> bytes:
    """The beginning of an answer. Whatever happens to the rest of it does not matter any more."""
    parts, size = [], 0
    try:
        async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + BODY_S)):
            while size < READ_LIMIT and (part := await answer.content.read(READ_LIMIT - size)):
                parts.append(part)
                size += len(part)
    except (aiohttp.ClientError, OSError):
        answer.close()
    if answer.content.at_eof():
        answer.release()
    else:
        answer.close()
    return b"".join(parts)


def _printable(raw: bytes) -> str | None:
    if not raw:
        return None
    text = _LONG_NUMBER.sub("****", raw.decode(errors="replace"))
    shown = "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text[:KEPT])
    return shown.encode()[:KEPT].decode(errors="ignore") or None


def _retry_after(text: str | None) -> float | None:
    """Seconds, at most a day; None for what says nothing."""
    if text is None:
        return None
    if _SECONDS.fullmatch(text.strip()):
        return min(int(text.strip()[:20]), LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(text)
        wait_s = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, wait_s), LONGEST_WAIT_S)
