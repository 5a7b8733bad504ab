"""A typed client: ask for a payment exactly once, however often the network fails, and look it up.

    with PaymentClient("localhost:7000", api_key="sk_…") as payments:
        made = payments.request(amount_minor=1250, currency="USD", order_id="order-123", key="order-123:1")
        print(payments.get(made.payment_id).status)

`AsyncPaymentClient` has the same methods as coroutines. Where no answer came (UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED, CANCELLED by
a server that ends, or a broken connection, which arrives as UNAVAILABLE) the same request is repeated under the same key; any
other refusal is final and is not.
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from payments_service import payments_pb2 as pb

T = TypeVar("T")

REPEATED: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED, StatusCode.CANCELLED})
"""After these the outcome is not known, and the same key is safe to repeat."""
_REQUEST = "/payments.v1.PaymentService/RequestPayment"
_GET = "/payments.v1.PaymentService/GetPayment"
_HEALTH = "/payments.v1.PaymentService/Health"


class Status(enum.IntEnum):
    """Where a payment stands. A succeeded one may have been given back since: its message says so."""

    PENDING = pb.PAYMENT_STATUS_PENDING
    SUCCEEDED = pb.PAYMENT_STATUS_SUCCEEDED
    FAILED = pb.PAYMENT_STATUS_FAILED


@dataclass(frozen=True, slots=True)
class Requested:
    """The one answer to a key. `replayed`: an earlier request had got it already. `created_at` is UTC."""

    payment_id: str
    status: Status
    message: str
    key: str
    created_at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it is now. `amount_minor` is in minor units of `currency`: 1250 is 12.50 USD, and 1250 JPY. Times are UTC."""

    payment_id: str
    status: Status
    amount_minor: int
    currency: str
    order_id: str
    key: str
    created_at: datetime
    message: str


