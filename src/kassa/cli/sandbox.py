"""`kassa sandbox`: the stand-ins for every neighbour, alone."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from kassa.cli import process
from kassa.cli.show import people
from kassa.cli.where import development


def sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8010,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    book: Annotated[
        Path | None,
        typer.Option(
            help="The file in which the stand-ins keep their book; made when absent.  [default: sandbox.db in KASSA_HOME]"
        ),
    ] = None,
    webhook_url: Annotated[str | None, typer.Option(help="Where buyers' decisions on payment links are told.")] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(help="The secret that signs them.", envvar="PROVIDER_WEBHOOK_SECRET")
    ] = None,
    payme_url: Annotated[
        str | None, typer.Option(help="Where Payme's page calls the merchant, with PAYME_LOGIN and PAYME_KEY.")
    ] = None,
) -> None:
    """Run the sandbox alone: payment, inventory, order, product, user and notification services that can be told to fail.

    ```sh
    kassa sandbox --port 8010
    export PAYMENT_SERVICE_URL=http://localhost:8010/sandbox/payment
    kassa dev                        # now pays at the sandbox, over HTTP

    # the next charge is booked, and then never answered
    curl localhost:8010/sandbox/control/scripts -d '{"service": "payment", "act": "process", "behaviour": "book_then_timeout"}'
    curl localhost:8010/sandbox/control/book
    ```

    `GET /sandbox/control` lists the services, their acts and all behaviours. With --payme-url a buyer pays at
    `/sandbox/payme/<purchase_id>`, where a click plays Payme's calls.
    """
    from kassa.kit import logs
    from kassa.sandbox import create_sandbox

    settings = development()
    logs.configure(settings.log_level, as_json=False)
    with contextlib.closing(process.listen(host, port)) as listener:
        place = book or settings.kassa_home / "sandbox.db"
        place.parent.mkdir(parents=True, exist_ok=True)
        app = create_sandbox(
            place,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            payme_url=payme_url,
            payme_key=settings.payme_key if payme_url else None,
            payme_login=settings.payme_login,
            payme_account_field=settings.payme_account_field,
        )
        people().print(f"The sandbox listens on http://localhost:{port}/sandbox/control (Ctrl-C stops it)", soft_wrap=True)

        async def work(stop: asyncio.Event) -> int:
            await process.serve(app, listener, stop, drain_s=1, lifespan="on")
            return 0

        code = process.run(work)
    raise typer.Exit(code)
