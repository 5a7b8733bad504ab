"""`payments.v1.PaymentService`: reads the call, asks `collect`, and says what came of it.

Each method is one plain coroutine from bytes to bytes. No interceptor, no wrapper task and no copy stands between, because beside
the little work that a payment is they would be much of its time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import StatusCode

from kassa import collect
from kassa.collect import PaymentMissing
from kassa.kit import trace
from kassa.kit.context import Context, concerns, request_id
from kassa.kit.errors import NotAllowed
from kassa.kit.times import Times
from kassa.kit.window import Limiter
from kassa.rpc.callers import Known, Said, identify, read_metadata
from kassa.rpc.options import RpcOptions
from kassa.rpc.problems import LEAVING, TOO_LATE, Problem, RateLimited, problem_of
from kassa.rpc.read_request import UnknownPayment, parse, payment_id_of, wish_of
from kassa.rpc.shapes import OK, requested, shown
from payments_service import payments_pb2 as pb

if TYPE_CHECKING:
    Call = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = "payments.v1.PaymentService"
DEADLINE_S: Final = 5.0
"""How long a call may take whose caller has set no deadline."""

_QUIET_S = 0.1
"""No call for so long means that all callers wait."""
_QUIET_AT_MOST_S = 1.0

_log = logging.getLogger("kassa.rpc")
_access = logging.getLogger("kassa.access")
_TOOK = Times("kassa_grpc_call_seconds", "Time of a gRPC call to the end of its answer", ["method", "code"])
_REPLAYED = ("idempotent-replayed", "true")
_OURS = frozenset({StatusCode.INTERNAL, StatusCode.UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class _Method:
    """One method: its name, what it does, and what a caller is told when that fails through a fault of ours."""

    name: str
    act: Callable[[Said, bytes, Call], Awaitable[bytes]]
    fault: str


class Payments:
    """The service of one process."""

    def __init__(self, ctx: Context, options: RpcOptions) -> None:
        self._ctx = ctx
        self._options = options
        self._turns = asyncio.Semaphore(options.at_once)
        limited = options.rate_limit not in {None, "off"}
        self._limiter = Limiter("grpc", options.rate_limit or "", options.redis) if limited else None
        self._running: set[asyncio.Task[Any]] = set()
        self._leaving = False
        self._cut = False
        self._last_moment = False
        self._came = 0
        self._gone = asyncio.Event()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods by name. Messages are read here and not by the library, which would answer a broken one with our insides."""
        methods = (
            _Method("RequestPayment", self._request, "Internal error processing payment request"),
            _Method("GetPayment", self._get, "Internal error retrieving payment"),
            _Method("Health", self._health, "Internal error"),
        )
        return {method.name: grpc.unary_unary_rpc_method_handler(self._serving(method)) for method in methods}

    async def leave(self, grace_s: float) -> None:
        """Turn new calls away, wait for running ones, and end what still runs after `grace_s` seconds.

        What is ended is rolled back, and its callers are told to come again. Then, for a moment, calls that come wait for
        `turn_away`: whoever is not answered does not call again, so that nobody calls while the library stops, for it would reset
        what it has not handed over yet.
        """
        self._leaving = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        self._cut = True
        for task in self._running:
            task.cancel()
        self._last_moment = True
        until = time.monotonic() + _QUIET_AT_MOST_S
        came = -1
        while came != self._came and time.monotonic() < until:
            came = self._came
            await asyncio.sleep(_QUIET_S)

    def turn_away(self) -> None:
        """Tell all who wait, and all who still come, that they may come again."""
        self._gone.set()

    def _serving(self, method: _Method) -> Callable[[bytes, Call], Awaitable[bytes]]:
        async def serve(data: bytes, call: Call) -> bytes:
            began = time.perf_counter()
            said = read_metadata(call.invocation_metadata() or ())
            request_id.set(said.request_id)
            task = asyncio.current_task()
            assert task is not None
            if not self._leaving:
                self._running.add(task)
            with _traced(method.name, said) as span:
                try:
                    answer = await (self._refuse() if self._leaving else self._answer(method, said, data, call))
                except asyncio.CancelledError:
                    _note(method.name, StatusCode.CANCELLED if call.time_remaining() else StatusCode.DEADLINE_EXCEEDED, began)
                    raise
                finally:
                    self._running.discard(task)
                code, message = (StatusCode.OK, "") if isinstance(answer, bytes) else answer
                _note(method.name, code, began)
                if span.on:
                    _tell(span, code)
            if isinstance(answer, bytes):
                call.set_trailing_metadata(tuple(said.trailing))
                return answer
            return await call.abort(code, message, tuple(said.trailing))

        return serve

    async def _refuse(self) -> Problem:
        if self._last_moment:
            self._came += 1
            await self._gone.wait()
        return LEAVING

    async def _answer(self, method: _Method, said: Said, data: bytes, call: Call) -> bytes | Problem:
        """The answer, or why there is none. Whoever goes away cancels this task, and so rolls back what it has open."""
        try:
            if call.time_remaining() is not None:
                return await method.act(said, data, call)
            return await _within(DEADLINE_S, method.act(said, data, call))
        except asyncio.CancelledError:
            if not self._cut:
                raise
            return LEAVING
        except _TooLate:
            return TOO_LATE
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told no more than that it was our fault
            problem = problem_of(error)
            if problem is None:
                _log.exception("a call ended unexpectedly")
                return StatusCode.INTERNAL, method.fault
            return problem

    async def _request(self, said: Said, data: bytes, call: Call) -> bytes:
        request = parse(pb.RequestPaymentRequest, data)
        async with self._turns:
            caller = await self._caller(said, "payments:write", call)
            wish = wish_of(caller.merchant_id, request, self._options.currencies)
            keyed = await collect.request_by_key(self._ctx, wish)
            concerns(payment_id=keyed.payment_id)
        if keyed.replayed:
            said.trailing.append(_REPLAYED)
        return requested(keyed, wish.key)

    async def _get(self, said: Said, data: bytes, call: Call) -> bytes:
        request = parse(pb.GetPaymentRequest, data)
        async with self._turns:
            caller = await self._caller(said, "payments:read", call)
            payment_id = payment_id_of(request.payment_id)
            concerns(payment_id=payment_id)
            try:
                payment, key = await collect.read_keyed(self._ctx, caller.merchant_id, payment_id, keyed_only=not caller.named)
            except PaymentMissing:
                raise UnknownPayment(request.payment_id) from None
        return shown(payment, key)

    async def _health(self, _said: Said, data: bytes, _call: Call) -> bytes:
        """It needs no turn: whoever asks whether we live is not to wait for those who pay."""
        parse(pb.HealthRequest, data)
        return OK

    async def _caller(self, said: Said, scope: str, call: Call) -> Known:
        """For whom the call acts. It counts for the merchant's rate limit, or for the address's of one who shows nothing good."""
        if self._limiter is None:
            return await self._identify(said, scope)
        try:
            caller = await self._identify(said, scope)
        except NotAllowed:
            await self._count(self._limiter, _address(call))
            raise
        await self._count(self._limiter, f"merchant:{caller.merchant_id}" if caller.named else _address(call))
        return caller

    async def _count(self, limiter: Limiter, who: str) -> None:
        if await limiter.hit(who) > 0:
            raise RateLimited

    async def _identify(self, said: Said, scope: str) -> Known:
        options = self._options
        trusted, key_required = options.trust_merchant_header, options.require_api_key
        known = await identify(self._ctx, said, scope, trusted=trusted, key_required=key_required)
        concerns(merchant_id=known.merchant_id)
        return known


