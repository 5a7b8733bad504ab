"""Those who call the service, what they send, and what became of it. Every answer is kept as the bytes that came."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import grpc
import httpx2
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.contracts.grpc.contract import PENDING, SERVICE, message
from tests.rig import Server

T = TypeVar("T")
Json = dict[str, Any]

SETTLES_S = 2.0
MISMATCH = (StatusCode.ALREADY_EXISTS, "Idempotency key already used with another payload")
AGAIN = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED}
"""On these a caller repeats the same request with the same key; on anything else it does not."""

OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_numbers = itertools.count(1)
_run = uuid.uuid4().hex[:10]


def a_word(of: str = "word") -> str:
    """A word that no other test uses."""
    return f"{of}-{_run}-{next(_numbers)}"


def an_order(**changes: Any) -> Json:
    """The fields of a good request that nobody has sent before."""
    return {"amount_minor": 1250, "currency": "USD", "order_id": a_word("order"), "idempotency_key": a_word("key"), **changes}


@dataclass(frozen=True)
class Answer:
    """One OK: the message's bytes as they came, the message, and the trailing metadata."""

    data: bytes
    message: Any
    trailing: dict[str, str]

    @property
    def replayed(self) -> str | None:
        return self.trailing.get("idempotent-replayed")

    @property
    def payment_id(self) -> str:
        return str(self.message.payment_id)


class Caller:
    """One who calls over a channel of its own, always with the same request metadata."""

    def __init__(self, address: str, said: Iterable[tuple[str, str]] = (), credentials: grpc.ChannelCredentials | None = None):
        self.said = tuple(said)
        self.channel = (
            grpc.secure_channel(address, credentials, OPTIONS) if credentials else grpc.insecure_channel(address, OPTIONS)
        )

    def close(self) -> None:
        self.channel.close()

    def ask(self, method: str, request: Any = b"", *, timeout: float | None = 20, more: Any = (), **options: Any) -> Answer:
        """Call a method of the service; `request` is a message, or bytes that claim to be one."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        stub = self.channel.unary_unary(f"/{SERVICE}/{method}")
        answer, call = stub.with_call(data, timeout=timeout, metadata=(*self.said, *more), **options)
        trailing = {entry.key: entry.value for entry in call.trailing_metadata()}
        return Answer(answer, message(f"{method}Response").FromString(answer), trailing)

    def begin(self, method: str, request: Any, timeout: float | None = 20) -> Any:
        """The same without waiting: a future of the raw answer. A connection that is still being made is waited for."""
        stub = self.channel.unary_unary(f"/{SERVICE}/{method}")
        return stub.future(request.SerializeToString(), timeout=timeout, metadata=self.said, wait_for_ready=True)

    def pay(self, *, timeout: float | None = 20, **order: Any) -> Answer:
        """Request a payment; what is not given is a new order's."""
        return self.ask("RequestPayment", request_of({**an_order(), **order}), timeout=timeout)

    def look(self, payment_id: str) -> Any:
        """The payment as it is now."""
        return self.ask("GetPayment", message("GetPaymentRequest")(payment_id=payment_id)).message

    def state(self, payment_id: str) -> tuple[int, str]:
        """Status and message of the payment as it is now."""
        payment = self.look(payment_id)
        return payment.status, payment.message

    def health(self, timeout: float = 10) -> str:
        return str(self.ask("Health", timeout=timeout).message.status)


def request_of(order: Json) -> Any:
    return message("RequestPaymentRequest")(**order)


def refused(ask: Callable[..., Any], *given: Any, **named: Any) -> tuple[StatusCode, str]:
    """Code and details with which a call is refused."""
    with pytest.raises(grpc.RpcError) as found:
        ask(*given, **named)
    return found.value.code(), found.value.details()


def not_found(text: str) -> tuple[StatusCode, str]:
    return StatusCode.NOT_FOUND, f"Payment not found: {text}"


def invalid(text: str) -> tuple[StatusCode, str]:
    return StatusCode.INVALID_ARGUMENT, f"Validation error: {text}"


def persist(caller: Caller, order: Json, within: float = 20) -> Answer:
    """Repeat the same request with the same key until it is answered, by the contract's rule for callers."""
    end = time.monotonic() + within
    while True:
        try:
            return caller.pay(**order)
        except grpc.RpcError as error:
            if error.code() not in AGAIN or time.monotonic() > end:
                raise
        time.sleep(0.03)


def at_once(acts: Iterable[Callable[[], T]]) -> list[T]:
    """Do all of it at the same time."""
    todo = list(acts)
    with ThreadPoolExecutor(len(todo)) as hands:
        return [done.result() for done in [hands.submit(act) for act in todo]]


def eventually(question: Callable[[], T], within: float = 10.0, what: str = "it did not become true") -> T:
    """Ask until the answer is truthy, and give it; fails when time is over."""
    end = time.monotonic() + within
    while True:
        last = time.monotonic() > end
        if found := question():
            return found
        assert not last, what
        time.sleep(0.02)


def settled(caller: Caller, payment_id: str, within: float = SETTLES_S) -> tuple[int, str]:
    """Status and message once the payment has left PENDING."""

    def left() -> tuple[int, str] | None:
        state = caller.state(payment_id)
        return None if state[0] == PENDING else state

    return eventually(left, within, f"still PENDING after {within} s")


def instant(timestamp: Any) -> datetime:
    """A timestamp's moment; it has whole microseconds."""
    assert timestamp.nanos % 1000 == 0
    return datetime.fromtimestamp(timestamp.seconds, UTC) + timedelta(microseconds=timestamp.nanos // 1000)


def check(caller: Caller, service: str) -> int:
    """What the standard health service says of a name."""
    stub = health_pb2_grpc.HealthStub(caller.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status)


def watch(caller: Caller, service: str) -> Iterator[health_pb2.HealthCheckResponse]:
    """What is told as things change. Cancel it, or close the channel."""
    stub = health_pb2_grpc.HealthStub(caller.channel)
    stream: Iterator[health_pb2.HealthCheckResponse] = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)
    return stream


# The other doors of the same house


def http(server: Server, key: str) -> httpx2.Client:
    """A merchant's HTTP client; close it yourself (`with`)."""
    return httpx2.Client(base_url=server.url, headers={"X-Api-Key": key}, timeout=20, verify=False, trust_env=False)


def listed(server: Server, key: str, **narrow: str) -> list[Json]:
    """All payments of the key's merchant, as the HTTP list has them."""
    found: list[Json] = []
    cursor: str | None = ""
    with http(server, key) as merchant:
        while cursor is not None:
            answer = merchant.get("/api/v1/payments", params={"cursor": cursor, "limit": "100", **narrow})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            cursor = page["next_cursor"]
    return found


def ordered(server: Server, order: Json, key: str = "sk_demo_1") -> list[str]:
    """The ids of the payments for this order."""
    return [item["payment_id"] for item in listed(server, key, order_id=order["order_id"])]


def report(server: Server, payment_id: str, status: str, secret: str | None = None) -> httpx2.Response:
    """The provider's signed word on a payment."""
    body = json.dumps({"payment_id": payment_id, "status": status}).encode()
    signature = hmac.new((secret or server.webhook_secret).encode(), body, hashlib.sha256).hexdigest()
    url = f"{server.url}/api/v1/payments/webhook"
    return httpx2.post(url, content=body, headers={"X-Internal-Signature": signature}, timeout=20, verify=False, trust_env=False)


def reported(server: Server, payment_id: str, status: str) -> str:
    """The same, taken: the message of the answer."""
    answer = report(server, payment_id, status)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["message"])
