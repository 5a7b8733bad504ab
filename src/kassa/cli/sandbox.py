"""`kassa sandbox`: the stand-ins for every neighbour, alone; and the clock of a development database, which can be moved."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kassa.cli import process
from kassa.cli.show import AsJson, CommandError, people, say_json
from kassa.cli.where import database, development

if TYPE_CHECKING:
    from kassa.kit.clock import Moved
    from kassa.settings import Settings


_Book = Annotated[
    Path | None,
    typer.Option(help="The file in which the stand-ins keep their book; made when absent.  [default: sandbox.db in KASSA_HOME]"),
]
_AtRoot = Annotated[
    bool,
    typer.Option(
        "--at-root", help="Answer without /sandbox/<service> in front, too: /payments/process, /inventory/deduct, /orders."
    ),
]
_PublicUrl = Annotated[
    str | None, typer.Option(help="How buyers reach payment links.  [default: as the caller of the sandbox does]")
]

app = typer.Typer(name="sandbox", invoke_without_command=True, rich_markup_mode="markdown")


@app.callback()
def sandbox(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8010,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    book: _Book = None,
    at_root: _AtRoot = False,
    public_url: _PublicUrl = None,
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
    if ctx.invoked_subcommand is not None:
        return
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
            public_url=public_url,
            at_root=at_root,
            payme_url=payme_url,
            payme_key=settings.payme_key if payme_url else None,
            payme_login=settings.payme_login,
            payme_account_field=settings.payme_account_field,
        )
        people().print(f"The sandbox listens on http://localhost:{port}/sandbox/control (Ctrl-C stops it)", soft_wrap=True)

        async def work(stop: asyncio.Event) -> int:
            await process.serve(app, listener, stop, answer_s=1, lifespan="on")
            return 0

        code = process.run(work)
    raise typer.Exit(code)


@app.command(context_settings={"ignore_unknown_options": True})
def clock(
    step: Annotated[str | None, typer.Argument(help="How far forward: +90s, +30m, +12h, +2d, +1h30m.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the one clock of the development database, or move it forward: what is due then is done at once.

    Deadlines, retries, reservations, Payme's twelve hours and the plans of webhooks follow it; leases do not. It never goes back,
    and on a database in which production has worked it is not moved.

    ```sh
    kassa sandbox clock              # what time is it, and how far ahead
    kassa sandbox clock +12h         # Payme's attempts end, links expire, stock is let go
    ```
    """
    settings = development()
    if step is not None:
        _read(step)
    with database(settings) as settings:
        moved = asyncio.run(_turn(settings, step))
    if as_json:
        say_json({"now": moved.now.isoformat(), "ahead_s": round(moved.ahead.total_seconds())})
    else:
        ahead = f", {moved.ahead} ahead of the database's own clock" if moved.ahead else ", the database's own clock"
        people().print(f"It is {moved.now:%Y-%m-%d %H:%M:%S} UTC{ahead}", soft_wrap=True)


async def _turn(settings: Settings, step: str | None) -> Moved:
    from kassa import migrate
    from kassa.kit import clock as kit_clock
    from kassa.kit.database import Database

    await migrate.check(settings.database_url)
    db = await Database.connect(settings.database_url, size=2)
    try:
        return await (kit_clock.step(db, step) if step is not None else kit_clock.shown(db))
    except kit_clock.ClockStays as error:
        raise CommandError(error.message) from None
    finally:
        await db.close()


def _read(step: str) -> None:
    from kassa.kit import clock as kit_clock

    try:
        kit_clock.read_step(step)
    except (kit_clock.ClockStep, kit_clock.ClockStays) as error:
        raise CommandError(error.message) from None
