"""A caller who does what a careful client does: the same request with the same key, until it is answered for good.

A story is told as a generator: it yields what is asked next and is sent the answer. When the server dies under a request the story
stands still there; told on against the next server it begins by asking the very same thing again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
from tests import rig

from payments_service import payments_pb2, payments_pb2_grpc

Json = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One request. With a `key` it is asked again at the end, and must be answered with the same bytes.

    A buyer is a `user`, a merchant's server has an `api_key`, a provider signs what it says (`signed`), and Payme shows login and key
    of a `cashbox`. `once`: another key, for what is not answered twice. `good`: statuses that are final here, though elsewhere they
    are not.
    """

    method: str
    path: str
    body: Json | None = None
    key: str | None = None
    user: int | None = None
    role: str | None = None
    api_key: str | None = None
    signed: bool = False
    once: str | None = None
    good: tuple[int, ...] = ()
    cashbox: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Calls:
    """`RequestPayment` over gRPC. It is called again at the end, and must be answered with the same bytes."""

    fields: Json
    api_key: str


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
class Until:
    """Waits until this question has a row for an answer, or the server is dead; answered with the first row as JSON."""

    sql: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class PaysAt:
    """The buyer pays on the page behind this link, at the provider."""

    link: str


@dataclass(frozen=True)
class Mends:
    """The merchant mends the server that stands at this address."""

    url: str


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    raw: bytes
    replayed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


Step = Ask | Both | Calls | HangUp | LetPass | Mends | PaysAt | Until
Tale = Generator[Step, Said, None]


class Broken(Exception):
    """The connection ended before there was an answer."""


def headers_of(server: rig.Server, ask: Ask, body: bytes | None) -> dict[str, str]:
    """The headers with which a caller shows who it is, and its key."""
    headers = {"Content-Type": "application/json"}
    if ask.key or ask.once:
        headers["Idempotency-Key"] = ask.key or ask.once or ""
    if ask.api_key:
        headers["X-Api-Key"] = ask.api_key
    if ask.signed:
        headers["X-Internal-Signature"] = hmac.new(server.webhook_secret.encode(), body or b"", hashlib.sha256).hexdigest()
    if ask.cashbox:
        headers["Authorization"] = f"Basic {base64.b64encode(ask.cashbox.encode()).decode()}"
    headers |= dict(ask.headers)
    if ask.user is not None:
        headers["Authorization"] = f"Bearer {server.token(ask.user, ask.role)}"
    return headers


def speak(server: rig.Server, ask: Ask, timeout_s: float = 15) -> Said:
    """Send one request. Raises `Broken`, `TimeoutError`."""
    parts = urlsplit(server.url)
    body = json.dumps(ask.body).encode() if ask.body is not None else None
    headers = headers_of(server, ask, body)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        line.request(ask.method, ask.path, body, headers)
        answer = line.getresponse()
        return Said(answer.status, answer.read(), answer.headers.get("Idempotent-Replayed") == "true")
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise Broken(repr(error)) from error
    finally:
        line.close()


def call(server: rig.Server, step: Calls, until: float) -> Said:
    """Call until there is an answer. Raises `Broken`, or AssertionError when time is over."""
    request = payments_pb2.RequestPaymentRequest(**step.fields)
    while True:
        with grpc.insecure_channel(
            server.grpc, options=(("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        ) as line:
            ask = payments_pb2_grpc.PaymentServiceStub(line).RequestPayment
            try:
                answer, done = ask.with_call(request, timeout=15, metadata=(("x-api-key", step.api_key),))
            except grpc.RpcError as error:
                said = error.code(), error.details()
            else:
                trailing = dict(done.trailing_metadata() or ())
                return Said(200, answer.SerializeToString(deterministic=True), trailing.get("idempotent-replayed") == "true")
        if not server.alive():
            raise Broken(repr(said))
        assert said[0] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED}, said
        assert time.monotonic() < until, f"still {said}"
        time.sleep(0.1)


def is_final(said: Said, good: tuple[int, ...] = ()) -> bool:
    """Whether this answer is the end of it; else the same is asked again in a moment."""
    if said.status in {202, 500, 502, 503}:
        return said.status in good
    if said.raw.startswith(b'{"jsonrpc":') and b'"code":-32400' in said.raw:  # Payme asks again, too
        return False
    running = (b'"in_progress"', b'"idempotency_in_progress"', b"Checkout in progress")
    return not (said.status == 409 and any(word in said.raw for word in running))


def insist(server: rig.Server, ask: Ask, until: float) -> Said:
    """Ask until there is a final answer. Raises `Broken`, or AssertionError when time is over."""
    while True:
        said = speak(server, ask)
        if is_final(said, ask.good):
            return said
        assert time.monotonic() < until, f"still {said.status} {said.raw[:300]!r} for {ask.method} {ask.path}"
        time.sleep(0.1)


@dataclass
class Caller:
    """One caller living through one story."""

    tale: Tale
    final: list[tuple[Ask, Said]] = field(default_factory=list)
    """What was answered for good, of requests with a key."""
    called: list[tuple[Calls, Said]] = field(default_factory=list)
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
        for step, first in self.called:
            again = call(server, step, until)
            if again.raw != first.raw or not again.replayed:
                wrong.append(f"{step} again: {again}, first {first}")
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
            case Calls():
                said = call(server, step, until)
                self.called.append((step, said))
                return said
            case Until():
                while not (rows := server.sql(step.sql, *step.args)):
                    if not server.alive():
                        raise Broken("the server died while something was waited for")
                    assert time.monotonic() < until, step
                    time.sleep(0.05)
                return Said(0, json.dumps(rows[0], default=str).encode(), replayed=False)
            case HangUp():
                try:
                    return speak(server, step.ask, step.after_s)
                except TimeoutError:
                    return Said(0, b"", replayed=False)
            case PaysAt():
                httpx2.post(step.link.replace("/pay/", "/payments/") + "/accept", trust_env=False)  # once more changes nothing
                return Said(0, b"", replayed=False)
            case Mends():
                httpx2.delete(step.url, trust_env=False)
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
