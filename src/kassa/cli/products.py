"""`kassa products`: what is for sale in a catalogue of our own, put up from a file and taken away by an operator's hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Limit, Why, changing, inside, reader, say_list, sheet, sum_text
from kassa.cli.channels import found_channel
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.catalog import Channel, Offer
    from kassa.catalog.publish import Revision
    from kassa.kit.context import Context

app = typer.Typer(
    name="products",
    no_args_is_help=True,
    help="""What is for sale: a catalogue of our own, from a file.

```sh
kassa products publish products.csv
kassa products list
```
""",
)

InChannel = Annotated[str, typer.Option("--channel", help="The channel in which they are sold.")]
_BIGGEST = 32 * 1024 * 1024
_NAMED = 10


@app.command("list")
def list_products(channel: InChannel = "shop", limit: Limit = 100, as_json: AsJson = False) -> None:
    """List what is sold now, by name.

    ```sh
    kassa products list --json
    ```
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from kassa.catalog import offers_page

        return [_row(each) for each in (await offers_page(ctx, await _open(ctx, channel), 1, limit)).offers]

    say_list("products", inside(work), as_json)


@app.command("publish")
def publish_products(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header, or a JSON object a line.")],
    channel: InChannel = "shop",
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Put products up for sale, or change those that are: all of the file, or nothing of it.

    Columns: `product_id`, `name`, `price` (major units of the channel's currency), and if wanted `sku`, `images` (addresses,
    separated by spaces) and `stock`. `stock` is what there is when a product is new; without it the product is not counted. Later
    the shop counts, so the file leaves the stock of a known product alone. What the file does not name stays as it is; a withdrawn
    product is sold again. The same file again changes nothing.

    ```sh
    kassa products publish products.csv
    ```
    """
    raw = _read(file)

    async def work(ctx: Context) -> Revision:
        from kassa.catalog.publish import revise
        from kassa.cli.product_file import publications

        where, ambassadors = await _own(ctx, channel)
        wanted = publications(raw, where.currency, ambassadors=ambassadors)
        async with changing(ctx, "catalog.change", "product.publish", where.merchant_id, f"channel:{channel}", why) as change:
            done = await revise(change.tx, where, wanted)
            digest = hashlib.sha256(raw).hexdigest()
            change.what = {"added": len(done.added), "changed": len(done.changed), "sha256": digest}
            change.changed = bool(done.added or done.changed)
        return done

    done = inside(work, need=ACTING)
    _say(as_json, channel, {"added": done.added, "changed": done.changed, "unchanged": done.unchanged})


@app.command("withdraw")
def withdraw_products(
    product_ids: Annotated[list[str], typer.Argument(metavar="PRODUCT...", help="The products' ids.")],
    channel: InChannel = "shop",
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Sell products no longer; those that are withdrawn already stay so. Orders that there are go on.

    Of ambassadors the worker `ambassadors` sees it within five minutes: they leave the carts, and what nobody has begun to pay is
    cancelled.

    ```sh
    kassa products withdraw tea --why "the supplier is closed"
    ```
    """
    wanted = list(dict.fromkeys(product_ids))

    async def work(ctx: Context) -> Sequence[str]:
        from kassa.catalog.publish import withdraw

        where, _ = await _own(ctx, channel)
        async with changing(ctx, "catalog.change", "product.withdraw", where.merchant_id, f"channel:{channel}", why) as change:
            known = await withdraw(change.tx, where, wanted)
            for product_id in wanted:
                if product_id not in known:
                    raise CommandError(f"channel {channel} has no product {product_id}; nothing was withdrawn")
            sold = [product_id for product_id in wanted if known[product_id]]
            change.what = {"products": sold}
            change.changed = bool(sold)
        return sold

    gone = inside(work, need=ACTING)
    _say(as_json, channel, {"withdrawn": gone, "unchanged": [each for each in wanted if each not in gone]})


async def _open(ctx: Context, name: str) -> Channel:
    found = await found_channel(ctx, name)
    if found is None:
        raise CommandError(f"there is no channel {name}; open it with `kassa channels open`")
    return found


async def _own(ctx: Context, name: str) -> tuple[Channel, bool]:
    """A channel that sells from our own tables, and whether its products are ambassadors."""
    from kassa.catalog import Sources
    from kassa.catalog.sources import OwnAmbassadors, OwnSource

    channel = await _open(ctx, name)
    source = ctx.port(Sources).of(channel)
    if not isinstance(source, OwnSource):
        raise CommandError(f"what channel {name} sells is said by another service, which the settings name; tell that one")
    return channel, isinstance(source, OwnAmbassadors)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(_BIGGEST + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    if len(raw) > _BIGGEST:
        raise CommandError(f"{file} is larger than {_BIGGEST // 1024 // 1024} MiB; split it")
    return raw


def _row(offer: Offer) -> dict[str, Any]:
    return {
        "product_id": offer.product_id,
        "sku": offer.sku,
        "name": offer.name,
        "price": sum_text(offer.price.minor, offer.price.currency),
        "stock": offer.stock,
        "images": list(offer.images),
    }


def _say(as_json: bool, channel: str, done: Mapping[str, Sequence[str]]) -> None:
    if as_json:
        say_json(done)
        return
    rows = [(name, len(ids), _some(ids)) for name, ids in done.items()]
    reader().print(sheet(f"Products of {channel}", ("", "products#", "which"), rows))


def _some(ids: Sequence[str]) -> str:
    more = [f"and {len(ids) - _NAMED} more"] if len(ids) > _NAMED else []
    return ", ".join([*ids[:_NAMED], *more])