class _TooLate(Exception):
    """The time that we give to a call is over."""


async def _within(seconds: float, act: Awaitable[bytes]) -> bytes:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await act
    except TimeoutError:
        if limit.expired():
            raise _TooLate from None
        raise


def _address(call: Call) -> str:
    """Where the caller sits, without its port, which is another one for each connection."""
    return f"address:{call.peer().rpartition(':')[0]}"


def _traced(method: str, said: Said) -> trace.Span:
    """The call's place in its caller's trace, or in a new one. Who only looks whether we live is no part of any."""
    return trace.NOTHING if method == "Health" else trace.arrive(said.traceparent, said.tracestate, f"{SERVICE}/{method}")


def _tell(span: trace.Span, code: StatusCode) -> None:
    span.mark("rpc.system.name", "grpc")
    span.mark("rpc.response.status_code", code.name)
    if code in _OURS:
        span.fail()


def _note(method: str, code: StatusCode, began: float) -> None:
    seconds = time.perf_counter() - began
    _TOOK.note(seconds, method, code.name)
    if _access.isEnabledFor(logging.INFO):
        level = logging.WARNING if code in _OURS else logging.INFO
        ms = round(seconds * 1000, 2)
        _access.log(level, "call", extra={"method": method, "code": code.name, "ms": ms})
