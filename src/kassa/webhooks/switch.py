"""Disable an endpoint, and enable it again. Meanwhile events are recorded as deliveries that are blocked.

What an act changes of deliveries is done in steps: the first with the act itself, the others by `follow_up`, so that a long backlog
never makes a long transaction. Should a process die between, the worker that tidies deliveries finds what is left.
"""

from __future__ import annotations

import uuid

from kassa.audit import Hand, note
from kassa.events import ring
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.webhooks import store
from kassa.webhooks.endpoints import locked
from kassa.webhooks.model import Endpoint


async def disable_endpoint(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False, hand: Hand | None = None
) -> Endpoint:
    """Call an endpoint no more, by somebody's `hand`. One that is disabled keeps its reason. Raises `EndpointMissing`."""
    endpoint = await locked(tx, merchant_id, endpoint_id, hidden=hidden)
    if endpoint.status == "disabled":
        return endpoint
    endpoint = await store.set_status(tx, merchant_id, endpoint_id, "manual")
    await store.hold_due(tx, merchant_id, endpoint_id, store.STEP)
    if hand is not None:
        note(tx, hand, merchant_id, "endpoint.disable", f"endpoint:{endpoint_id}")
    return endpoint


async def enable_endpoint(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, *, hidden: bool = False, hand: Hand | None = None
) -> Endpoint:
    """Call an endpoint again: what is blocked is due at once, oldest first. One that is enabled stays as it is.

    Raises `EndpointMissing`.
    """
    endpoint = await locked(tx, merchant_id, endpoint_id, hidden=hidden)
    if endpoint.status == "enabled":
        return endpoint
    reason = endpoint.disabled_reason
    endpoint = await store.set_status(tx, merchant_id, endpoint_id, None)
    await store.release_held(tx, merchant_id, endpoint_id, None, store.STEP)
    if hand is not None:
        note(tx, hand, merchant_id, "endpoint.enable", f"endpoint:{endpoint_id}", disabled_for=reason)
    tx.after_commit(("webhooks", endpoint_id), lambda: ring(tx.database))
    return endpoint


async def follow_up(ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> int:
    """Do what is left to do to deliveries after an endpoint was enabled, disabled or deleted; returns how many were changed.

    Called again, it finds nothing.
    """
    changed, after = 0, None
    while True:
        async with ctx.db.transaction("webhooks.follow") as tx:
            endpoint = await store.lock_any(tx, merchant_id, endpoint_id)
            if endpoint is None:
                return changed
            if endpoint.deleted_at is not None:
                step = await store.end_open(tx, merchant_id, endpoint_id, store.STEP)
            elif endpoint.status == "disabled":
                step = await store.hold_due(tx, merchant_id, endpoint_id, store.STEP)
            else:
                step, after = await store.release_held(tx, merchant_id, endpoint_id, after, store.STEP)
                tx.after_commit(("webhooks", endpoint_id), lambda: ring(ctx.db))
        changed += step
        if step < store.STEP:
            return changed
