"""`kassa payme`: rehearse Payme's certification against a running server, and see in a table what it would find."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from kassa.cli.act import reader, sheet
from kassa.cli.show import AsJson, CommandError, progress, say_json
from kassa.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from kassa.sandbox.payme import Endpoint, Order, Outcome, Rehearsal, Wish

app = typer.Typer(
    name="payme",
    no_args_is_help=True,
    help="""Payme: rehearse its certification.

```sh
kassa payme replay               # against a running `kassa dev`
```
""",
)

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_MARK = {"pass": "[green]pass[/]", "fail": "[bold red]FAIL[/]", "skip": "[yellow]skip[/]"}
_COLUMNS = ("step", "sent", "expected", "got", "", "ms#")


@app.callback()
def group() -> None:
    """Payme: rehearse its certification."""


@app.command()
def replay(
    url: Annotated[
        str | None, typer.Option(help="Where Payme would call.  [default: http://localhost:HTTP_PORT/payme/webhook]")
    ] = None,
    login: Annotated[str | None, typer.Option(help="What Payme calls itself.  [default: PAYME_LOGIN, else Paycom]")] = None,
    key_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file with the cashbox's key.  [default: PAYME_KEY]")
    ] = None,
    account_field: Annotated[
        str | None, typer.Option(help="How the cashbox names an order.  [default: PAYME_ACCOUNT_FIELD, else order_id]")
    ] = None,
    busy_code: Annotated[
        int | None, typer.Option(help="The answer for an order that is being paid.  [default: PAYME_BUSY_ORDER_CODE, else -31051]")
    ] = None,
    order: Annotated[
        list[str] | None,
        typer.Option(help="An order that waits to be paid; up to four.  [default: made by itself, development only]"),
    ] = None,
    amount: Annotated[list[int] | None, typer.Option(min=1, help="Its amount in tiyin; one for each --order.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the steps that wait for a transaction to time out (6 s).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play Payme against a server: both scenarios of the certification, and everything that goes wrong in the field.

    Every call is made twice, out of order, late, and eight times at once; with wrong keys, sums, accounts and bodies. The orders
    are used up: one is cancelled and stays unpaid, the others are paid and given back. Exit code 1 when a step failed, or when
    a transaction could not be brought to an end.

    ```sh
    kassa payme replay
    SHOP=https://shop.example.com/payme/webhook
    kassa payme replay --url $SHOP --key-file test.key --order 019b76da-a800-7c3e-9f51-2d8e6a4b7c10 --amount 7500000
    ```
    """
    settings = Settings.load(True, need=())
    endpoint = _endpoint(settings, url, login, key_file, account_field)
    given = _pairs(order or [], amount or [])
    played, orders = asyncio.run(_play(settings, endpoint, given, busy_code, quick=quick))
    if as_json:
        say_json(summary(endpoint, orders, played))
    else:
        show(reader(), endpoint, played)
    raise typer.Exit(1 if played.count("fail") or played.left_open else 0)


def summary(endpoint: Endpoint, orders: Sequence[Order], played: Rehearsal) -> dict[str, Any]:
    """Everything as JSON material: amounts in tiyin, `ms` null for what was left out. Never the key."""
    return {
        "url": endpoint.url,
        "orders": [{"order_id": one.order_id, "amount": one.amount} for one in orders],
        "passed": played.count("pass"),
        "failed": played.count("fail"),
        "skipped": played.count("skip"),
        "left_open": list(played.left_open),
        "steps": [_row(outcome) for outcome in played.outcomes],
    }


def show(screen: Console, endpoint: Endpoint, played: Rehearsal) -> None:
    """Print a table for each scenario, then what was left out and why, then the sum of it."""
    for scenario in dict.fromkeys(outcome.step.scenario for outcome in played.outcomes):
        made = sheet(f"\n{scenario.capitalize()}", _COLUMNS, [])
        for outcome in played.outcomes:
            if outcome.step.scenario == scenario:
                made.add_row(*_cells(outcome))
        screen.print(made)
    left_out = [outcome for outcome in played.outcomes if outcome.verdict == "skip"]
    if left_out:
        rows = [(why, sum(outcome.why == why for outcome in left_out)) for why in dict.fromkeys(one.why for one in left_out)]
        screen.print(sheet("\nLeft out", ("why", "steps#"), rows))
    for payme_id in played.left_open:
        screen.print(f"\n[red]Transaction {payme_id} could not be brought to an end[/]: cancel it in the cabinet.")
    failed = played.count("fail")
    colour = "red" if failed or played.left_open else "green"
    screen.print(
        f"\n[bold {colour}]{played.count('pass')} passed, {failed} failed, {played.count('skip')} left out[/] at {endpoint.url}",
        soft_wrap=True,
    )


