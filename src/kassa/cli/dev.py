"""`kassa dev`: everything in one process, with nothing to set up.

In order: take the ports, launch the embedded PostgreSQL (unless `DATABASE_URL` is set), load the code while it comes up, bring
the schema and the demo data up to date, serve, and say what to open and type. What can stop it is found before anything is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from kassa.cli import process
from kassa.cli.show import CommandError, people
from kassa.cli.welcome import welcome
from kassa.cli.where import development
from kassa.kit import embedded
from kassa.settings import Settings


@dataclass(frozen=True, slots=True)
class _Doors:
    """The ports of this process: HTTP and gRPC, None where that is not among `SURFACES`."""

    http: socket.socket | None
    rpc: socket.socket | None


def dev(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port to listen on.  [default: HTTP_PORT, else 8000]")
    ] = None,
) -> None:
    """Run everything in one process: PostgreSQL, the schema, the demo shop, all APIs, the workers and the sandbox.

    HTTP is served on port 8000 and gRPC on 7000 (GRPC_PORT). Data live in KASSA_HOME (`.kassa`) and stay there. Ctrl-C stops it;
    after a crash, just start it again.

    ```sh
    kassa dev
    LAN=1 kassa dev                                      # reachable from other machines
    SURFACES=grpc PORT=7000 kassa dev                    # gRPC alone
    DATABASE_URL=postgresql://me@localhost/shop kassa dev  # your own PostgreSQL, 15 or newer
    ```
    """
    began = time.monotonic()
    settings = development(HTTP_PORT=port)
    from kassa.kit import logs

    logs.configure(settings.log_level, as_json=False)
    with process.stoppable(), contextlib.ExitStack() as opened:
        doors = _take_ports(settings, opened)
        server = opened.enter_context(_postgres(settings))
        from kassa import bootstrap  # while PostgreSQL comes up: loading all of Kassa takes longer than that

        del bootstrap
        dsn = server.ready() if server else settings.database_url
        _bring_up_to_date(dsn)
        ready = settings.model_copy(update={"database_url": dsn})

        async def work(stop: asyncio.Event) -> int:
            return await _live(ready, server, doors, stop, began)

        code = process.run(work)
    people().print("Stopped. Your data are kept; `kassa dev` goes on from here.", soft_wrap=True)
    raise typer.Exit(code)


def _take_ports(settings: Settings, opened: contextlib.ExitStack) -> _Doors:
    http = rpc = None
    if settings.surfaces != ("grpc",):
        http = opened.enter_context(contextlib.closing(process.listen(settings.http_host, settings.http_port)))
    if "grpc" in settings.surfaces:
        rpc = opened.enter_context(contextlib.closing(process.hold_rpc_port(settings)))
    return _Doors(http, rpc)


@contextlib.contextmanager
def _postgres(settings: Settings) -> Iterator[embedded.Embedded | None]:
    if settings.database_url:
        yield None
        return
    server = embedded.start(settings.kassa_home)
    try:
        for note in server.notes:
            sys.stderr.write(f"kassa: {note}\n")
        yield server
    finally:
        server.stop()


def _bring_up_to_date(dsn: str) -> None:
    from kassa import migrate

    try:
        asyncio.run(migrate.check(dsn))
    except migrate.SchemaOutdated:
        migrate.upgrade(dsn)


async def _live(settings: Settings, server: embedded.Embedded | None, doors: _Doors, stop: asyncio.Event, began: float) -> int:
    from kassa.bootstrap import assemble

    served = asyncio.Event()
    async with assemble(settings) as kassa:
        await kassa.seed()
        if server is not None:
            asyncio.get_running_loop().add_reader(server.output, _postgres_ended, server, stop)
        telling = asyncio.create_task(_tell_when_ready(settings, doors, served, began), name="welcome")
        code = await process.live(kassa, settings, doors.http, (), stop, rpc=doors.rpc, ready=served)
        telling.cancel()
        if server is not None:
            asyncio.get_running_loop().remove_reader(server.output)
            if not server.alive():
                raise CommandError(f"the embedded PostgreSQL has ended; see {settings.kassa_home / 'logs' / 'postgres.log'}")
    return code


def _postgres_ended(server: embedded.Embedded, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(server.output)
    stop.set()


async def _tell_when_ready(settings: Settings, doors: _Doors, served: asyncio.Event, began: float) -> None:
    """Wait until our own server answers, then print what to open and what to type."""
    await served.wait()
    while doors.http is not None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", settings.http_port)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            first = await reader.readline()
            writer.close()
            if b" 200 " in first:
                break
        await asyncio.sleep(0.02)
    welcome(settings, time.monotonic() - began)
