"""`kassa merchants`: the tenants, their plans, keys and routes, by an operator's hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli import callbacks, cashboxes, routes
from kassa.cli.act import (
    ACTING,
    Limit,
    Why,
    changing,
    currency_of,
    id_of,
    inside,
    list_rows,
    moment,
    money_of,
    reader,
    say_change,
    say_list,
    sheet,
    sum_text,
    the_merchant,
)
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.merchants import ApiKey, Merchant, Plan, Subscription

app = typer.Typer(
    name="merchants",
    no_args_is_help=True,
    help="""Merchants: who sells, what they have paid for, who may call for them, and which providers serve them.

```sh
kassa merchants add 42 --name "Corner Shop" --email owner@example.com --currency EUR --plan 1 --key
kassa merchants list
```
""",
)

app.command("route")(routes.route)
app.command("routes")(routes.list_routes)
app.command("unroute")(routes.unroute)
app.command("callback-secret")(callbacks.callback_secret)
app.add_typer(callbacks.endpoints)
app.add_typer(cashboxes.app)

MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id.")]
PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.")]
_MERCHANT = re.compile(r"[0-9A-Za-z._-]{1,64}")


@app.command("list")
def list_merchants(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List merchants with what is left of their tokens.

    ```sh
    kassa merchants list --json
    ```
    """
    from kassa import merchants

    async def work(ctx: Context) -> list[dict[str, Any]]:
        found = (await merchants.find_all(ctx.db))[:limit]
        return [_row(each, await merchants.subscriptions_of(ctx.db, each.merchant_id)) for each in found]

    rows = inside(work)
    if as_json:
        say_json({"merchants": rows})
        return
    cells = [[row[name] for name in ("merchant_id", "name", "currency", "plans", "tokens_left", "created_at")] for row in rows]
    reader().print(sheet("Merchants", ("id", "name", "currency", "active plans", "tokens left#", "since"), cells))


@app.command()
def show(merchant_id: MerchantId, as_json: AsJson = False) -> None:
    """Show a merchant: its subscriptions, its keys, and the rules that are its own.

    ```sh
    kassa merchants show 1
    ```
    """
    from kassa import merchants
    from kassa.payments.requests import overview

    async def work(ctx: Context) -> dict[str, Any]:
        merchant = await the_merchant(ctx, merchant_id)
        subscriptions = await merchants.subscriptions_of(ctx.db, merchant_id)
        rules = [rule for rule in await overview.all_routes(ctx.db) if rule.merchant_id == merchant_id]
        return {
            **_row(merchant, subscriptions),
            "email": merchant.email,
            "subscriptions": [_subscription(each) for each in subscriptions],
            "keys": [_key(each) for each in await merchants.find_keys(ctx.db, merchant_id)],
            "routes": [routes.shown(each) for each in rules],
        }

    found = inside(work)
    if as_json:
        say_json(found)
        return
    reader().print(
        sheet(f"Merchant {merchant_id}", ("", ""), [(name, found[name]) for name in ("name", "email", "currency", "created_at")])
    )
    for name in ("subscriptions", "keys", "routes"):
        list_rows(f"\n{name.capitalize()}", found[name])


