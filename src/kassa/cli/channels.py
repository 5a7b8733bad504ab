"""`kassa channels`: where the house sells, by an operator's hand. A shop sells nothing until its channel is open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Why, changing, currency_of, inside, say_change, say_list
from kassa.cli.show import AsJson, CommandError

if TYPE_CHECKING:
    from kassa.catalog import Channel
    from kassa.kit.context import Context

app = typer.Typer(
    name="channels",
    no_args_is_help=True,
    help="""Where the house sells: in which currency, how it is paid, how many days a delivery takes.

```sh
kassa channels open shop --name "Corner Shop" --currency EUR --method credit_card
kassa channels list
```
""",
)

_METHOD = re.compile(r"credit_card|upi|net_banking|cash_on_delivery|payme|link:[A-Za-z0-9_.-]{1,50}")
_LINK = "link:"
_LONGEST_NAME = 255


@app.command("list")
def list_channels(as_json: AsJson = False) -> None:
    """List the channels that are open.

    ```sh
    kassa channels list
    ```
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from kassa.catalog import Sources

        found = [await found_channel(ctx, name) for name in ctx.port(Sources).by_channel]
        return [_row(each) for each in found if each is not None]

    say_list("channels", inside(work), as_json)


@app.command("open")
def open_channel(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="`shop` (orders and checkout) or `ambassadors` (purchases paid through Payme).")
    ],
    currency: Annotated[str, typer.Option(help="The currency of its prices. It stays for good.")],
    method: Annotated[
        list[str],
        typer.Option(
            help="A way to pay, as the orders contract names it: credit_card, upi, net_banking, cash_on_delivery, payme,"
            " or link:ALIAS. May be given more than once."
        ),
    ],
    delivery_days: Annotated[int, typer.Option(min=0, max=365, help="Days until a delivery arrives.")] = 5,
    name: Annotated[str | None, typer.Option(help="What the house is called; needed when nothing of it is there yet.")] = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Open a channel of the house. Opened twice with the same words, the second changes nothing; with others it is refused.

    ```sh
    kassa channels open shop --name "Corner Shop" --currency EUR --method credit_card --method link:stripe
    ```
    """
    wanted = _channel(channel, currency_of(currency), delivery_days, method)
    if name is not None and not (1 <= len(name.strip()) <= _LONGEST_NAME and name.isprintable()):
        raise CommandError(f"--name must be 1 to {_LONGEST_NAME} printable characters")

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        from kassa.catalog import Sources, publish_channel

        if channel not in ctx.port(Sources).by_channel:
            raise CommandError(f"CHANNEL must be one of {', '.join(ctx.port(Sources).by_channel)}")
        house = await _house(ctx, name)
        async with changing(ctx, "catalog.change", "channel.open", wanted.merchant_id, f"channel:{channel}", why) as change:
            change.changed = await publish_channel(change.tx, house, wanted)
            change.what = {"currency": wanted.currency, "delivery_days": delivery_days, "methods": _row(wanted)["methods"]}
        if await found_channel(ctx, channel) != wanted:
            raise CommandError(f"channel {channel} is open already, with other words; see `kassa channels list`")
        return None if change.changed else _row(wanted), _row(wanted)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Channel {channel}", before, after)


async def found_channel(ctx: Context, name: str) -> Channel | None:
    """The house's channel of that name, or None."""
    from kassa.bootstrap import HOUSE
    from kassa.catalog import channel_of
    from kassa.catalog.channels import ChannelMissing

    try:
        return await channel_of(ctx, HOUSE, name)
    except ChannelMissing:
        return None


async def _house(ctx: Context, name: str | None) -> str:
    """What the house is called. It keeps the name that it has."""
    from kassa import merchants
    from kassa.bootstrap import HOUSE

    house = await merchants.find(ctx.db, HOUSE)
    if house is None:
        if name is None:
            raise CommandError("--name is missing: what is the house called?")
        return name.strip()
    if name is not None and name.strip() != house.name:
        raise CommandError(f"the house is called {house.name} already; leave --name out")
    return house.name


def _channel(channel: str, currency: str, delivery_days: int, methods: list[str]) -> Channel:
    from kassa.bootstrap import HOUSE
    from kassa.catalog import Channel

    if any(not _METHOD.fullmatch(each) for each in methods):
        raise CommandError("--method must be credit_card, upi, net_banking, cash_on_delivery, payme or link:ALIAS")
    if "payme" in methods and currency != "UZS":
        raise CommandError("--method payme needs --currency UZS: Payme takes nothing else")
    aliases = frozenset(each.removeprefix(_LINK) for each in methods if each.startswith(_LINK))
    kinds = frozenset(each.partition(":")[0] for each in methods)
    return Channel(HOUSE, channel, currency, delivery_days, kinds, aliases)


def _row(channel: Channel) -> dict[str, Any]:
    methods = [each for each in sorted(channel.methods) if each != "link"]
    return {
        "channel": channel.channel,
        "currency": channel.currency,
        "delivery_days": channel.delivery_days,
        "methods": [*methods, *(f"{_LINK}{alias}" for alias in sorted(channel.aliases))],
    }
