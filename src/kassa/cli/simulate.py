"""`kassa simulate`: buyers with realistic journeys, then the books."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli import verify
from kassa.cli.show import AsJson, CommandError, people, progress, say_json, table
from kassa.cli.token import make_token
from kassa.cli.where import beside
from kassa.settings import Settings, SettingsError

if TYPE_CHECKING:
    from kassa.cli.journeys import Tally
    from kassa.verify import Breach


def simulate(
    buyers: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many buyers come.")] = 100,
    at_once: Annotated[int, typer.Option(min=1, max=1000, help="How many of them at a time.")] = 16,
    url: Annotated[str | None, typer.Option(help="Where the server is.  [default: http://localhost:HTTP_PORT]")] = None,
    seed: Annotated[int, typer.Option(help="The same seed sends the same buyers.")] = 1,
    check: Annotated[bool, typer.Option("--verify/--no-verify", help="Check the books afterwards.")] = True,
    as_json: AsJson = False,
) -> None:
    """Send buyers through the public API of a running server, then check the books.

    They browse, fill carts, pay by card, UPI or on delivery, click twice, are declined, change their mind, and buy as guests.
    Exit code 1 when a call was answered by a 5xx or not at all, or when an invariant is broken.

    ```sh
    kassa simulate --buyers 200
    kassa simulate --buyers 5000 --at-once 64 --url http://localhost:8000 --json
    ```
    """
    settings = Settings.load(True, need=("JWT_SECRET",))
    target = (url or f"http://localhost:{settings.http_port}").rstrip("/")
    _look(target)
    began = time.monotonic()
    tally = asyncio.run(_send(settings, target, buyers, at_once, seed))
    took_s = time.monotonic() - began
    breaches = _breaches(settings) if check else None
    if as_json:
        say_json(summary(tally, buyers, took_s, breaches))
    else:
        _show(tally, buyers, took_s, breaches)
    raise typer.Exit(1 if tally.faults or breaches else 0)


def _look(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise CommandError("--url must begin with http:// or https://")
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5):  # noqa: S310 - checked above
            return
    except (OSError, urllib.error.URLError) as error:
        raise CommandError(
            f"no Kassa answers at {url} ({getattr(error, 'reason', error)}); start one with `kassa dev`, or give --url"
        ) from None


async def _send(settings: Settings, url: str, buyers: int, at_once: int, seed: int) -> Tally:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from kassa.cli.journeys import send_buyers

    expires = int(time.time()) + 24 * 3600
    columns = (TextColumn("buyers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = progress()
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("buyers", total=buyers)
        return await send_buyers(
            url,
            buyers,
            at_once,
            lambda user: make_token(settings, user, "user", expires),
            seed,
            lambda: bar.advance(task),
        )


def _breaches(settings: Settings) -> list[Breach] | None:
    """What `kassa verify` finds; None when the server's database cannot be reached from here."""
    try:
        found = beside(settings)
    except SettingsError:
        return None
    return asyncio.run(verify.find_breaches(found))


def summary(tally: Tally, buyers: int, took_s: float, breaches: list[Breach] | None) -> dict[str, Any]:
    """Everything as JSON material; times in milliseconds, `breaches` null when the books were not checked."""
    return {
        "buyers": buyers,
        "seconds": round(took_s, 3),
        "outcomes": dict(tally.outcomes),
        "refused": dict(tally.refused),
        "faults": dict(tally.faults),
        "latency_ms": {
            step: {
                "calls": len(taken),
                "p50": round(tally.percentile(step, 0.5), 1),
                "p99": round(tally.percentile(step, 0.99), 1),
            }
            for step, taken in tally.took_s.items()
        },
        "breaches": None if breaches is None else [verify.as_row(breach) for breach in breaches],
    }


def _show(tally: Tally, buyers: int, took_s: float, breaches: list[Breach] | None) -> None:
    screen, facts = people(), summary(tally, buyers, took_s, breaches)
    screen.print(f"[bold]{buyers} buyers[/] in {took_s:.1f} s, {tally.outcomes['orders placed'] / took_s:.0f} orders a second\n")
    screen.print(table("What became of them", ("outcome", "times#"), tally.outcomes.most_common()))
    if tally.refused:
        screen.print(table("\nRefused, by code", ("code", "times#"), tally.refused.most_common()))
    if tally.faults:
        screen.print(table("\n[red]Must not happen[/]", ("fault", "times#"), tally.faults.most_common()))
    rows = [(step, times["calls"], times["p50"], times["p99"]) for step, times in facts["latency_ms"].items()]
    screen.print(table("\nHow long calls took", ("call", "calls#", "p50 ms#", "p99 ms#"), rows), "")
    if breaches is None:
        screen.print("The books were not checked: no database in reach (set DATABASE_URL, or run it in the folder of `kassa dev`).")
    else:
        verify.show(breaches)
