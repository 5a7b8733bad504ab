"""`kassa serve`: the HTTP surfaces, for deployment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from kassa.cli import process, rpc
from kassa.cli.where import beside
from kassa.settings import Settings


def serve(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port to listen on.  [default: HTTP_PORT, else PORT, else 8000]"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.  [default: APP_HOST, else all]")] = None,
) -> None:
    """Serve the HTTP APIs (with SURFACES=grpc: gRPC, as `kassa rpc`). Production, unless PRODUCTION=false.

    Needs DATABASE_URL, JWT_SECRET and KASSA_SECRET, and a schema that `kassa migrate` has brought up to date. Run as many as you
    like, beside at least one `kassa work`.

    ```sh
    export DATABASE_URL=postgresql://kassa:…@db/kassa
    export JWT_SECRET=$(openssl rand -base64 48) KASSA_SECRET=$(openssl rand -base64 32)   # once, and keep them
    kassa migrate && kassa serve --port 8000
    ```
    """
    if rpc.stands_alone():
        rpc.rpc(port)
    settings, left_out = beside(Settings.load(False, HTTP_PORT=port, APP_HOST=host)).for_serving()
    from kassa.kit import logs

    logs.configure(settings.log_level, as_json=settings.production or not sys.stderr.isatty())
    with process.stoppable(), contextlib.closing(process.listen(settings.http_host, settings.http_port)) as listener:

        async def work(stop: asyncio.Event) -> int:
            from kassa import migrate
            from kassa.bootstrap import assemble

            await migrate.check(settings.database_url)
            async with assemble(settings) as kassa:
                process.log.info("serving on %s:%s", settings.http_host, settings.http_port)
                for line in left_out:
                    process.log.warning("%s", line)
                return await process.live(kassa, settings, listener, None, stop)

        code = process.run(work)
    raise typer.Exit(code)
