"""How a long-running command lives: it listens, works, and on Ctrl-C or SIGTERM ends in order.

First `/ready` says no while requests are still served, for `DRAIN_S` seconds: so long a balancer may take to hear of it. Then no
new requests are taken and running ones are answered, then the workers finish what they hold, then the pool is closed.
Ports are taken before anything else is begun, so that a second start changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Literal

from kassa.cli.show import CommandError

if TYPE_CHECKING:
    from uvicorn import Server

    from kassa.bootstrap import Kassa
    from kassa.rpc.server import Server as RpcServer
    from kassa.settings import Settings

log = logging.getLogger("kassa")

ANSWER_S = 10
"""How long a running request may take after the wish to stop, in seconds."""
WORKERS_STOP_S = 15
_YOUNG = 20_000
"""New objects between two looks of the garbage collector: as many as some ten purchases make."""


def listen(host: str, port: int, name: str = "HTTP_PORT") -> socket.socket:
    """Take a port for HTTP, which the setting `name` names. Raises `CommandError` when it is taken or not allowed."""
    listener = _take(name, host, port)
    listener.listen(2048)
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def watch_port(settings: Settings) -> Iterator[socket.socket | None]:
    """Where a process without an HTTP surface shows its figures, while the block runs; None where `METRICS_PORT` is not set."""
    if settings.metrics_port is None:
        yield None
        return
    with contextlib.closing(listen(settings.http_host, settings.metrics_port, "METRICS_PORT")) as listener:
        yield listener


def hold_rpc_port(settings: Settings) -> socket.socket:
    """Hold the gRPC port until the server listens on it itself. Raises `CommandError` when it is taken or not allowed."""
    loopback = settings.http_host == "127.0.0.1"
    return _take("GRPC_PORT", "127.0.0.1" if loopback or not socket.has_dualstack_ipv6() else "::", settings.grpc_port)


def _take(name: str, host: str, port: int) -> socket.socket:
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if host == "::":
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        reason = "is taken by another program" if error.errno in {48, 98} else f"cannot be used on {host}: {error.strerror}"
        raise CommandError(f"{name}: port {port} {reason}; choose another one, such as {name}={port % 60000 + 80}") from None
    return taken


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run `work` on a fast event loop; the event it is given is set by Ctrl-C or SIGTERM. Returns its exit code.

    Whoever asks a second time does not want to wait: then everything is cut off, and the code is 130.
    """
    _keep_memory_private()

    async def main() -> int:
        stop, loop, task = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

        def wish() -> None:
            if stop.is_set() and task is not None:
                task.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, wish)
        return await work(stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(main())
        except asyncio.CancelledError:
            return 130


def _keep_memory_private() -> None:
    """Leave no core dump behind: this memory holds cards for the length of a request, and keys for ever."""
    try:
        import resource
    except ImportError:  # a system that knows no such limit
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While the block runs, SIGTERM ends it as Ctrl-C does: with everything that was opened closed again."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def live(
    kassa: Kassa,
    settings: Settings,
    listener: socket.socket | None,
    workers: tuple[str, ...] | None,
    stop: asyncio.Event,
    *,
    rpc: socket.socket | None = None,
    watch: socket.socket | None = None,
    ready: asyncio.Event | None = None,
) -> int:
    """Serve HTTP on `listener`, gRPC on the port that `rpc` holds, and run `workers` (empty: all, None: none) until `stop`.

    On `watch` the process shows its figures, where it does not do so on `listener`. `ready` is set when gRPC is served, just before
    HTTP is. Returns the exit code. Raises `CommandError`.
    """
    from kassa.kit.figures import watch_loop

    await kassa.prepare()
    drain_s = settings.drain_s or 0
    watching = asyncio.create_task(watch_loop(), name="event loop")
    surfaces: dict[str, Coroutine[Any, Any, Any]] = {}
    if rpc is not None:
        rpc.close()
        surfaces["grpc"] = _serve_rpc(await _start_rpc(kassa), stop, drain_s)
    if listener is not None:
        if kassa.sandbox is not None:
            await kassa.sandbox.start()  # it goes on with what an earlier process had left to tell, at the port of this one
        surfaces["http"] = serve(kassa.app, listener, stop, answer_s=ANSWER_S if settings.production else 2, drain_s=drain_s)
    if watch is not None:
        shown_s = drain_s if rpc is not None else 0
        surfaces["metrics"] = serve(kassa.make_watch(), watch, stop, answer_s=ANSWER_S, drain_s=shown_s)
    _calm_collector()
    if ready is not None:
        ready.set()
    done_serving = asyncio.Event()
    serving = _all(done_serving, surfaces or {"wish to stop": stop.wait()})
    if workers is not None:
        serving.append(asyncio.create_task(kassa.run_workers(done_serving, workers), name="workers"))
    await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    _, late = await asyncio.wait(serving, timeout=drain_s + ANSWER_S + WORKERS_STOP_S)
    for task in late:
        log.warning("%s did not stop in time and is cut off; another process takes over what it held", task.get_name())
        task.cancel()
    watching.cancel()
    await asyncio.gather(*serving, watching, return_exceptions=True)
    return _failures(serving)


