"""How Payme speaks to a merchant: JSON-RPC in a POST, Basic authorisation, and an answer that is read whatever it is."""

from __future__ import annotations

import base64
import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from kassa.sandbox import exact

LIMIT_S = 10.0
"""How long an answer is waited for."""
OURS = "ours"
_MOST_BYTES = 4 * 1024 * 1024

_numbers = itertools.count(7001)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a merchant listens, and with what Payme introduces itself. `account_field`: how the cashbox names an order."""

    url: str
    key: str = field(repr=False)
    login: str = "Paycom"
    account_field: str = "order_id"


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `echo`: the id that must come back; `authorization`: the header, `OURS` for the right one, empty for none.

    `behind`: what stands behind the merchant's address, such as a slash.
    """

    body: bytes
    echo: Any = None
    verb: str = "POST"
    authorization: str = OURS
    behind: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back. `status` is 0 when nothing did, and `fault` says why; `at_ms` is our clock when it came."""

    status: int
    content_type: str
    answer: Any
    took_ms: float
    at_ms: int
    fault: str = ""

    @property
    def result(self) -> Any:
        """The result; None when there is none."""
        return self.answer.get("result") if isinstance(self.answer, dict) else None

    @property
    def error(self) -> dict[str, Any]:
        """The error; empty when there is none."""
        found = self.answer.get("error") if isinstance(self.answer, dict) else None
        return found if isinstance(found, dict) else {}


def ask(method: str, params: Any, **change: Any) -> Message:
    """A call as Payme makes it, with a number of its own: a repeated call has another one (section 2.9)."""
    number = next(_numbers)
    return Message(exact.dumps({"method": method, "id": number, "params": params}), number, **change)


def basic(login: str, key: str) -> str:
    """The value of the header `Authorization`."""
    return "Basic " + base64.b64encode(f"{login}:{key}".encode()).decode()


def new_payme_id() -> str:
    """24 hex characters, as Payme numbers its transactions."""
    return secrets.token_hex(12)


def now_ms() -> int:
    """The present by this machine's clock."""
    return time.time_ns() // 1_000_000


def new_session() -> aiohttp.ClientSession:
    """A session to send with; it keeps no cookies. Close it."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S), cookie_jar=aiohttp.DummyCookieJar())


async def send(session: aiohttp.ClientSession, endpoint: Endpoint, message: Message) -> Heard:
    """Send one request and read whatever comes. Never raises for what the merchant does; redirects are not followed."""
    url = endpoint.url.rstrip("/") + message.behind
    headers = {"Content-Type": "application/json"}
    if message.authorization:
        ours = message.authorization == OURS
        headers["Authorization"] = basic(endpoint.login, endpoint.key) if ours else message.authorization
    began = time.perf_counter()

    def since() -> float:
        return 1000 * (time.perf_counter() - began)

    try:
        async with session.request(message.verb, url, data=message.body, headers=headers, allow_redirects=False) as answer:
            raw = await answer.content.read(_MOST_BYTES)
            while len(raw) < _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES - len(raw))):
                raw += more
            return Heard(answer.status, answer.headers.get("Content-Type", ""), _json(raw), since(), now_ms())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Heard(0, "", None, since(), now_ms(), type(error).__name__)


def _json(raw: bytes) -> Any:
    try:
        return exact.loads(raw)
    except ValueError:
        return None
