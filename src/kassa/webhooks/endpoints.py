"""A merchant's endpoints: made, changed, given another secret, deleted (webhooks contract, section 2).

An address is judged before the transaction, because a name must be resolved, and again before every call. Deliveries of a deleted
endpoint end as failed; those that are too many for one statement are ended by `follow_up`.
"""

from __future__ import annotations

import uuid

from kassa.kit import addresses
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks import store
from kassa.webhooks.model import (
    MOST_ENDPOINTS,
    CallbackUrlRefused,
    Change,
    Endpoint,
    EndpointLimit,
    EndpointMissing,
    WebhookRules,
    Wish,
)
from kassa.webhooks.sign import new_secret, seal


async def check_url(ctx: Context, url: str, *, resolve: addresses.Resolver = addresses.resolve) -> None:
    """Let a merchant's address pass, or raise `CallbackUrlRefused`. A name is resolved, for at most 3 s."""
    reason = await addresses.refused_now(url, private=ctx.port(WebhookRules).private, resolve=resolve)
    if reason is not None:
        raise CallbackUrlRefused(reason)


async def add_endpoint(tx: Tx, keys: Keys, merchant_id: str, wish: Wish) -> tuple[Endpoint, str]:
    """Make an endpoint; returns it and its secret, which nobody can read again. Called twice, there are two.

    It gets the events that are recorded from now on. Raises `EndpointLimit`.
    """
    await store.lock_merchants(tx, [merchant_id])
    if await store.count_own(tx, merchant_id) >= MOST_ENDPOINTS:
        raise EndpointLimit
    endpoint_id, secret = new_id(), new_secret()
    made = await store.insert(tx, merchant_id, endpoint_id, wish, seal(keys, endpoint_id, secret))
    assert made is not None, "only the operator's endpoint can be there already"
    return made, secret


async def change_endpoint(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, change: Change) -> Endpoint:
    """Change an endpoint for attempts that begin afterwards. Another address is another server: its health begins anew.

    Raises `EndpointMissing`.
    """
    before = await locked(tx, merchant_id, endpoint_id)
    if change.url is not None and change.url != before.url:
        await store.restore_health(tx, merchant_id, endpoint_id)
    return await store.update(tx, merchant_id, endpoint_id, change)


async def rotate_secret(tx: Tx, keys: Keys, merchant_id: str, endpoint_id: uuid.UUID, overlap_s: int) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret; for `overlap_s` seconds the one before signs, too. Rotated again meanwhile, the two newest do.

    Raises `EndpointMissing`.
    """
    await locked(tx, merchant_id, endpoint_id)
    secret = new_secret()
    return await store.set_secret(tx, merchant_id, endpoint_id, seal(keys, endpoint_id, secret), overlap_s), secret


async def delete_endpoint(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False) -> None:
    """Delete an endpoint and end its deliveries. Raises `EndpointMissing`, also the second time."""
    await locked(tx, merchant_id, endpoint_id, hidden=hidden)
    await store.delete(tx, merchant_id, endpoint_id)
    await store.end_open(tx, merchant_id, endpoint_id, store.STEP)


async def locked(tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False) -> Endpoint:
    """The endpoint, locked; with `hidden` it may be the operator's. Raises `EndpointMissing`."""
    found = await store.lock(tx, merchant_id, endpoint_id, hidden=hidden)
    if found is None:
        raise EndpointMissing
    return found
