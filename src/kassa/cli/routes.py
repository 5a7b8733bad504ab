"""The rules that say which provider serves an alias: add one, list them, switch one off. Commands of `kassa merchants`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Limit, Why, changing, currency_of, inside, list_rows, money_of, say_list, sum_text, the_merchant
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.payments.requests.overview import RouteListed

NAME = 64
"""Characters of an alias's, a provider's or a plan's name."""
_EVERYBODY = "*"


def route(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="What merchants write as the provider.")],
    provider: Annotated[str, typer.Option(help="Whom it leads to.")],
    merchant: Annotated[
        str | None, typer.Option(help="For this merchant alone.  [default: all that have no rule of their own]")
    ] = None,
    position: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Where it stands among the rules.  [default: last]")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="For payments in this currency only.")] = None,
    at_least: Annotated[
        str | None, typer.Option("--from", help="For amounts from here on, in major units; needs --currency.")
    ] = None,
    at_most: Annotated[str | None, typer.Option("--to", help="For amounts up to this one; needs --currency.")] = None,
    share: Annotated[int, typer.Option(min=1, max=100, help="Percent of the payments that reach this rule.")] = 100,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Add a rule to an alias: the first rule that fits a payment says which provider is asked.

    ```sh
    kassa merchants route cards --provider adyen --currency EUR --from 100 --share 30
    kassa merchants route cards --provider stripe
    ```
    """
    if not all(1 <= len(name) <= NAME and name.isprintable() for name in (alias, provider)):
        raise CommandError(f"ALIAS and --provider must be 1 to {NAME} printable characters")
    if currency is None and (at_least is not None or at_most is not None):
        raise CommandError("--from and --to need --currency: an amount without one is none")
    code = None if currency is None else currency_of(currency)
    low = money_of(at_least, code, "--from").minor if at_least is not None and code else None
    high = money_of(at_most, code, "--to").minor if at_most is not None and code else None
    if low is not None and high is not None and low > high:
        raise CommandError("--from is above --to: no payment would fit")
    from kassa.payments import requests

    async def work(ctx: Context) -> tuple[list[RouteListed], list[RouteListed]]:
        if merchant is not None:
            await the_merchant(ctx, merchant)
        before = await _routes_of(ctx, alias, merchant)
        place = position or max((each.position for each in before), default=0) + 1
        rule = requests.Rule(place, provider, code, low, high, share)
        owner = merchant or _EVERYBODY
        async with changing(ctx, "merchants.route", "route.add", owner, f"route:{alias}:{place}", why) as change:
            if not await requests.add_route(change.tx, owner, alias, rule):
                raise CommandError(
                    f"there is a rule at position {place} of {alias} (it may be switched off); choose another --position"
                )
            change.what = asdict(rule)
        return before, await _routes_of(ctx, alias, merchant)

    _say_routes(f"Alias {alias}", *inside(work, need=ACTING), as_json)


def list_routes(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the rules of all aliases, in the order in which they are read.

    ```sh
    kassa merchants routes
    ```
    """
    from kassa.payments.requests import overview

    async def work(ctx: Context) -> list[dict[str, Any]]:
        return [shown(each) for each in (await overview.all_routes(ctx.db))[:limit]]

    say_list("routes", inside(work), as_json)


def unroute(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")],
    position: Annotated[int, typer.Option(help="Where the rule stands.")],
    merchant: Annotated[str | None, typer.Option(help="The merchant whose rule it is.  [default: the rule of all]")] = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Switch a rule off. Payments that were sent by it stay where they are.

    ```sh
    kassa merchants unroute cards --position 1
    ```
    """
    from kassa.payments import requests

    async def work(ctx: Context) -> tuple[list[RouteListed], list[RouteListed]]:
        before = await _routes_of(ctx, alias, merchant)
        owner = merchant or _EVERYBODY
        async with changing(ctx, "merchants.route", "route.remove", owner, f"route:{alias}:{position}", why) as change:
            if not await requests.disable_route(change.tx, owner, alias, position):
                raise CommandError(f"no rule is on at position {position} of {alias}; see `kassa merchants routes`")
        return before, await _routes_of(ctx, alias, merchant)

    _say_routes(f"Alias {alias}", *inside(work, need=ACTING), as_json)


async def _routes_of(ctx: Context, alias: str, merchant: str | None) -> list[RouteListed]:
    from kassa.payments.requests import overview

    found = await overview.all_routes(ctx.db)
    return [each for each in found if each.alias == alias and each.merchant_id == (merchant or _EVERYBODY)]


def _say_routes(what: str, before: Sequence[RouteListed], after: Sequence[RouteListed], as_json: bool) -> None:
    if as_json:
        say_json({"before": [shown(each) for each in before], "after": [shown(each) for each in after]})
        return
    list_rows(f"{what}, before", [shown(each) for each in before])
    list_rows(f"\n{what}, after", [shown(each) for each in after])


def shown(route: RouteListed) -> dict[str, Any]:
    """A rule as JSON material and as a row for people."""
    return {
        "alias": route.alias,
        "merchant": "all" if route.merchant_id == _EVERYBODY else route.merchant_id,
        "position": route.position,
        "provider": route.provider,
        "currency": route.currency,
        "from": sum_text(route.min_minor, route.currency) or None,
        "to": sum_text(route.max_minor, route.currency) or None,
        "share": f"{route.share} %",
        "on": "yes" if route.enabled else "no",
    }
