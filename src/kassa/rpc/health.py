"""`grpc.health.v1.Health`: whether calls may be sent here.

SERVING means what `/ready` means: the database answers and has the schema of this code. A check looks at that moment; while
somebody watches, it is looked at every second. From the first moment of a shutdown the answer is NOT_SERVING.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

from kassa.rpc.payments import SERVICE

if TYPE_CHECKING:
    import grpc

    Call = grpc.aio.ServicerContext[Any, Any]

NAME: Final = "grpc.health.v1.Health"
SERVING: Final = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
NOT_SERVING: Final = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)

_KNOWN = frozenset({"", SERVICE})
_EVERY_S = 1.0


class Health(HealthServicer):
    """The health service of one process. `run` looks while somebody watches; `leave` says goodbye."""

    def __init__(self, look: Callable[[], Awaitable[bool]]) -> None:
        self._look = look
        self._serving = True
        self._leaving = False
        self._changed = asyncio.Event()
        self._watched = asyncio.Event()
        self._watchers = 0

    async def run(self) -> None:
        """Look every second as long as there are watchers. Ends when it is cancelled."""
        while True:
            await self._watched.wait()
            await self._learn()
            await asyncio.sleep(_EVERY_S)

    def leave(self) -> None:
        """NOT_SERVING from now on; watchers are told and sent away."""
        self._leaving = True
        self._tell(serving=False)

    async def Check(  # noqa: N802 - the name is the standard's
        self, request: health_pb2.HealthCheckRequest, context: Call
    ) -> health_pb2.HealthCheckResponse:
        """Answer for one name now. NOT_FOUND for another one."""
        await _find(request.service, context)
        await self._learn()
        return self._now()

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Call
    ) -> None:
        """Tell the status of one name now and whenever it changes. NOT_FOUND for another one."""
        await _find(request.service, context)
        await self._learn()
        told: health_pb2.HealthCheckResponse | None = None
        with self._watching():
            while True:
                changed, now = self._changed, self._now()
                if now is not told:
                    await context.write(now)
                    told = now
                elif self._leaving:
                    return
                else:
                    await changed.wait()

    def _now(self) -> health_pb2.HealthCheckResponse:
        return SERVING if self._serving else NOT_SERVING

    async def _learn(self) -> None:
        serving = await self._look()
        if not self._leaving:
            self._tell(serving=serving)

    def _tell(self, *, serving: bool) -> None:
        if serving != self._serving or self._leaving:
            self._serving = serving
            self._changed.set()
            self._changed = asyncio.Event()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        self._watched.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()


async def _find(name: str, call: Call) -> None:
    if name not in _KNOWN:
        await call.abort(StatusCode.NOT_FOUND, "Unknown service")
