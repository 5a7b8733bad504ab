"""Merchants' cashboxes at Payme, set, shown and taken away by an operator's hand. Commands of `kassa merchants payme`."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Why, changing, inside, say_change, say_list, the_merchant
from kassa.cli.show import AsJson, CommandError

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.payments.payme.model import Cashbox

app = typer.Typer(
    name="payme",
    no_args_is_help=True,
    help="""Merchants' own cashboxes at Payme. The house's is in the settings (`PAYME_ID`, `PAYME_KEY`).

```sh
kassa merchants payme set 42 --id 650000000000000000000042 --key-file key.txt
```

Payme then calls `/payme/webhook/42`, and the merchant's payments in UZS may name the provider `payme`.
""",
)

MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id.")]
_CASHBOX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_DIGITS = re.compile(r"[0-9]{1,32}")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@app.command("set")
def set_cashbox(
    merchant_id: MerchantId,
    cashbox_id: Annotated[str, typer.Option("--id", help="The cashbox's id, from Payme's cabinet.")],
    key_file: Annotated[
        str | None, typer.Option(help="A file with the cashbox's key, - for standard input; else it is asked for.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="It is a cashbox of Payme's test mode.")] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Give a merchant a cashbox, or another one in place of it. The key is kept encrypted and never shown again.

    ```sh
    kassa merchants payme set 42 --id 650000000000000000000042 --key-file -
    ```
    """
    if not _CASHBOX.fullmatch(cashbox_id):
        raise CommandError("--id is 1 to 64 letters, digits and _ . : -")
    key = _read_key(key_file)

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        from kassa.payments import payme
        from kassa.payments.payme.model import Cashbox

        merchant = await the_merchant(ctx, merchant_id)
        _not_the_house(ctx, merchant_id)
        if merchant.currency != "UZS":
            raise CommandError(f"merchant {merchant_id} asks for payments in {merchant.currency}; Payme takes UZS only")
        before = await payme.cashbox_of(ctx, ctx.db, merchant_id)
        box = Cashbox(merchant_id, cashbox_id, key, test)
        async with changing(ctx, "payme.cashbox", "cashbox.set", merchant_id, f"cashbox:{merchant_id}", why) as change:
            await payme.set_cashbox(change.tx, ctx.keys, box)
            change.what = {"cashbox_id": cashbox_id, "before": before.cashbox_id if before else None, "test": test}
            change.changed = before is None or (before.cashbox_id, before.key, before.is_test) != (cashbox_id, key, test)
        return _row(before), _row(box) or {}

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Cashbox of merchant {merchant_id}", before, after)


@app.command("show")
def show_cashbox(merchant_id: MerchantId, as_json: AsJson = False) -> None:
    """Show a merchant's cashbox, without its key.

    ```sh
    kassa merchants payme show 42
    ```
    """
    from kassa.payments import payme

    async def work(ctx: Context) -> list[dict[str, Any]]:
        await the_merchant(ctx, merchant_id)
        found = _row(await payme.cashbox_of(ctx, ctx.db, merchant_id))
        return [found] if found else []

    say_list("cashboxes", inside(work), as_json)


@app.command("unset")
def unset_cashbox(merchant_id: MerchantId, why: Why = None, as_json: AsJson = False) -> None:
    """Take a merchant's cashbox away: Payme's calls for it are refused from now on, those about payments that it took, too.

    ```sh
    kassa merchants payme unset 42
    ```
    """

    async def work(ctx: Context) -> dict[str, Any] | None:
        from kassa.payments import payme

        await the_merchant(ctx, merchant_id)
        _not_the_house(ctx, merchant_id)
        before = _row(await payme.cashbox_of(ctx, ctx.db, merchant_id))
        async with changing(ctx, "payme.cashbox", "cashbox.remove", merchant_id, f"cashbox:{merchant_id}", why) as change:
            change.changed = await payme.drop_cashbox(change.tx, merchant_id)
            change.what = {"cashbox_id": before["cashbox_id"] if before else None}
        return before

    before = inside(work, need=ACTING)
    if before is None:
        raise CommandError(f"merchant {merchant_id} has no cashbox")
    say_change(as_json, f"Cashbox of merchant {merchant_id}", before, None)


@app.command("fiscal")
def set_fiscal(
    merchant_id: MerchantId,
    channel: Annotated[str, typer.Argument(help="The channel, such as ambassadors.")],
    code: Annotated[str, typer.Option(help="The IKPU: digits, 17 of them as a rule.")],
    package: Annotated[str, typer.Option(help="The code of the packaging that belongs to it.")],
    vat: Annotated[int, typer.Option(min=0, max=100, help="Value added tax, in percent.")],
    product: Annotated[str, typer.Option(help="The product's id; * for all that have no codes of their own.")] = "*",
    units: Annotated[int | None, typer.Option(min=1, help="The code of the unit of measure.")] = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Say what fiscal receipts tell the tax authority of a product, or of all of a channel (`PAYME_FISCAL=true`).

    ```sh
    kassa merchants payme fiscal 1 ambassadors --code 06912001001000000 --package 1500001 --vat 12
    ```
    """
    for name, digits in (("--code", code), ("--package", package)):
        if not _DIGITS.fullmatch(digits):
            raise CommandError(f"{name} is 1 to 32 digits")

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        from kassa import catalog
        from kassa.catalog.fiscal import set_fiscal_code
        from kassa.catalog.model import FiscalCode

        await the_merchant(ctx, merchant_id)
        await catalog.channel_of(ctx, merchant_id, channel)
        before = (await catalog.fiscal_codes_of(ctx.db, merchant_id, channel, [product])).get(product)
        after = FiscalCode(code, package, vat, units)
        subject = f"fiscal:{channel}:{product}"
        async with changing(ctx, "payme.cashbox", "fiscal.set", merchant_id, subject, why) as change:
            await set_fiscal_code(change.tx, merchant_id, channel, product, after)
            change.what, change.changed = asdict(after), after != before
        return asdict(before) if before else None, asdict(after)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Fiscal codes of {product} in {channel}", before, after)


def _not_the_house(ctx: Context, merchant_id: str) -> None:
    from kassa.payments.payme.model import PaymeRules

    house = ctx.port(PaymeRules).house
    if house is not None and house.merchant_id == merchant_id:
        raise CommandError("the house's cashbox is in the settings: PAYME_ID and PAYME_KEY")


def _read_key(key_file: str | None) -> str:
    from kassa.settings.forms import pasted

    if key_file == "-":
        text = sys.stdin.readline()
    elif key_file is not None:
        try:
            text = Path(key_file).read_text()
        except (OSError, UnicodeDecodeError):
            raise CommandError("--key-file cannot be read") from None
    else:
        text = typer.prompt("Key", hide_input=True, err=True)
    key = pasted(text)
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise CommandError("the key is 1 to 255 visible characters without spaces")
    return key


def _row(box: Cashbox | None) -> dict[str, Any] | None:
    if box is None:
        return None
    mode = "test" if box.is_test else "live"
    return {"merchant_id": box.merchant_id, "cashbox_id": box.cashbox_id, "mode": mode, "path": f"/payme/webhook/{box.merchant_id}"}
