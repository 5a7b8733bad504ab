"""`kassa migrate`: bring the database to the schema of this version."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from kassa.cli.show import AsJson, say_json
from kassa.cli.where import database
from kassa.settings import Settings


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only look; exit code 2 when the schema is not current.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this version.

    Run it once per release, before the new `kassa serve` and `kassa work`; several at once are safe, and so are buyers meanwhile.
    A revision works, or leaves no trace.

    ```sh
    DATABASE_URL=postgresql://kassa:…@db/kassa kassa migrate
    kassa migrate --check            # for a deployment script
    ```
    """
    from kassa import migrate as schema

    with database(Settings.load(True, need=("DATABASE_URL",))) as settings:
        if not check:
            schema.upgrade(settings.database_url)
        asyncio.run(schema.check(settings.database_url))
    head = schema.revisions()[1]
    if as_json:
        say_json({"schema": head})
    else:
        sys.stdout.write(f"The schema is at {head}, as this Kassa needs it.\n")
