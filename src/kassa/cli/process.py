"""How a long-running command lives: it listens, works, and on Ctrl-C or SIGTERM ends in order.

First no new requests are taken and running ones are answered, then the workers finish what they hold, then the pool is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Literal

from kassa.cli.show import CommandError

if TYPE_CHECKING:
    from uvicorn import Server

    from kassa.bootstrap import Kassa
    from kassa.settings import Settings

log = logging.getLogger("kassa")

DRAIN_S = 10
"""How long a running request may take after the wish to stop, in seconds."""
WORKERS_STOP_S = 15


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is begun. Raises `CommandError` when it is taken or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = "is taken by another program" if error.errno in {48, 98} else f"cannot be used on {host}: {error.strerror}"
        raise CommandError(f"HTTP_PORT: port {port} {reason}; choose another one, such as HTTP_PORT={port % 60000 + 80}") from None
    listener.setblocking(False)
    return listener


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run `work` on a fast event loop; the event it is given is set by Ctrl-C or SIGTERM. Returns its exit code.

    Whoever asks a second time does not want to wait: then everything is cut off, and the code is 130.
    """

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
) -> int:
    """Serve HTTP on `listener` and run `workers` (empty: all, None: none) until `stop`. Returns the exit code."""
    done_serving = asyncio.Event()
    tasks = []
    if listener is not None:
        serving = serve(kassa.app, listener, stop, drain_s=DRAIN_S if settings.production else 2)
        tasks.append(asyncio.create_task(_then(done_serving, serving), name="http"))
    else:
        tasks.append(asyncio.create_task(_then(done_serving, stop.wait()), name="wish to stop"))
    if workers is not None:
        tasks.append(asyncio.create_task(kassa.run_workers(done_serving, workers), name="workers"))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    _, late = await asyncio.wait(tasks, timeout=DRAIN_S + WORKERS_STOP_S)
    for task in late:
        log.warning("%s did not stop in time and is cut off; another process takes over what it held", task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return _failures(tasks)


def _failures(tasks: list[asyncio.Task[None]]) -> int:
    failed = [task for task in tasks if not task.cancelled() and task.exception() is not None]
    for task in failed:
        if isinstance(task.exception(), ValueError) and task.get_name() == "workers":
            raise CommandError(f"--only: {task.exception()}")
    for task in failed:
        log.error("%s ended unexpectedly", task.get_name(), exc_info=task.exception())
    return 1 if failed else 0


async def _then(done: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Do `work`, and set `done` however it ends."""
    try:
        await work
    finally:
        done.set()


async def serve(
    app: Any, listener: socket.socket, stop: asyncio.Event, *, drain_s: int, lifespan: Literal["on", "off"] = "off"
) -> None:
    """Serve an ASGI application until `stop`, then answer what is running, for at most `drain_s` seconds."""
    server = _server(app, drain_s, lifespan)

    async def leave() -> None:
        await stop.wait()
        server.should_exit = True
        if hasattr(app, "close"):
            app.close()  # live streams end now; they would hold up the end

    leaving = asyncio.create_task(leave(), name="wish to stop")
    try:
        await server.serve(sockets=[listener])
    finally:
        leaving.cancel()


def _server(app: Any, drain_s: int, lifespan: Literal["on", "off"]) -> Server:
    import uvicorn

    class QuietServer(uvicorn.Server):
        """Signals are ours to handle, so the server's own handlers stay away."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return QuietServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan=lifespan,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=drain_s,
        )
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
