"""What stands before several processes of Kassa in a cluster: it sends new connections to those that say that they are ready.

As Kubernetes does it: a look at each process every so often; one that says no, or nothing, gets no new connections, and those that it has
stay. Nothing is sent twice: what a process breaks, its client sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LOOK_S = 0.2


def http_says_yes(port: int) -> bool:
    """Whether `/ready` answers 200."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        line.request("GET", "/ready")
        return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def grpc_says_yes(port: int) -> bool:
    """Whether the health service answers SERVING."""
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as line:
        try:
            said = health_pb2_grpc.HealthStub(line).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(said.status == health_pb2.HealthCheckResponse.SERVING)


class Balancer:
    """Listens at `port`; use it as a context manager. Processes come and go with `add` and `remove`, named by their own ports."""

    def __init__(self, says_yes: Callable[[int], bool]) -> None:
        self.port = 0
        self._says_yes = says_yes
        self._ready: dict[int, bool] = {}
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._looking: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    def add(self, port: int) -> None:
        """Look at this process, too; it gets connections when it says that it is ready."""
        self._ready.setdefault(port, False)

    def remove(self, port: int) -> None:
        """Forget a process that has ended."""
        self._ready.pop(port, None)

    def is_ready(self, port: int) -> bool:
        """Whether this process gets new connections."""
        return self._ready.get(port, False)

    def __enter__(self) -> Balancer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._looking = asyncio.create_task(self._look())

    async def _shut(self) -> None:
        assert self._server is not None
        assert self._looking is not None
        self._server.close()
        self._looking.cancel()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(self._looking, *self._links, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            ports = list(self._ready)
            said = await asyncio.gather(*(asyncio.to_thread(self._says_yes, port) for port in ports))
            for port, yes in zip(ports, said, strict=True):
                if port in self._ready:
                    self._ready[port] = yes
            await asyncio.sleep(LOOK_S)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            there = [port for port, ready in self._ready.items() if ready]
            self._turn += 1
            if there:
                far, on = await asyncio.open_connection("127.0.0.1", there[self._turn % len(there)])
                await asyncio.gather(_carry(reader, on), _carry(far, writer))
                on.close()
        except OSError:
            pass  # the client sees its connection break
        finally:
            self._links.discard(task)
            writer.close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Hand on until the source ends, then end the target: a process that closes a kept connection closes it for the client."""
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
