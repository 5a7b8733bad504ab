"""`kassa verify`: recompute every invariant from the tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from kassa.cli.show import AsJson, people, say_json, table
from kassa.cli.where import database
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.verify import Breach


def verify(as_json: AsJson = False) -> None:
    """Check the books: every invariant of money, stock and orders, recomputed from the tables. Changes nothing.

    Exit code 0 when all is well, 1 when there is a breach.

    ```sh
    kassa verify
    kassa verify --json | jq '.breaches[]'
    ```
    """
    with database(Settings.load(True, need=("DATABASE_URL",))) as settings:
        breaches = asyncio.run(find_breaches(settings))
    if as_json:
        say_json({"breaches": [as_row(breach) for breach in breaches]})
    else:
        show(breaches)
    raise typer.Exit(1 if breaches else 0)


async def find_breaches(settings: Settings) -> list[Breach]:
    """All breaches in the database of `settings`. Raises `SchemaError` when it cannot be read with this version."""
    from kassa import migrate
    from kassa.bootstrap import assemble
    from kassa.verify import run

    await migrate.check(settings.database_url)
    async with assemble(settings) as kassa:
        return await run(kassa.ctx)


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