@app.command()
def add(
    merchant_id: MerchantId,
    name: Annotated[str, typer.Option(help="What the merchant is called.")],
    email: Annotated[str, typer.Option(help="Where the merchant is written to.")],
    currency: Annotated[str, typer.Option(help="The currency of the payments that it asks for.")],
    plan: Annotated[str | None, typer.Option(help="Subscribe it to this plan, too.")] = None,
    key: Annotated[bool, typer.Option("--key", help="Make a key with all scopes, too; its secret is shown once.")] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Add a merchant, with a plan and a key if they are wanted: all of it or nothing.

    A house merchant that so far only has a shop gets its address and currency.

    ```sh
    kassa merchants add 42 --name "Corner Shop" --email owner@example.com --currency EUR --plan 1 --key
    ```
    """
    if not _MERCHANT.fullmatch(merchant_id):
        raise CommandError("MERCHANT must be 1 to 64 letters, digits, dots, dashes or underscores")
    if not name.strip() or "@" not in email:
        raise CommandError("--name must not be empty, and --email must be an address")
    code = currency_of(currency)
    from kassa import merchants
    from kassa.merchants.model import SCOPES

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any], str | None]:
        before = await merchants.find(ctx.db, merchant_id)
        subject = f"merchant:{merchant_id}"
        async with changing(ctx, "merchants.change", "merchant.add", merchant_id, subject, why) as change:
            if not await merchants.add_merchant(change.tx, merchant_id, name.strip(), email, code):
                raise CommandError(f"there is a merchant {merchant_id} already; see `kassa merchants show {merchant_id}`")
            if plan is not None:
                await merchants.subscribe(change.tx, merchant_id, plan)
            made = await merchants.issue_key(change.tx, merchant_id, "first key", SCOPES) if key else None
            change.what = {"currency": code, "plan": plan, "key_id": str(made[0].key_id) if made else None}
        after = _row(await the_merchant(ctx, merchant_id), await merchants.subscriptions_of(ctx.db, merchant_id))
        return (None if before is None else _row(before, [])), after, made[1] if made else None

    before, after, secret = inside(work, need=ACTING)
    say_change(as_json, f"Merchant {merchant_id}", before, after, **({"key": secret} if secret else {}))
    _say_secret(as_json, secret)


@app.command("plans")
def list_plans(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List what merchants can subscribe to.

    ```sh
    kassa merchants plans
    ```
    """
    from kassa import merchants

    async def work(ctx: Context) -> list[dict[str, Any]]:
        return [_plan(each) for each in (await merchants.plans(ctx.db))[:limit]]

    say_list("plans", inside(work), as_json)


@app.command()
def plan(
    plan_id: PlanId,
    name: Annotated[str, typer.Option(help="What the plan is called.")],
    price: Annotated[str, typer.Option(help="Its price in major units, such as 9.99.")],
    currency: Annotated[str, typer.Option(help="The currency of the price.")],
    tokens: Annotated[int, typer.Option(min=1, max=10**15, help="How many payments it pays for.")],
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Add a plan. One that is sold already keeps its price and tokens; a new price is a new plan.

    ```sh
    kassa merchants plan 6 --name Starter --price 4.99 --currency USD --tokens 50000
    ```
    """
    if not 1 <= len(plan_id) <= routes.NAME or not plan_id.isprintable():
        raise CommandError(f"PLAN must be 1 to {routes.NAME} printable characters")
    sum_ = money_of(price, currency_of(currency), "--price")
    from kassa import audit, merchants
    from kassa.merchants import Plan

    async def work(ctx: Context) -> Plan:
        made = Plan(plan_id, name, sum_.minor, sum_.currency, tokens)
        async with changing(ctx, "merchants.change", "plan.add", audit.EVERYBODY, f"plan:{plan_id}", why) as change:
            if not await merchants.add_plan(change.tx, made):
                raise CommandError(f"there is a plan {plan_id} already; see `kassa merchants plans`")
            change.what = {"price_minor": made.price_minor, "currency": made.currency, "tokens": made.tokens}
        return made

    say_change(as_json, f"Plan {plan_id}", None, _plan(inside(work, need=ACTING)))


@app.command()
def subscribe(
    merchant_id: MerchantId,
    plan_id: PlanId,
    tokens: Annotated[int | None, typer.Option(min=0, max=10**15, help="So many tokens.  [default: the plan's number]")] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Not usable until `kassa merchants activate`.")] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe a merchant to a plan, or fill up the subscription that it has. Done twice, it was bought twice.

    ```sh
    kassa merchants subscribe 42 2 --tokens 500
    ```
    """
    from kassa import merchants

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        before = await _subscription_of(ctx, merchant_id, plan_id)
        subject = f"subscription:{merchant_id}:{plan_id}"
        async with changing(ctx, "merchants.change", "subscription.fill", merchant_id, subject, why) as change:
            after = await merchants.subscribe(change.tx, merchant_id, plan_id, tokens=tokens, active=not inactive)
            change.what = {"tokens": tokens, "tokens_total": after.tokens_total, "active": after.active}
        return before, _subscription(after)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Subscription of merchant {merchant_id}", before, after)


@app.command()
def suspend(merchant_id: MerchantId, plan_id: PlanId, why: Why = None, as_json: AsJson = False) -> None:
    """Make a subscription inactive: no payment is accepted on it until it is activated.

    ```sh
    kassa merchants suspend 42 2
    ```
    """
    _switch(merchant_id, plan_id, why, active=False, as_json=as_json)


@app.command()
def activate(merchant_id: MerchantId, plan_id: PlanId, why: Why = None, as_json: AsJson = False) -> None:
    """Make a subscription active again.

    ```sh
    kassa merchants activate 42 2
    ```
    """
    _switch(merchant_id, plan_id, why, active=True, as_json=as_json)


@app.command("keys")
def list_keys(merchant_id: MerchantId, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the keys of a merchant, revoked ones too; never a secret.

    ```sh
    kassa merchants keys 42
    ```
    """
    from kassa import merchants

    async def work(ctx: Context) -> list[dict[str, Any]]:
        await the_merchant(ctx, merchant_id)
        return [_key(each) for each in (await merchants.find_keys(ctx.db, merchant_id))[:limit]]

    say_list("keys", inside(work), as_json)


@app.command()
def key(
    merchant_id: MerchantId,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do; may be given more than once.  [default: everything]")
    ] = None,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for a merchant. Its secret is shown here, once; only its hash is kept. Done twice, there are two keys.

    ```sh
    kassa merchants key 42 --name "reporting" --scope payments:read --scope merchant:read
    ```
    """
    from kassa import merchants
    from kassa.kit.ids import new_id
    from kassa.merchants.model import SCOPES

    unknown = [each for each in scope or () if each not in SCOPES]
    if unknown or not name.strip():
        raise CommandError(f"--scope must be one of {', '.join(SCOPES)}" if unknown else "--name must not be empty")

    async def work(ctx: Context) -> tuple[dict[str, Any], str]:
        await the_merchant(ctx, merchant_id)
        key_id = new_id()
        async with changing(ctx, "merchants.change", "key.make", merchant_id, f"key:{key_id}", why) as change:
            made = await merchants.issue_key(change.tx, merchant_id, name.strip(), scope or SCOPES, key_id=key_id)
            assert made is not None, "two keys of 256 random bits are equal"
            change.what = {"scopes": list(made[0].scopes)}
        return _key(made[0]), made[1]

    after, secret = inside(work, need=ACTING)
    say_change(as_json, f"Key of merchant {merchant_id}", None, after, key=secret)
    _say_secret(as_json, secret)


@app.command()
def revoke(
    merchant_id: MerchantId,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id.")],
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: it is refused from the next request on. Revoked twice, the second changes nothing.

    ```sh
    kassa merchants revoke 42 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    ```
    """
    wanted = id_of(key_id, "KEY_ID")
    from kassa import merchants
    from kassa.merchants.model import KeyMissing

    async def look(ctx: Context) -> dict[str, Any]:
        found = [each for each in await merchants.find_keys(ctx.db, merchant_id) if each.key_id == wanted]
        if not found:
            raise KeyMissing
        return _key(found[0])

    async def work(ctx: Context) -> tuple[dict[str, Any], dict[str, Any]]:
        before = await look(ctx)
        async with changing(ctx, "merchants.change", "key.revoke", merchant_id, f"key:{wanted}", why) as change:
            change.changed = await merchants.revoke_key(change.tx, merchant_id, wanted)
        return before, await look(ctx)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Key of merchant {merchant_id}", before, after)


async def _subscription_of(ctx: Context, merchant_id: str, plan_id: str) -> dict[str, Any] | None:
    from kassa import merchants

    found = await merchants.subscriptions_of(ctx.db, merchant_id)
    return next((_subscription(each) for each in found if each.plan_id == plan_id), None)


def _switch(merchant_id: str, plan_id: str, why: str | None, *, active: bool, as_json: bool) -> None:
    from kassa import merchants

    act, subject = "subscription.activate" if active else "subscription.suspend", f"subscription:{merchant_id}:{plan_id}"

    async def work(ctx: Context) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        before = await _subscription_of(ctx, merchant_id, plan_id)
        async with changing(ctx, "merchants.change", act, merchant_id, subject, why) as change:
            switched = await merchants.suspend(change.tx, merchant_id, plan_id, active=active)
            if switched is None:
                raise CommandError(f"merchant {merchant_id} has no subscription to plan {plan_id}")
            change.changed = switched
        return before, await _subscription_of(ctx, merchant_id, plan_id)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Subscription of merchant {merchant_id}", before, after)


def _say_secret(as_json: bool, secret: str | None) -> None:
    if secret is not None and not as_json:
        reader().print("\nThe key's secret, shown this once:")
        reader().out(secret)


def _row(merchant: Merchant, subscriptions: Sequence[Subscription]) -> dict[str, Any]:
    active = [each for each in subscriptions if each.active]
    return {
        "merchant_id": merchant.merchant_id,
        "name": merchant.name,
        "currency": merchant.currency,
        "plans": ", ".join(each.plan_id for each in active),
        "tokens_left": sum(each.tokens_left for each in active),
        "created_at": moment(merchant.created_at),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {"plan_id": plan.plan_id, "name": plan.name, "price": sum_text(plan.price_minor, plan.currency), "tokens": plan.tokens}


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "plan_id": subscription.plan_id,
        "name": subscription.name,
        "price": sum_text(subscription.price_minor, subscription.currency),
        "status": "active" if subscription.active else "inactive",
        "tokens_total": subscription.tokens_total,
        "tokens_used": subscription.tokens_used,
        "tokens_left": subscription.tokens_left,
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": str(key.key_id),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "created_at": moment(key.created_at),
        "last_used_at": moment(key.last_used_at) or None,
        "revoked_at": moment(key.revoked_at) or None,
    }
