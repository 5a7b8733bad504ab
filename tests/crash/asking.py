"""A caller who does what a careful client does: the same request with the same key, until it is answered for good.

A story is told as a generator: it yields what is asked next and is sent the answer. When the server dies under a request the story
stands still there; told on against the next server it begins by asking the very same thing again.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from tests import rig

Json = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One request. With a `key` it is asked again at the end, and must be answered with the same bytes."""

    method: str
    path: str
    body: Json | None = None
    key: str | None = None
    user: int | None = None
    role: str | None = None


@dataclass(frozen=True)
class Both:
    """The second is asked while the first still runs, `apart_s` later; answered with the first's answer."""

    first: Ask
    second: Callable[[rig.Server], Ask]
    apart_s: float


@dataclass(frozen=True)
class HangUp:
    """Asked, but the caller leaves after `after_s` without waiting for an answer."""

    ask: Ask
    after_s: float


@dataclass(frozen=True)
class LetPass:
    """The one clock is moved on by so many seconds."""

    seconds: float


@dataclass(frozen=True)
class PaysAt:
    """The buyer pays on the page behind this link, at the provider."""

    link: str


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    raw: bytes
    replayed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


Step = Ask | Both | HangUp | LetPass | PaysAt
Tale = Generator[Step, Said, None]


class Broken(Exception):
    """The connection ended before there was an answer."""


def speak(server: rig.Server, ask: Ask, timeout_s: float = 15) -> Said:
    """Send one request. Raises `Broken`, `TimeoutError`."""
    parts = urlsplit(server.url)
    headers = {"Content-Type": "application/json"}
    if ask.key:
        headers["Idempotency-Key"] = ask.key
    if ask.user is not None:
        headers["Authorization"] = f"Bearer {server.token(ask.user, ask.role)}"
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        line.request(ask.method, ask.path, json.dumps(ask.body).encode() if ask.body is not None else None, headers)
        answer = line.getresponse()
        return Said(answer.status, answer.read(), answer.headers.get("Idempotent-Replayed") == "true")
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise Broken(repr(error)) from error
    finally:
        line.close()


def is_final(said: Said) -> bool:
    """Whether this answer is the end of it; else the same is asked again in a moment."""
    if said.status in {202, 500, 502, 503}:
        return False
    busy = said.status == 409 and any(word in said.raw for word in (b'"in_progress"', b"Checkout in progress"))
    return not busy


def insist(server: rig.Server, ask: Ask, until: float) -> Said:
    """Ask until there is a final answer. Raises `Broken`, or AssertionError when time is over."""
    while True:
        said = speak(server, ask)
        if is_final(said):
            return said
        assert time.monotonic() < until, f"still {said.status} {said.raw[:300]!r} for {ask.method} {ask.path}"
        time.sleep(0.1)


@dataclass
class Caller:
    """One caller living through one story."""

    tale: Tale
    final: list[tuple[Ask, Said]] = field(default_factory=list)
    """What was answered for good, of requests with a key."""
    over: bool = False
    _next: Step | None = None

    def __post_init__(self) -> None:
        self._go(None)

    def live(self, server: rig.Server, within_s: float) -> None:
        """Go on with the story as far as this server lives. Raises `Broken` where it died."""
        until = time.monotonic() + within_s
        while not self.over:
            assert self._next is not None
            self._go(self._do(server, self._next, until))

    def check_replays(self, server: rig.Server, until: float) -> list[str]:
        """Ask everything with a key once more; returns what was answered otherwise than the first time."""
        wrong = []
        for ask, first in self.final:
            again = insist(server, ask, until)
            if (again.status, again.raw) != (first.status, first.raw):
                wrong.append(f"{ask.method} {ask.path} again: {again.status} {again.raw!r}, first {first.status} {first.raw!r}")
            elif not again.replayed:
                wrong.append(f"{ask.method} {ask.path} again: not marked as a replay")
        return wrong

    def _go(self, said: Said | None) -> None:
        try:
            self._next = next(self.tale) if said is None else self.tale.send(said)
        except StopIteration:
            self.over = True

    def _do(self, server: rig.Server, step: Step, until: float) -> Said:
        match step:
            case Ask():
                return self._settled(server, step, until)
            case Both():
                return self._both(server, step, until)
            case HangUp():
                try:
                    return speak(server, step.ask, step.after_s)
                except TimeoutError:
                    return Said(0, b"", replayed=False)
            case PaysAt():
                httpx2.post(step.link.replace("/pay/", "/payments/") + "/accept", trust_env=False)  # once more changes nothing
                return Said(0, b"", replayed=False)
            case LetPass():
                server.sql("SELECT kassa_move_clock(make_interval(secs => $1))", step.seconds)
                return Said(0, b"", replayed=False)

    def _settled(self, server: rig.Server, ask: Ask, until: float) -> Said:
        said = insist(server, ask, until)
        if ask.method == "GET":  # a story may look again and again
            time.sleep(0.05)
            assert time.monotonic() < until, said.raw[:500]
        if ask.key:
            self.final.append((ask, said))
        return said

    def _both(self, server: rig.Server, step: Both, until: float) -> Said:
        box: list[Said | Exception] = []

        def first() -> None:
            try:
                box.append(insist(server, step.first, until))
            except (Broken, AssertionError, TimeoutError) as error:
                box.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        time.sleep(step.apart_s)
        try:
            other = step.second(server)
            second = insist(server, other, until)
        finally:
            thread.join()
        if isinstance(box[0], Exception):
            raise box[0]
        for ask, said in ((step.first, box[0]), (other, second)):
            if ask.key:
                self.final.append((ask, said))
        return box[0]
