"""`kassa rpc`: the gRPC surface alone, for deployment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from kassa.cli import process
from kassa.cli.where import beside
from kassa.settings import Settings

_NEEDED = ("DATABASE_URL", "KASSA_SECRET")
_WORKERS = ("payments",)


def rpc(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port to listen on.  [default: GRPC_PORT, else PORT, else 7000]"),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Where to serve /metrics, /health and /ready.  [default: METRICS_PORT, else nowhere]"),
    ] = None,
) -> None:
    """Serve gRPC alone (payments.v1.PaymentService). Production, unless PRODUCTION=false.

    Needs DATABASE_URL and KASSA_SECRET, and a schema that `kassa migrate` has brought up to date. It settles simulated and overdue
    payments itself; whatever else is left open is done by `kassa work`. Run as many as you like.

    ```sh
    export DATABASE_URL=postgresql://kassa:…@db/kassa
    export KASSA_SECRET=$(openssl rand -base64 32)   # once, and keep it
    kassa migrate && kassa rpc --port 7000
    ```
    """
    settings = beside(Settings.load(False, need=_NEEDED, SURFACES="grpc", GRPC_PORT=port, METRICS_PORT=metrics_port))
    from kassa.kit import logs

    logs.configure(settings.log_level, as_json=settings.production or not sys.stderr.isatty())
    with process.stoppable(), contextlib.closing(process.hold_rpc_port(settings)) as held, process.watch_port(settings) as watch:

        async def work(stop: asyncio.Event) -> int:
            from kassa import migrate
            from kassa.bootstrap import assemble

            await migrate.check(settings.database_url)
            async with assemble(settings) as kassa:
                process.log.info("serving gRPC on port %s", settings.grpc_port)
                return await process.live(kassa, settings, None, _WORKERS, stop, rpc=held, watch=watch)

        code = process.run(work)
    raise typer.Exit(code)


def stands_alone() -> bool:
    """Whether SURFACES is exactly `grpc`: then `kassa serve` means this command. Raises `SettingsError`."""
    return Settings.load(False, need=()).surfaces == ("grpc",)
