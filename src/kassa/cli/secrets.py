"""`kassa secrets`: the end of a rotation of `KASSA_SECRET`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Why, changing, inside, moment, reader, sheet
from kassa.cli.show import AsJson, CommandError, progress, say_json
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.kit.reseal import Progress, Sealed

app = typer.Typer(
    name="secrets",
    no_args_is_help=True,
    help="""Rotate `KASSA_SECRET`.

```sh
kassa secrets reseal             # with the new one as KASSA_SECRET and the one before as KASSA_SECRET_OLD
```
""",
)


@app.callback()
def group() -> None:
    """Rotate `KASSA_SECRET`."""


@app.command()
def reseal(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is sealed under the old secret.")] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Seal anew under KASSA_SECRET what KASSA_SECRET_OLD has sealed, and say from when on the old one can be dropped.

    Run it when every process has both: beside them, in small batches, as often as you like. Broken off, run it again. Exit code 1
    while something still needs the old secret, or cannot be opened by either.

    ```sh
    KASSA_SECRET=$NEW KASSA_SECRET_OLD=$OLD kassa secrets reseal
    ```
    """

    async def work(ctx: Context) -> tuple[list[Progress], int, datetime | None]:
        return await _reseal(ctx, why, dry=dry_run)

    if Settings.load(True, need=ACTING).kassa_secret_old is None and not dry_run:
        raise CommandError("KASSA_SECRET_OLD is not set: there is nothing to seal anew (--dry-run only looks)")
    columns, hashed, until = inside(work, need=ACTING)
    left = sum(each.left for each in columns)
    locked = sum(each.locked for each in columns)
    if as_json:
        may_go = not left and not hashed
        told = {"columns": [asdict(each) for each in columns], "hashed": hashed, "old_until": moment(until) or None}
        say_json({**told, "old_can_be_dropped": may_go})
    else:
        _show(columns, left, hashed, until)
    raise typer.Exit(1 if left or locked else 0)


async def _reseal(ctx: Context, why: str | None, *, dry: bool) -> tuple[list[Progress], int, datetime | None]:
    from kassa import audit
    from kassa.kit.reseal import OWN_KEYS, begin_rotation, old_until
    from kassa.kit.reseal import reseal as seal_anew

    if not dry:
        async with changing(ctx, "secrets.reseal", "secrets.reseal", audit.EVERYBODY, "secret:KASSA_SECRET", why) as change:
            change.changed = await begin_rotation(change.tx, ctx.keys)
    with progress().status("sealing") as status:

        def tell(at: Progress) -> None:
            status.update(f"{at.column}: {at.looked} looked at, {at.resealed} sealed anew")

        done = [await seal_anew(ctx, OWN_KEYS, only_count=True)]
        done += [await seal_anew(ctx, sealed, only_count=dry, tell=tell) for sealed in all_sealed()]
    return (done, *await old_until(ctx.db))


def all_sealed() -> tuple[Sealed, ...]:
    """Every column that rooms have sealed; the installation's own keys are sealed anew when a rotation begins."""
    from kassa.kit.reseal import ANSWERS
    from kassa.notices.address import RECIPIENTS
    from kassa.payments.payme.cashboxes import CASHBOX_KEYS
    from kassa.webhooks.sign import ENDPOINT_SECRETS

    return (CASHBOX_KEYS, *ENDPOINT_SECRETS, RECIPIENTS, ANSWERS)


def _show(columns: Sequence[Progress], left: int, hashed: int, until: datetime | None) -> None:
    screen = reader()
    rows: list[tuple[Any, ...]] = [(each.column, each.looked, each.resealed, each.left, each.locked) for each in columns]
    names = ("sealed in", "rows#", "sealed anew#", "under the old#", "opened by neither#")
    screen.print(sheet("Sealed columns", names, rows), soft_wrap=True)
    if left:
        screen.print(f"\n{left} rows still need KASSA_SECRET_OLD: run it again.")
    elif hashed:
        screen.print(
            f"\nKeep KASSA_SECRET_OLD until {moment(until)} UTC: {hashed} idempotency keys from before are known by it.",
            soft_wrap=True,
        )
    else:
        screen.print("\n[green]✓[/] Nothing needs KASSA_SECRET_OLD any more: it can be dropped.")
