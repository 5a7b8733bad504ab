"""Endpoints of merchants, listed, disabled and enabled, and the secret of the default one. Commands of `kassa merchants`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Limit, Why, changing, id_of, inside, moment, reader, say_change, say_list, the_merchant
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.webhooks import Endpoint

endpoints = typer.Typer(
    name="endpoints",
    invoke_without_command=True,
    help="""Where merchants are told of events; the operator's default endpoint stands among their own, as `default`.

```sh
kassa merchants endpoints
kassa merchants endpoints list --merchant 42
```
""",
)

OfMerchant = Annotated[str | None, typer.Option("--merchant", help="Those of this merchant.  [default: all]")]
MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id.")]
EndpointId = Annotated[
    str | None, typer.Argument(metavar="[ENDPOINT]", help="The endpoint's id.  [default: the operator's default endpoint]")
]


def callback_secret(as_json: AsJson = False) -> None:
    """Show the secret with which requests to `MERCHANT_CALLBACK_URL` are signed.

    ```sh
    kassa merchants callback-secret
    ```
    """
    from kassa import webhooks
    from kassa.webhooks import WebhookRules

    async def work(ctx: Context) -> str | None:
        if ctx.port(WebhookRules).callback_url is not None:
            await webhooks.ensure_callbacks(ctx)
        return await webhooks.callback_secret(ctx)

    secret = inside(work)
    if secret is None:
        raise CommandError("there is no default endpoint: set MERCHANT_CALLBACK_URL and start Kassa")
    if as_json:
        say_json({"secret": secret})
    else:
        reader().out(secret)


@endpoints.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Where merchants are told of events; the operator's default endpoint stands among their own, as `default`."""
    if context.invoked_subcommand is None:
        _list(None, 100, as_json)


@endpoints.command("list")
def list_endpoints(merchant: OfMerchant = None, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List endpoints of merchants; never a secret, nor what stands behind the question mark of an address.

    ```sh
    kassa merchants endpoints list --merchant 42 --json
    ```
    """
    _list(merchant, limit, as_json)


@endpoints.command()
def enable(merchant_id: MerchantId, endpoint_id: EndpointId = None, why: Why = None, as_json: AsJson = False) -> None:
    """Call an endpoint again: what is blocked is due at once, oldest first.

    ```sh
    kassa merchants endpoints enable 42
    kassa merchants endpoints enable 42 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    ```
    """
    _switch(merchant_id, endpoint_id, why, on=True, as_json=as_json)


@endpoints.command()
def disable(merchant_id: MerchantId, endpoint_id: EndpointId = None, why: Why = None, as_json: AsJson = False) -> None:
    """Call an endpoint no more. Its events are kept for it, blocked, until it is enabled.

    ```sh
    kassa merchants endpoints disable 42
    ```
    """
    _switch(merchant_id, endpoint_id, why, on=False, as_json=as_json)


def _list(merchant_id: str | None, limit: int, as_json: bool) -> None:
    from kassa import webhooks

    async def work(ctx: Context) -> list[dict[str, Any]]:
        if merchant_id is not None:
            await the_merchant(ctx, merchant_id)
        return [_row(each) for each in await webhooks.all_endpoints(ctx.db, merchant_id, limit)]

    say_list("endpoints", inside(work), as_json)


def _switch(merchant_id: str, endpoint_id: str | None, why: str | None, *, on: bool, as_json: bool) -> None:
    wanted = None if endpoint_id is None else id_of(endpoint_id, "ENDPOINT")
    from kassa import webhooks
    from kassa.webhooks.model import EndpointMissing

    async def look(ctx: Context) -> Endpoint:
        await the_merchant(ctx, merchant_id)
        for each in await webhooks.all_endpoints(ctx.db, merchant_id, 100):
            if each.endpoint_id == wanted or (wanted is None and each.hidden):
                return each
        raise EndpointMissing

    async def work(ctx: Context) -> tuple[dict[str, Any], dict[str, Any]]:
        before = await look(ctx)
        verb, act = (webhooks.enable_endpoint, "endpoint.enable") if on else (webhooks.disable_endpoint, "endpoint.disable")
        subject = f"endpoint:{before.endpoint_id}"
        async with changing(ctx, "webhooks.switch", act, merchant_id, subject, why) as change:
            change.changed = False  # it tells it itself, if it was otherwise before
            after = await verb(change.tx, merchant_id, before.endpoint_id, hidden=True, hand=change.hand)
        await webhooks.follow_up(ctx, merchant_id, before.endpoint_id)
        return _row(before), _row(after)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Endpoint of merchant {merchant_id}", before, after)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    url, _, query = endpoint.url.partition("?")
    return {
        "merchant_id": endpoint.merchant_id,
        "endpoint_id": str(endpoint.endpoint_id),
        "url": f"{url}?…" if query else url,
        "events": list(endpoint.events),
        "format": endpoint.format,
        "default": "default" if endpoint.hidden else "",
        "status": endpoint.status,
        "reason": endpoint.disabled_reason,
        "failures": endpoint.failures,
        "since": moment(endpoint.created_at),
    }