def _calm_collector() -> None:
    """Let the garbage collector leave alone what stays as long as the process does, and look at the rest more rarely.

    The libraries' hundred thousand objects are none of its business, and every request waits while it looks at them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


async def _start_rpc(kassa: Kassa) -> RpcServer:
    # The C core writes lines of its own about every stranger's broken handshake; what matters we log ourselves.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kassa.rpc.server import CannotListen, Server

    server = Server(kassa.ctx, kassa.rpc)
    try:
        await server.start()
    except CannotListen as error:
        raise CommandError(str(error)) from None
    return server


async def _serve_rpc(server: RpcServer, stop: asyncio.Event, drain_s: float) -> None:
    await stop.wait()
    await server.stop(drain_s)


def _all(done: asyncio.Event, surfaces: dict[str, Coroutine[Any, Any, Any]]) -> list[asyncio.Task[None]]:
    """A task for each surface; `done` is set when the last one has ended, however it did."""
    left = set(surfaces)

    async def follow(name: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        finally:
            left.discard(name)
            if not left:
                done.set()

    return [asyncio.create_task(follow(name, work), name=name) for name, work in surfaces.items()]


def _failures(tasks: list[asyncio.Task[None]]) -> int:
    failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
    for task in failed:
        if isinstance(task.exception(), ValueError) and task.get_name() == "workers":
            raise CommandError(f"--only: {task.exception()}")
    for task in failed:
        log.error("%s ended unexpectedly", task.get_name(), exc_info=task.exception())
    return 1 if failed else 0


async def serve(
    app: Any,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    answer_s: int,
    drain_s: float = 0,
    lifespan: Literal["on", "off"] = "off",
) -> None:
    """Serve an ASGI application until `stop`, and `drain_s` seconds more; then answer what is running, for at most `answer_s`."""
    server = _server(app, answer_s, lifespan)

    async def leave() -> None:
        await stop.wait()
        if drain_s:
            app.leave()
            await asyncio.sleep(drain_s)
        server.should_exit = True
        if hasattr(app, "close"):
            app.close()  # live streams end now; they would hold up the end

    leaving = asyncio.create_task(leave(), name="wish to stop")
    try:
        await server.serve(sockets=[listener])
    finally:
        leaving.cancel()


def _server(app: Any, answer_s: int, lifespan: Literal["on", "off"]) -> Server:
    import uvicorn

    from kassa.cli.connections import Guarded

    class QuietServer(uvicorn.Server):
        """Signals are ours to handle, so the server's own handlers stay away."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return QuietServer(
        uvicorn.Config(
            app,
            http=Guarded,
            log_config=None,
            access_log=False,
            lifespan=lifespan,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=answer_s,
        )
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
