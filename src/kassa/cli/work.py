"""`kassa work`: the workers, for deployment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Annotated

import typer

from kassa.cli import process
from kassa.cli.where import beside
from kassa.settings import Settings

_GIVES_WAY = 10
"""On a machine that answers buyers, too, a backlog of deliveries is not to be felt by them."""


def work(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this worker only; may be given more than once.  [default: all]")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Where to serve /metrics, /health and /ready.  [default: METRICS_PORT, else nowhere]"),
    ] = None,
) -> None:
    """Run the workers: they finish what a request left open, ask for unknown verdicts and close what is overdue.

    Production, unless PRODUCTION=false; needs the same settings as `kassa serve`. Run as many as you like: each piece of work is
    claimed by one of them, and taken over when its owner dies.

    ```sh
    kassa work
    ```
    """
    settings = beside(Settings.load(False, METRICS_PORT=metrics_port))
    from kassa.kit import logs

    logs.configure(settings.log_level, as_json=settings.production or not sys.stderr.isatty())
    with contextlib.suppress(AttributeError, OSError):  # not every system has it
        os.nice(_GIVES_WAY)

    with process.stoppable(), process.watch_port(settings) as watch:

        async def live(stop: asyncio.Event) -> int:
            from kassa import migrate
            from kassa.bootstrap import assemble

            await migrate.check(settings.database_url)
            async with assemble(settings) as kassa:
                process.log.info("working")
                return await process.live(kassa, settings, None, tuple(only or ()), stop, watch=watch)

        code = process.run(live)
    raise typer.Exit(code)
