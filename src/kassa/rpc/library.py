"""What the gRPC library brings along, made fit for callers who mean harm: services of its own, and what it writes to the log.

The library reads requests itself where a service is registered as it wants it, and answers a broken one with UNKNOWN, words from
inside and a stack trace in the log. So anybody who reaches the port could fill the log. Here requests are read by us.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from kassa.rpc.read_request import BrokenMessage

if TYPE_CHECKING:
    Call = grpc.aio.ServicerContext[Any, Any]
    Handler = Any  # a named tuple of the library's, which it does not export

Add = Callable[[Any, Any], None]
"""How the library registers a service: `add_…Servicer_to_server`."""


def add_service(server: grpc.aio.Server, add: Add, service: Any) -> None:
    """Register `service` by the library's own `add`, with every request read here; a broken one is INVALID_ARGUMENT.

    Methods that its class does not have itself are not registered: the library's stand-ins for them raise.
    """
    add(service, _Registry(server, set(vars(type(service)))))


class _Registry:
    """Stands in the place of a server while the library registers a service."""

    def __init__(self, server: grpc.aio.Server, written: set[str]) -> None:
        self._server = server
        self._written = written

    def add_generic_rpc_handlers(self, _handlers: Any) -> None:
        """The same methods come once more, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Take the methods of a service."""
        reading = {name: _reading(handler) for name, handler in handlers.items() if name in self._written}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, reading),))


def _reading(handler: Handler) -> Handler:
    """The same method, from bytes."""

    async def one(data: bytes, call: Call) -> Any:
        return await handler.unary_unary(await _read(handler, data, call), call)

    async def following(data: bytes, call: Call) -> None:
        await handler.unary_stream(await _read(handler, data, call), call)

    async def talking(sent: AsyncIterator[bytes], call: Call) -> AsyncIterator[Any]:
        async def read() -> AsyncIterator[Any]:
            async for data in sent:
                yield await _read(handler, data, call)

        async for answer in handler.stream_stream(read(), call):
            yield answer

    ways = {"unary_unary": one, "unary_stream": following, "stream_stream": talking}
    used = {name: way for name, way in ways.items() if getattr(handler, name) is not None}
    return handler._replace(request_deserializer=None, **used)


async def _read(handler: Handler, data: bytes, call: Call) -> Any:
    try:
        return handler.request_deserializer(data)
    except Exception:  # noqa: BLE001 - whatever the bytes do to a parser, they are no request
        return await call.abort(StatusCode.INVALID_ARGUMENT, BrokenMessage().message)


class _CallersLeave(logging.Filter):
    """Drops the stack trace that the library writes for each caller who leaves before the answer is sent. Nothing is wrong then."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or kind.__name__ != "ExecuteBatchError"


def calm_down() -> None:
    """Keep callers from filling the log by leaving early. A second time changes nothing."""
    log = logging.getLogger("grpc._cython.cygrpc")
    if not any(isinstance(each, _CallersLeave) for each in log.filters):
        log.addFilter(_CallersLeave())
