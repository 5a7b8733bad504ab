"""The operator's default endpoint: one hidden row for each merchant, kept as the settings say (rulings, 40).

All of them sign with one secret: that of the settings, or one that is made once. The one that was made stands in the rows
themselves, sealed for each; the first row is written by one process at a time, and every later one copies its secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from kassa import merchants
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.webhooks import store
from kassa.webhooks.endpoints import delete_endpoint
from kassa.webhooks.model import OVERLAP_S, Change, Endpoint, EndpointMissing, SecretLost, WebhookRules, Wish
from kassa.webhooks.sign import new_secret, open_secret, seal
from kassa.webhooks.switch import follow_up

GIVEN = "default endpoint, secret of the settings"
MADE = "default endpoint, secret made here"


async def ensure_callbacks(ctx: Context) -> int:
    """Give every merchant the hidden endpoint of the settings, or take it away where they name none; returns how many changed.

    To be called at every start, and every few seconds for merchants that were added meanwhile. Called again, it changes nothing.
    One that is disabled stays so. Raises `SecretLost` when the secret that was made cannot be opened any more.
    """
    rules = ctx.port(WebhookRules)
    there = {endpoint.merchant_id: endpoint for endpoint in await store.hidden_endpoints(ctx.db)}
    if rules.callback_url is None:
        return sum([await _remove(ctx, endpoint) for endpoint in there.values()])
    ids = [merchant.merchant_id for merchant in await merchants.find_all(ctx.db)]
    if not ids:
        return 0
    wish = Wish(rules.callback_url, rules.callback_events, description=GIVEN if rules.callback_secret else MADE)
    secret, changed = (rules.callback_secret, 0) if rules.callback_secret else await _made_once(ctx, wish, ids)
    for merchant_id in ids:
        endpoint = there.get(merchant_id)
        if endpoint is None:
            changed += await _add(ctx, merchant_id, wish, secret)
        elif _differs(ctx, endpoint, wish, secret):
            changed += await _adjust(ctx, endpoint, wish, secret)
    return changed


async def callback_secret(ctx: Context) -> str | None:
    """What the default endpoint's requests are signed with; None where there never was one. Raises `SecretLost`."""
    living = await store.hidden_endpoints(ctx.db)
    first = living[0] if living else await store.oldest_hidden(ctx.db, MADE)
    if first is not None:
        return open_secret(ctx.keys, first.endpoint_id, first.secret)
    return ctx.port(WebhookRules).callback_secret


async def _made_once(ctx: Context, wish: Wish, ids: Sequence[str]) -> tuple[str, int]:
    """The secret that was made here, and how many rows it took to make it.

    It is made by the first process that asks, while the others wait for the rows of its merchants.
    """
    first, changed = await store.oldest_hidden(ctx.db, MADE), 0
    if first is None:
        async with ctx.db.transaction("webhooks.callback") as tx:
            await store.lock_merchants(tx, ids)
            first = await store.oldest_hidden(tx, MADE)
            if first is None:
                endpoint_id, secret, changed = new_id(), new_secret(), 1
                first = await store.insert(tx, ids[0], endpoint_id, wish, seal(ctx.keys, endpoint_id, secret), hidden=True)
                if first is None:  # it has one that signs with a secret of the settings
                    old = next(each for each in await store.hidden_endpoints(tx) if each.merchant_id == ids[0])
                    sealed = seal(ctx.keys, old.endpoint_id, secret)
                    first = await store.set_secret(tx, ids[0], old.endpoint_id, sealed, OVERLAP_S, MADE)
    return open_secret(ctx.keys, first.endpoint_id, first.secret), changed


async def _add(ctx: Context, merchant_id: str, wish: Wish, secret: str) -> bool:
    endpoint_id = new_id()
    async with ctx.db.transaction("webhooks.callback") as tx:
        sealed = seal(ctx.keys, endpoint_id, secret)
        return await store.insert(tx, merchant_id, endpoint_id, wish, sealed, hidden=True) is not None


async def _adjust(ctx: Context, endpoint: Endpoint, wish: Wish, secret: str) -> bool:
    """Make a hidden endpoint as the settings have it now; False when another process was first."""
    key = (endpoint.merchant_id, endpoint.endpoint_id)
    async with ctx.db.transaction("webhooks.callback") as tx:
        now = await store.lock(tx, *key, hidden=True)
        if now is None or not _differs(ctx, now, wish, secret):
            return False
        if now.url != wish.url:
            await store.restore_health(tx, *key)
        if not _signs_with(ctx, now, secret) or now.description != wish.description:
            await store.set_secret(tx, *key, seal(ctx.keys, endpoint.endpoint_id, secret), OVERLAP_S, wish.description)
        await store.update(tx, *key, Change(url=wish.url, events=wish.events))
    return True


async def _remove(ctx: Context, endpoint: Endpoint) -> bool:
    try:
        async with ctx.db.transaction("webhooks.callback") as tx:
            await delete_endpoint(tx, endpoint.merchant_id, endpoint.endpoint_id, hidden=True)
    except EndpointMissing:
        return False
    await follow_up(ctx, endpoint.merchant_id, endpoint.endpoint_id)
    return True


def _differs(ctx: Context, endpoint: Endpoint, wish: Wish, secret: str) -> bool:
    same = (endpoint.url, endpoint.events, endpoint.description) == (wish.url, wish.events, wish.description)
    return not same or not _signs_with(ctx, endpoint, secret)


def _signs_with(ctx: Context, endpoint: Endpoint, secret: str) -> bool:
    try:
        return hmac.compare_digest(open_secret(ctx.keys, endpoint.endpoint_id, endpoint.secret), secret)
    except SecretLost:
        return False
