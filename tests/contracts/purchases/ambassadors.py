"""An ambassadors service of our own making: it keeps a diary, sets its prices and can be told to misbehave.

Its messages are made from the proto as the contract prints it. It shares no code with Kassa's sandbox.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from tests import rig
from tests.contracts.grpc.contract import compiled

METHOD = "/ambassador.AmbassadorValidation/ValidateAmbassadors"
PROTO = """\
syntax = "proto3";
package ambassador;

service AmbassadorValidation {
  rpc ValidateAmbassadors(ValidateRequest) returns (ValidateResponse);
}

message ValidateRequest  { repeated int64 ambassador_ids = 1; }
message ValidateResponse { repeated ValidAmbassador valid_ambassadors = 1; repeated int64 invalid_ids = 2; }
message ValidAmbassador  { int64 ambassador_id = 1; int64 price = 2; }  // price in tiyin
"""


@functools.cache
def message(name: str) -> Any:
    """The class of a message of the contract: `message("ValidateRequest")(ambassador_ids=[1])`."""
    pool = descriptor_pool.DescriptorPool()
    for file in compiled(PROTO).file:
        pool.AddSerializedFile(file.SerializeToString())
    return {
        short: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"ambassador.{short}"))
        for short in ("ValidateRequest", "ValidateResponse", "ValidAmbassador")
    }[name]


def answer(prices: list[tuple[int, int]], invalid: list[int] | tuple[int, ...] = ()) -> bytes:
    """An answer that names these ids with these prices, and those as invalid."""
    response = message("ValidateResponse")(invalid_ids=invalid)
    for ambassador, price in prices:
        response.valid_ambassadors.add(ambassador_id=ambassador, price=price)
    said: bytes = response.SerializeToString()
    return said


@dataclass(frozen=True)
class Call:
    """One call as it came in: whom it asked for, how long it would wait, from which connection."""

    ids: list[int]
    patience_s: float
    peer: str


Behaviour = Callable[[list[int], grpc.ServicerContext], bytes]


def fails(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Behaviour:
    """A gRPC error."""

    def behave(_ids: list[int], context: grpc.ServicerContext) -> bytes:
        context.abort(code, "not today")

    return behave


def sleeps(seconds: float) -> Behaviour:
    """An honest answer that comes too late."""

    def behave(ids: list[int], _context: grpc.ServicerContext) -> bytes:
        time.sleep(seconds)
        return answer([(one, 1000) for one in ids])

    return behave


def says(make: Callable[[list[int]], bytes]) -> Behaviour:
    """An answer made from the ids that were asked."""
    return lambda ids, _context: make(ids)


@dataclass
class Agency:
    """Whom it knows at what price (tiyin), what it was asked, and how it will answer next."""

    port: int = field(default_factory=rig.free_port)
    prices: dict[int, int] = field(default_factory=dict)
    diary: list[Call] = field(default_factory=list)
    always: Behaviour | None = None
    _next: deque[Behaviour] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(10**6 + secrets.randbelow(10**11)))
    _server: grpc.Server | None = None

    @property
    def settings(self) -> dict[str, str]:
        """With these a Kassa asks this service."""
        return {"AMBASSADOR_GRPC_HOST": "127.0.0.1", "AMBASSADOR_GRPC_PORT": str(self.port)}

    def hire(self, *prices: int) -> list[int]:
        """Ambassadors whom nobody else uses, one for each price."""
        with self._lock:
            hired = {next(self._names): price for price in prices}
            self.prices |= hired
        return list(hired)

    def fire(self, *ambassadors: int) -> None:
        """From now on they are invalid."""
        for one in ambassadors:
            del self.prices[one]

    def will(self, *behaviours: Behaviour) -> None:
        """Meet the next calls so; afterwards as usual."""
        with self._lock:
            self._next = deque(behaviours)

    @contextmanager
    def misbehaving(self, behaviour: Behaviour) -> Iterator[None]:
        """Meet every call so, until the block ends."""
        self.always = behaviour
        try:
            yield
        finally:
            self.always = None

    @contextmanager
    def watched(self) -> Iterator[list[Call]]:
        """The calls that come while the block runs; complete when it has ended."""
        seen: list[Call] = []
        before = len(self.diary)
        yield seen
        seen.extend(self.diary[before:])

    def open(self) -> None:
        """Answer at its port. Raises AssertionError when it does already, or when the port is taken."""
        assert self._server is None
        server = grpc.server(futures.ThreadPoolExecutor(64), options=(("grpc.so_reuseport", 0),))
        handler: Any = grpc.unary_unary_rpc_method_handler(self._answer, message("ValidateRequest").FromString)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("ambassador.AmbassadorValidation", {"ValidateAmbassadors": handler})]
        )
        assert server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        server.start()
        self._server = server

    def close(self) -> None:
        """Hang up on everybody. Safe to call twice."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def _answer(self, request: Any, context: grpc.ServicerContext) -> bytes:
        ids = list(request.ambassador_ids)
        with self._lock:
            self.diary.append(Call(ids, context.time_remaining() or 0, context.peer()))
            behaviour = self._next.popleft() if self._next else self.always
        if behaviour is not None:
            return behaviour(ids, context)
        known = [(one, self.prices[one]) for one in ids if one in self.prices]
        return answer(known, [one for one in ids if one not in self.prices])


@contextmanager
def open_agency() -> Iterator[Agency]:
    """An ambassadors service that answers until the block ends."""
    agency = Agency()
    agency.open()
    try:
        yield agency
    finally:
        agency.close()
