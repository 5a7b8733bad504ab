"""How a neighbour service is called over HTTP: one pooled session, a time limit, a breaker, no redirects.

A call ends in one of three ways. An `Answer` was read (any status). `NotSent`: no connection could be made,
so the neighbour saw nothing. `NoAnswer`: a byte may have been sent, so what happened there is unknown.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from kassa.kit import crash, trace
from kassa.kit.breaker import Breaker
from kassa.kit.context import request_id
from kassa.kit.database import in_transaction
from kassa.kit.errors import Busy, Unknown
from kassa.kit.figures import NEIGHBOUR
from kassa.kit.jsontext import BadJson, parse

_LONG_NUMBER = re.compile(r"\d(?:[ -]?\d){11,}")
_UNKEEPABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters and halves of characters: valid in JSON text, but nothing that a database or a log can hold."""
_LONGEST_NAME = 255
READ_LIMIT = 64 * 1024
"""Bytes of an answer that are read; a longer answer cannot be trusted and counts as none."""


class NotSent(Busy):
    """No connection could be made; the neighbour saw nothing."""

    code = "not_sent"


class NoAnswer(Unknown):
    """The neighbour gave no answer that can be read."""

    code = "no_answer"


class AnswerTooLong(NoAnswer):
    """The neighbour answered, with more than is read of an answer."""

    code = "answer_too_long"


class BreakerOpen(Busy):
    """The neighbour has been silent; it is being left alone for a moment."""

    code = "breaker_open"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body (numbers with a point as `Decimal`); `body` is None when it was not a JSON object."""

    status: int
    body: dict[str, Any] | None
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    def text(self, member: str) -> str | None:
        """A member of the body, if it is text; `said` makes it safe to keep."""
        value = self.body.get(member) if self.body else None
        return value if isinstance(value, str) else None

    def name(self, member: str) -> str | None:
        """A member of the body that names something: 1 to 255 printable characters, else None, as if it were not there."""
        value = self.text(member)
        return value if value and len(value) <= _LONGEST_NAME and not _UNKEEPABLE.search(value) else None


class Neighbour:
    """A neighbour service at `url`. `name` names its kill points and metrics.

    `errors_are_silence`: whether 5xx answers open its breaker, as silence does. Not for a gateway to many providers, where one that
    fails must not take the others with it. `hears_trace`: whether it is told the trace of what it is asked for; not for strangers,
    who have no business with our traces.
    """

    def __init__(
        self,
        name: str,
        url: str,
        session: aiohttp.ClientSession,
        *,
        breaker: Breaker | None = None,
        errors_are_silence: bool = True,
        hears_trace: bool = True,
    ) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._session = session
        self.breaker = breaker or Breaker(name)
        self._errors_are_silence = errors_are_silence
        self._hears_trace = hears_trace

    async def call(
        self,
        method: str,
        path: str,
        *,
        act: str,
        timeout_s: float,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        at_most: int = READ_LIMIT,
    ) -> Answer:
        """Call `path` (percent-encoded by the caller, sent as it is) and read the answer.

        `body` is sent as JSON, `form` as a web page would send it. `act` names the kill points, `key` becomes `Idempotency-Key`,
        `timeout_s` bounds the whole call, `at_most` the bytes of the answer: a longer one is no answer.
        Raises `BreakerOpen`, `NotSent` or `NoAnswer`; refuses to run inside a transaction.
        """
        if (inside := in_transaction()) is not None:
            raise RuntimeError(f"outside call {act!r} inside transaction {inside!r}")
        if not self.breaker.allows():
            NEIGHBOUR.note(0.0, self.name, "spared")
            raise BreakerOpen
        crash.reach(act, "before_call")
        with trace.span(act, "client") as span:
            span.say(neighbour=self.name)
            sent = self._headers(key, headers)
            answer = await self._answer(self._exchange(method, path, timeout_s, *_written(body, form), sent, at_most))
            span.mark("http.response.status_code", answer.status)
        crash.reach(act, "after_call")
        return answer

    async def _answer(self, exchange: Awaitable[Answer]) -> Answer:
        """The answer, or why there is none; the breaker learns of it."""
        began = time.perf_counter()
        try:
            answer = await exchange
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._silent("unsent", began)
            raise NotSent from error
        except (aiohttp.ClientError, OSError, TimeoutError, NoAnswer) as error:
            self._silent("silent", began)
            if isinstance(error, AnswerTooLong):
                raise
            raise NoAnswer from error
        except BaseException:
            self.breaker.released()
            raise
        failed = answer.status >= 500
        self.breaker.silent() if failed and self._errors_are_silence else self.breaker.answered()
        NEIGHBOUR.note(time.perf_counter() - began, self.name, "error" if failed else "answered")
        return answer

    def _headers(self, key: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", **(more or {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        if current := request_id.get():
            headers["X-Request-Id"] = current
        if self._hears_trace:
            headers.update(trace.headers())
        return headers

    def _silent(self, how: str, began: float) -> None:
        self.breaker.silent()
        NEIGHBOUR.note(time.perf_counter() - began, self.name, how)

    async def _exchange(
        self, method: str, path: str, timeout_s: float, data: bytes | None, kind: str, headers: dict[str, str], at_most: int
    ) -> Answer:
        headers = {"Content-Type": kind, **headers}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(3.0, timeout_s))
        async with (
            asyncio.timeout(timeout_s),
            self._session.request(
                method, URL(self._url + path, encoded=True), data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response,
        ):
            raw = await _read(response, at_most)
            return Answer(response.status, _object(raw), response.headers)


def new_session(*, connections: int = 64) -> aiohttp.ClientSession:
    """One session for a process; `connections` bounds how many calls one neighbour may hold at once."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=connections, keepalive_timeout=30, ttl_dns_cache=30)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True)
    # Whether and when a call is repeated is decided by the saga alone: the client must not repeat a GET that was cut off.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch
    return session


async def _read(response: aiohttp.ClientResponse, at_most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > at_most:
            raise AnswerTooLong
        parts.append(part)
    return b"".join(parts)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        return parse(raw)
    except BadJson:
        return None


def _written(body: Mapping[str, Any] | None, form: Mapping[str, str] | None) -> tuple[bytes | None, str]:
    if form is not None:
        return urlencode(form).encode(), "application/x-www-form-urlencoded"
    return (orjson.dumps(body) if body is not None else None), "application/json"


def said(text: str | None) -> str | None:
    """What a neighbour said, safe to keep: at most 300 printable characters, every run of 12 or more digits masked."""
    return _LONG_NUMBER.sub("****", _UNKEEPABLE.sub("?", text))[:300] if text else None


def number(value: Decimal | int | str) -> orjson.Fragment:
    """A JSON number written digit by digit, for bodies that carry money in major units."""
    return orjson.Fragment(str(value).encode())