class Refused(Exception):
    """The service said no, and will say so again. `code` is gRPC's, `message` the service's own words."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class Unanswered(Exception):
    """No answer came in time, and what became of the request is not known: repeat it later, under the same key.

    `code` and `message` are those of the last attempt.
    """

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


_WORTH: Final = 0.1
"""An attempt that has less than this share of its time left is not begun: it could only say that its time was over."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: `attempt_s` for each attempt, `total_s` for all of them with the pauses between.

    The pause after the first attempt is about `pause_s`, and twice as long after each further one, at most `longest_pause_s`.
    """

    attempt_s: float = 5.0
    total_s: float = 30.0
    pause_s: float = 0.1
    longest_pause_s: float = 2.0

    def pauses(self) -> Iterator[float]:
        """Pauses before the second, the third attempt and so on, in seconds, each shortened by chance to spread callers."""
        pause = self.pause_s
        while True:
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - to spread callers, not to hide anything
            pause = min(2 * pause, self.longest_pause_s)


class _Attempts:
    """The attempts at one call: how long the next one may take, and whether there is one after a failure."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pauses = patience.pauses()
        self._until = time.monotonic() + patience.total_s

    def timeout_s(self) -> float:
        return max(0.001, min(self._patience.attempt_s, self._until - time.monotonic()))

    def pause_after(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next attempt. Raises `Refused`, or `Unanswered` when the time is over."""
        code, message = _outcome(error)
        if code not in REPEATED:
            raise Refused(code, message) from error
        pause = next(self._pauses)
        if time.monotonic() + pause + _WORTH * self._patience.attempt_s >= self._until:
            raise Unanswered(code, message) from error
        return pause


class _Said:
    """What each call of a client carries, and the options of its channel."""

    def __init__(self, api_key: str | None, merchant_id: str | None, patience: Patience) -> None:
        said = (("x-api-key", api_key), ("x-merchant-id", merchant_id))
        self.metadata = tuple((name, value) for name, value in said if value is not None)
        self.patience = patience


class PaymentClient:
    """The service at `address` (`host:port`), for threads. Close it, or use it in a `with` block.

    `api_key` names the merchant; `merchant_id` does behind a gateway that is trusted. `credentials` encrypts the connection, which
    is plain without them. Safe to share between threads.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        merchant_id: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        self._said = _Said(api_key, merchant_id, patience or Patience())
        self._request = self._channel.unary_unary(
            _REQUEST, pb.RequestPaymentRequest.SerializeToString, pb.RequestPaymentResponse.FromString
        )
        self._get = self._channel.unary_unary(_GET, pb.GetPaymentRequest.SerializeToString, pb.GetPaymentResponse.FromString)
        self._health = self._channel.unary_unary(_HEALTH, pb.HealthRequest.SerializeToString, pb.HealthResponse.FromString)

    def request(
        self, *, amount_minor: int, currency: str, order_id: str, key: str, metadata: Mapping[str, str] | None = None
    ) -> Requested:
        """Ask for a payment of `amount_minor` minor units of `currency`, once for ever per `key` (8 to 255 characters).

        Called twice with the same words it returns the first answer again. Raises `Refused`; raises `Unanswered` when it gives up,
        and then only the same call with the same key tells what became of it.
        """
        wish = _wish(amount_minor, currency, order_id, key, metadata)
        answer, call = self._persist(lambda timeout: self._request.with_call(wish, timeout=timeout, metadata=self._said.metadata))
        return _requested(answer, call.trailing_metadata())

    def get(self, payment_id: str) -> Payment:
        """The payment as it is now. Raises `Refused` (NOT_FOUND for one that is not this caller's) and `Unanswered`."""
        wish = pb.GetPaymentRequest(payment_id=payment_id)
        return _payment(self._persist(lambda timeout: self._get(wish, timeout=timeout, metadata=self._said.metadata)))

    def health(self) -> str:
        """`ok` while the service is up. Asked once, without patience. Raises `Unanswered`, `Refused`."""
        try:
            return self._health(pb.HealthRequest(), timeout=self._said.patience.attempt_s).status
        except grpc.RpcError as error:
            raise _final(error) from error

    def close(self) -> None:
        """Close the connection. Called twice, the second does nothing."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _persist(self, attempt: Callable[[float], T]) -> T:
        attempts = _Attempts(self._said.patience)
        while True:
            try:
                return attempt(attempts.timeout_s())
            except grpc.RpcError as error:
                time.sleep(attempts.pause_after(error))


class AsyncPaymentClient:
    """The same for asyncio. Close it, or use it in an `async with` block."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        merchant_id: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
        self._said = _Said(api_key, merchant_id, patience or Patience())
        self._request: grpc.aio.UnaryUnaryMultiCallable[pb.RequestPaymentRequest, pb.RequestPaymentResponse]
        self._request = self._channel.unary_unary(
            _REQUEST, pb.RequestPaymentRequest.SerializeToString, pb.RequestPaymentResponse.FromString
        )
        self._get: grpc.aio.UnaryUnaryMultiCallable[pb.GetPaymentRequest, pb.GetPaymentResponse]
        self._get = self._channel.unary_unary(_GET, pb.GetPaymentRequest.SerializeToString, pb.GetPaymentResponse.FromString)
        self._health: grpc.aio.UnaryUnaryMultiCallable[pb.HealthRequest, pb.HealthResponse]
        self._health = self._channel.unary_unary(_HEALTH, pb.HealthRequest.SerializeToString, pb.HealthResponse.FromString)

    async def request(
        self, *, amount_minor: int, currency: str, order_id: str, key: str, metadata: Mapping[str, str] | None = None
    ) -> Requested:
        """See `PaymentClient.request`."""
        wish = _wish(amount_minor, currency, order_id, key, metadata)

        async def attempt(timeout_s: float) -> Requested:
            call = self._request(wish, timeout=timeout_s, metadata=grpc.aio.Metadata(*self._said.metadata))
            return _requested(await call, await call.trailing_metadata())

        return await self._persist(attempt)

    async def get(self, payment_id: str) -> Payment:
        """See `PaymentClient.get`."""
        wish = pb.GetPaymentRequest(payment_id=payment_id)

        async def attempt(timeout_s: float) -> Payment:
            return _payment(await self._get(wish, timeout=timeout_s, metadata=grpc.aio.Metadata(*self._said.metadata)))

        return await self._persist(attempt)

    async def health(self) -> str:
        """See `PaymentClient.health`."""
        try:
            return (await self._health(pb.HealthRequest(), timeout=self._said.patience.attempt_s)).status
        except grpc.RpcError as error:
            raise _final(error) from error

    async def close(self) -> None:
        """Close the connection. Called twice, the second does nothing."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _persist(self, attempt: Callable[[float], Awaitable[T]]) -> T:
        attempts = _Attempts(self._said.patience)
        while True:
            try:
                return await attempt(attempts.timeout_s())
            except grpc.RpcError as error:
                await asyncio.sleep(attempts.pause_after(error))


def _wish(
    amount_minor: int, currency: str, order_id: str, key: str, metadata: Mapping[str, str] | None
) -> pb.RequestPaymentRequest:
    return pb.RequestPaymentRequest(
        amount_minor=amount_minor, currency=currency, order_id=order_id, idempotency_key=key, metadata=metadata or {}
    )


def _requested(answer: pb.RequestPaymentResponse, trailing: Any) -> Requested:
    replayed = ("idempotent-replayed", "true") in [(name, value) for name, value in trailing or ()]
    return Requested(
        answer.payment_id, Status(answer.status), answer.message, answer.idempotency_key, _moment(answer.created_at), replayed
    )


def _payment(answer: pb.GetPaymentResponse) -> Payment:
    return Payment(
        payment_id=answer.payment_id,
        status=Status(answer.status),
        amount_minor=answer.amount_minor,
        currency=answer.currency,
        order_id=answer.order_id,
        key=answer.idempotency_key,
        created_at=_moment(answer.created_at),
        message=answer.message,
    )


def _moment(stamp: Timestamp) -> datetime:
    return datetime.fromtimestamp(stamp.seconds, UTC) + timedelta(microseconds=stamp.nanos // 1000)


def _outcome(error: grpc.RpcError) -> tuple[StatusCode, str]:
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)  # every error that a call raises is one
    return error.code(), error.details() or ""


def _final(error: grpc.RpcError) -> Refused | Unanswered:
    code, message = _outcome(error)
    return Unanswered(code, message) if code in REPEATED else Refused(code, message)
