"""An ambassadors service of a test, which answers as it is told, and a way to it on which connections can be counted and frozen."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from ambassador_service.ambassador_pb2 import ValidAmbassador, ValidateRequest, ValidateResponse

SERVICE, METHOD = "ambassador.AmbassadorValidation", "ValidateAmbassadors"
PRICES = {1: 5000000, 2: 7500000, 3: 10000000}


def answer(valid: Any = (), invalid: Any = ()) -> bytes:
    """An answer as bytes; `valid` are pairs of id and price."""
    pairs = valid.items() if isinstance(valid, dict) else valid
    return ValidateResponse(
        valid_ambassadors=[ValidAmbassador(ambassador_id=each, price=price) for each, price in pairs], invalid_ids=invalid
    ).SerializeToString()


def judge(asked: list[int]) -> bytes:
    """What a good service says."""
    return answer({each: PRICES[each] for each in asked if each in PRICES}, [each for each in asked if each not in PRICES])


class Served:
    """One service. `say` makes the answer (bytes, a status code, or a coroutine of these) of what was asked."""

    def __init__(self) -> None:
        self.say: Callable[[list[int]], Any] = judge
        self.asked: list[list[int]] = []
        self.deadlines: list[float] = []
        self.peers: set[str] = set()
        self.metadata: dict[str, Any] = {}
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen on a port of its own, the same after every `stop`."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers = {METHOD: grpc.unary_unary_rpc_method_handler(self._validate)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """End every call and connection."""
        if self._server is not None:
            await self._server.stop(None)

    async def _validate(self, data: bytes, call: Any) -> bytes:
        asked = list(ValidateRequest.FromString(data).ambassador_ids)
        self.asked.append(asked)
        self.deadlines.append(call.time_remaining())
        self.peers.add(call.peer())
        self.metadata = dict(call.invocation_metadata())
        said = self.say(asked)
        if inspect.isawaitable(said):
            said = await said
        if isinstance(said, grpc.StatusCode):
            await call.abort(said, "secret of a stranger")
        return bytes(said)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """A service that runs."""
    served = Served()
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


class Way:
    """A way to a port. What was begun before `freeze` goes nowhere afterwards, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._frozen: set[asyncio.StreamWriter] = set()
        self._open: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self.port = 0
        self.connections = 0

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def freeze(self) -> None:
        """Let nothing more through on the connections that are open now."""
        self._frozen |= set(self._open)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._open[writer] = back
        try:
            ways = [asyncio.create_task(self._pass_on(*each, writer)) for each in ((reader, back), (there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for each in ways:
                each.cancel()
        finally:
            del self._open[writer]
            back.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if connection not in self._frozen:
                    writer.write(data)
                    await writer.drain()


@contextlib.asynccontextmanager
async def way_to(served: Served) -> AsyncIterator[Way]:
    """A way to the service."""
    way = Way(served.port)
    listening = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    way.port = listening.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        listening.close()
        for writer in list(way._open):
            writer.close()
        while way.open:
            await asyncio.sleep(0.001)
