"""`kassa seed`: the demo data."""

from __future__ import annotations

import asyncio
import sys

from kassa.cli.show import AsJson, say_json
from kassa.cli.where import database, development
from kassa.settings import Settings


def seed(as_json: AsJson = False) -> None:
    """Load the demo shop: every product, price and id that the documentation uses.

    What is there already is left as it is, so it is safe to run again. Refused when PRODUCTION is true.

    ```sh
    kassa seed                       # into DATABASE_URL, or the embedded database of this folder
    ```
    """
    with database(development()) as settings:
        from kassa import migrate

        migrate.upgrade(settings.database_url)
        asyncio.run(_load(settings))
    if as_json:
        say_json({"seeded": True})
    else:
        sys.stdout.write("The demo shop is there.\n")


async def _load(settings: Settings) -> None:
    from kassa.bootstrap import assemble

    async with assemble(settings) as kassa:
        await kassa.seed()
