"""`kassa forget`: erase what names a buyer, and keep the books."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kassa.cli.act import ACTING, Why, hand_of, inside, list_rows, reader, the_merchant
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.checkout.forget import Forgotten, Person
    from kassa.checkout.forget_again import Erasure
    from kassa.kit.context import Context

_FORGOTTEN = "buyer.forget"
"""The act in the audit log."""
_COUNTED = ("orders", "checkouts", "payments", "messages", "answers", "cart_lines")


def forget(
    user: Annotated[str | None, typer.Option(help="The buyer's id, as it stands in tokens.")] = None,
    email: Annotated[str | None, typer.Option(help="Instead: the e-mail address of a guest.")] = None,
    again: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead, after a restore: everybody whom these lines of the audit log name, as JSON; - is standard input.",
        ),
    ] = None,
    merchant: Annotated[str | None, typer.Option(help="At this merchant only.  [default: all]")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be erased.")] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Erase a buyer's personal fields: addresses, names, e-mail, what is left of cards, notes, stored answers, messages, the cart.

    Orders, amounts, events and the ledger stay, under the bare id. While a purchase is under way, an order is to be delivered,
    money is to go back or a case is open, nothing of that merchant is erased: it says what stands in the way, with exit code 1.
    It cannot be undone. Done twice, the second finds nothing.

    A backup brings back whom it still knew. Keep the lines of the audit log that say who was forgotten, and after a restore give
    them to --again.

    ```sh
    kassa forget --user 4711 --dry-run
    kassa forget --user 4711 --yes --why "asked by letter of 3 May"
    kassa audit list --act buyer.forget --limit 10000 --json > forgotten.json
    kassa forget --again forgotten.json --yes --why "backup of 1 May restored"
    ```
    """
    from kassa.checkout.forget import Person
    from kassa.checkout.forget_again import forget_again

    if sum(bool(each) for each in (user, email, again)) != 1:
        raise CommandError("name the buyer with --user, a guest with --email, or everybody of a list with --again")
    erasures = [] if again is None else _erasures(again, merchant)
    if not (dry_run or yes):
        if as_json or not sys.stdin.isatty():
            raise CommandError("it cannot be undone: say --yes, or look first with --dry-run")
        whom = user or email or f"{len(erasures)} people of the list"
        typer.confirm(f"Erase all that is personal of {whom}? It cannot be undone.", abort=True, err=True)

    async def work(ctx: Context) -> list[Forgotten]:
        if again is not None:
            return await forget_again(ctx, erasures, hand_of(ctx, why), dry=dry_run)
        return await _forget(ctx, Person(buyer_id=user, email=email), merchant, why, dry=dry_run)

    done = inside(work, need=ACTING)
    if as_json:
        say_json({"dry_run": dry_run, "merchants": [asdict(each) for each in done]})
    else:
        _show(done, dry=dry_run)
    raise typer.Exit(1 if any(each.in_the_way for each in done) else 0)


def _erasures(file: Path, merchant: str | None) -> list[Erasure]:
    """Whom these lines of the audit log name, each once: as `kassa audit list --json` prints them, one list or many."""
    from kassa.checkout.forget_again import Erasure

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        told = [json.loads(each) for each in text.splitlines() if each.strip()]
        lines = [line for each in told for line in each["lines"]]
        found = {Erasure(str(line["merchant_id"]), str(line["subject"])) for line in lines if line["act"] == _FORGOTTEN}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(f"--again: {file} is no list of `kassa audit list --act {_FORGOTTEN} --json`") from None
    return sorted(
        (each for each in found if merchant in {None, each.merchant_id}), key=lambda each: (each.merchant_id, each.subject)
    )


async def _forget(ctx: Context, person: Person, merchant: str | None, why: str | None, *, dry: bool) -> list[Forgotten]:
    from kassa import merchants
    from kassa.checkout.forget import forget_buyer

    if merchant is not None:
        await the_merchant(ctx, merchant)
    wanted = [merchant] if merchant is not None else [each.merchant_id for each in await merchants.find_all(ctx.db)]
    found = [await forget_buyer(ctx, each, person, hand_of(ctx, why), dry=dry) for each in wanted]
    return [each for each in found if each.total or each.in_the_way]


def _show(done: Sequence[Forgotten], *, dry: bool) -> None:
    screen = reader()
    if not done:
        screen.print("There is nothing personal of this buyer.")
        return
    erased = [{"merchant": each.merchant_id} | {name: getattr(each, name) for name in _COUNTED} for each in done if each.total]
    if erased:
        list_rows("Would be erased" if dry else "Erased", erased)
    waiting = [{"merchant": each.merchant_id, "about": one.subject, "why": one.why} for each in done for one in each.in_the_way]
    if waiting:
        list_rows("In the way; nothing of these merchants was erased", waiting)
