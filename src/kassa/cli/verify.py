"""`kassa verify`: recompute every invariant from the tables, once, or again and again beside the shop."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from kassa.cli import process
from kassa.cli.show import AsJson, CommandError, people, say_json, table
from kassa.cli.where import database
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.verify import Breach, Found

_EVERY = re.compile(r"([0-9]+)(s|m|h)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}
_BOOK = 9


def verify(
    as_json: AsJson = False,
    only: Annotated[str | None, typer.Option(help="Look at these invariants only, by their numbers: 3,4.")] = None,
    pace: Annotated[
        float, typer.Option(min=0.01, max=1, help="The share of the time in which it may ask the database; the rest is the shop's.")
    ] = 1,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, a little at a time, until stopped.")] = False,
    every: Annotated[str, typer.Option(help="With --watch: how often a look begins: 60s, 5m, 1h.")] = "60s",
) -> None:
    """Check the books: every invariant of money, stock and orders, recomputed from the tables. Changes nothing.

    Safe beside a busy shop: it asks in short questions, each about a few thousand rows. Exit code 0 when all is well, 1 when there
    is a breach, 2 when it could not look.

    ```sh
    kassa verify
    kassa verify --json | jq '.breaches[]'
    kassa verify --only 3,4
    kassa verify --pace 0.2                  # a fifth of the time, on a large shop in its busy hours
    kassa verify --watch --every 60s         # what `kassa work` does by itself: /metrics shows it, drift opens a case
    ```
    """
    numbers = _numbers(only)
    if watch:
        if only or as_json:
            raise CommandError("--watch looks at everything and prints nothing; leave out --only and --json")
        _keep_watch(_seconds(every))
        return
    with database(Settings.load(True, need=("DATABASE_URL",))) as settings:
        found = asyncio.run(_look(settings, numbers, pace, None if as_json else _Screen()))
    breaches = found.breaches()
    if as_json:
        say_json({"breaches": [as_row(breach) for breach in breaches], "invariants": _costs(found, numbers)})
    else:
        _show_costs(found, numbers)
        show(breaches)
    raise typer.Exit(1 if breaches else 0)


async def find_breaches(settings: Settings) -> list[Breach]:
    """All breaches in the database of `settings`. Raises `SchemaError` when it cannot be read with this version."""
    return (await _look(settings, (), 1, None)).breaches()


async def _look(settings: Settings, numbers: tuple[int, ...], pace: float, screen: _Screen | None) -> Found:
    from kassa import migrate
    from kassa.bootstrap import assemble
    from kassa.verify import sweep

    await migrate.check(settings.database_url)
    async with assemble(settings) as kassa:
        try:
            return await sweep(kassa.ctx, only=numbers, pace=pace, progress=screen)
        finally:
            if screen is not None:
                screen.clear()


def _keep_watch(every_s: int) -> None:
    from kassa.kit import logs

    with database(Settings.load(True, need=("DATABASE_URL",), VERIFY_EVERY_S=every_s)) as settings:
        logs.configure(settings.log_level, as_json=settings.production or not sys.stderr.isatty())

        async def live(stop: asyncio.Event) -> int:
            from kassa import migrate, workers
            from kassa.bootstrap import assemble

            await migrate.check(settings.database_url)
            async with assemble(settings) as kassa:
                process.log.info("watching the invariants")
                await workers.run(kassa.ctx, stop, ("verify",))
            return 0

        code = process.run(live)
    raise typer.Exit(code)


def _numbers(only: str | None) -> tuple[int, ...]:
    from kassa.verify import INVARIANTS

    if only is None:
        return ()
    there = [number for number, _ in INVARIANTS if number != _BOOK]
    wanted = [part.strip() for part in only.split(",")]
    unknown = [part for part in wanted if not part.isdigit() or int(part) not in there]
    if unknown:
        raise CommandError(f"--only: {unknown[0]!r} is no invariant that tables can tell; there are {', '.join(map(str, there))}")
    return tuple(int(part) for part in wanted)


def _seconds(text: str) -> int:
    found = _EVERY.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= _SECONDS["h"] * 24:
        raise CommandError(f"--every: {text!r} is no time between 1s and 24h; say 60s, 5m or 1h")
    return seconds


class _Screen:
    """One line on a terminal that says what is looked at now."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, what: str, found: Found) -> None:
        """Say it, ten times a second at most."""
        if self._is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            rows = sum(found.rows.values())
            breaches = sum(tally.found for tally in found.tallies.values())
            sys.stderr.write(f"\r\x1b[K{what}: {rows:,} rows looked at, {breaches} breaches")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")


def _costs(found: Found, numbers: tuple[int, ...]) -> list[dict[str, object]]:
    from kassa.verify import INVARIANTS

    broken = {number: 0 for number, _ in INVARIANTS}
    for (number, _), tally in found.tallies.items():
        broken[number] += tally.found
    return [
        {
            "invariant": number,
            "says": says,
            "breaches": broken[number],
            "rows": found.rows.get(number, 0),
            "seconds": round(found.seconds.get(number, 0.0), 3),
        }
        for number, says in INVARIANTS
        if number != _BOOK and (not numbers or number in numbers)
    ]


def _show_costs(found: Found, numbers: tuple[int, ...]) -> None:
    screen = people()
    if not screen.is_terminal:
        return
    for row in _costs(found, numbers):
        mark = "[red]✗[/]" if row["breaches"] else "[green]✓[/]"
        screen.print(f"{mark} {row['invariant']:>2}  {row['says']}  [dim]{row['rows']:,} rows, {row['seconds']:.1f} s[/]")


def as_row(breach: Breach) -> dict[str, object]:
    """A breach as JSON material."""
    return {
        "invariant": breach.invariant,
        "merchant": breach.merchant_id,
        "subject": breach.subject,
        "text": breach.text,
    }


def show(breaches: list[Breach]) -> None:
    """Print the breaches as a table, or that there are none."""
    if not breaches:
        people().print("[green]✓[/] Every invariant holds.")
        return
    rows = [(breach.invariant, breach.merchant_id, breach.subject, breach.text) for breach in breaches]
    people().print(
        table(
            f"✗ {len(breaches)} breach{'es' if len(breaches) > 1 else ''}",
            ("invariant#", "merchant", "subject", "what"),
            rows,
        )
    )
