"""`kassa migrate`: bring the database to the schema of this version, and spread its tables by merchant where it has Citus."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kassa.cli.show import AsJson, CommandError, people, progress, say_json, table
from kassa.cli.where import database
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.distribute import Step


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only look; exit code 2 when the schema is not current.")] = False,
    distribute: Annotated[
        bool, typer.Option("--distribute", help="Spread the tables over the servers of a Citus, by merchant; migrates nothing.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="With --distribute: only print the statements that are left.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this version.

    Run it once per release, before the new `kassa serve` and `kassa work`; several at once are safe, and so are buyers meanwhile.
    A revision works, or leaves no trace.

    ```sh
    DATABASE_URL=postgresql://kassa:…@db/kassa kassa migrate
    kassa migrate --check            # for a deployment script
    kassa migrate --distribute       # once, on a Citus, with everything else stopped (docs/scaling.md)
    ```
    """
    from kassa import migrate as schema

    if plan and not distribute:
        raise CommandError("--plan belongs to --distribute")
    if check and distribute:
        raise CommandError("--check and --distribute do not belong together")
    if distribute:
        _distribute(plan=plan, as_json=as_json)
        return

    with database(Settings.load(True, need=("DATABASE_URL",))) as settings:
        if not check:
            schema.upgrade(settings.database_url)
        asyncio.run(schema.check(settings.database_url))
    head = schema.revisions()[1]
    if as_json:
        say_json({"schema": head})
    else:
        sys.stdout.write(f"The schema is at {head}, as this Kassa needs it.\n")


def _distribute(*, plan: bool, as_json: bool) -> None:
    from kassa import distribute as spread

    dsn = Settings.load(True, need=("DATABASE_URL",)).database_url
    screen = progress()

    def tell(step: Step, seconds: float) -> None:
        screen.print(f"{step.act}  {step.name}  {seconds:.1f} s", markup=False)

    steps = asyncio.run(spread.plan(dsn) if plan else spread.distribute(dsn, tell))
    if as_json:
        say_json({"done": not plan, "steps": [{"act": each.act, "name": each.name, "sql": each.sql} for each in steps]})
    elif plan:
        sys.stdout.writelines(f"{sql};\n" for each in steps for sql in each.sql)
    elif steps:
        acts = sorted({each.act for each in steps}, key=[each.act for each in steps].index)
        people().print(table("Done", ("step", "how many#"), [(act, sum(each.act == act for each in steps)) for act in acts]))
    else:
        sys.stdout.write("All tables are spread by merchant already.\n")