def _cells(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table. What came from elsewhere is printed as it is."""
    from rich.markup import escape

    step = outcome.step
    got = outcome.got + (f": {outcome.why}" if outcome.verdict == "fail" and outcome.why not in outcome.got else "")
    name = step.name.partition(": ")[2]
    return (
        escape(name),
        escape(step.sent),
        escape(step.expect.text),
        escape(got if outcome.verdict != "skip" else outcome.why),
        _MARK[outcome.verdict],
        "" if outcome.took_ms is None else f"{outcome.took_ms:.0f}",
    )


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "scenario": outcome.step.scenario,
        "step": outcome.step.name,
        "sent": outcome.step.sent,
        "expected": outcome.step.expect.text,
        "got": outcome.got,
        "result": outcome.verdict,
        "why": outcome.why,
        "ms": None if outcome.took_ms is None else round(outcome.took_ms, 1),
    }


def _endpoint(settings: Settings, url: str | None, login: str | None, key_file: Path | None, account_field: str | None) -> Endpoint:
    from kassa.sandbox.payme import Endpoint

    target = url or f"http://localhost:{settings.http_port}/payme/webhook"
    if not re.match(r"^https?://[^/\s]+/\S", target):
        raise CommandError("--url must be the whole address, such as https://shop.example.com/payme/webhook")
    key = key_file.read_text().strip() if key_file else settings.payme_key
    if not key:
        raise CommandError("PAYME_KEY is not set, and no --key-file is given")
    return Endpoint(target, key, login or settings.payme_login, account_field or settings.payme_account_field)


def _pairs(orders: Sequence[str], amounts: Sequence[int]) -> tuple[Order, ...]:
    from kassa.sandbox.payme import Order
    from kassa.sandbox.payme.script import ORDERS

    if len(orders) != len(amounts):
        raise CommandError("each --order needs its --amount, in the same order")
    if len(orders) > ORDERS or len(set(orders)) < len(orders):
        raise CommandError(f"give up to {ORDERS} different orders")
    return tuple(Order(order_id, amount) for order_id, amount in zip(orders, amounts, strict=True))


async def _play(
    settings: Settings, endpoint: Endpoint, given: tuple[Order, ...], busy_code: int | None, *, quick: bool
) -> tuple[Rehearsal, tuple[Order, ...]]:
    from kassa.sandbox.payme import Wish

    await _look(endpoint)
    orders = given or await _own_orders(settings, endpoint)
    wish = Wish(
        orders=orders,
        busy_code=busy_code or settings.payme_busy_order_code,
        timeout_ms=settings.payme_tx_timeout_ms,
        most_bytes=settings.payme_max_body_bytes,
        quick=quick,
    )
    return await _rehearse(endpoint, wish), orders


async def _rehearse(endpoint: Endpoint, wish: Wish) -> Rehearsal:
    """With a bar on standard error where there is somebody to look at it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from kassa.sandbox.payme.robot import rehearse, write_script

    columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = progress()
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("steps", total=len(write_script(endpoint, wish).steps))
        return await rehearse(endpoint, wish, lambda _: bar.advance(task))


async def _look(endpoint: Endpoint) -> None:
    """Whether anybody is there, before a table full of failures says so."""
    from kassa.sandbox.payme.wire import ask, new_session, send

    async with new_session() as session:
        heard = await send(session, endpoint, ask("CheckTransaction", {"id": "0" * 24}))
    if not heard.status:
        raise CommandError(f"nobody answers at {endpoint.url} ({heard.fault}); start a server with `kassa dev`, or give --url")


async def _own_orders(settings: Settings, endpoint: Endpoint) -> tuple[Order, ...]:
    """Fresh orders of throw-away buyers, at a development server on this machine only. Raises `CommandError`."""
    from kassa.cli.payme_orders import make_orders

    place = urlsplit(endpoint.url)
    if settings.production or place.hostname not in _THIS_MACHINE:
        raise CommandError("give --order and --amount: orders are made by itself at a development server on this machine only")
    return await make_orders(Settings.load(True, need=("JWT_SECRET",)), f"{place.scheme}://{place.netloc}")
