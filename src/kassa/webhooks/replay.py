"""Send again: one delivery, or all that ended in one way. A replay is outside the order, keeps its `webhook-id`, has a new plan."""

from __future__ import annotations

import uuid
from datetime import datetime

from kassa.audit import Hand, note
from kassa.events import ring
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.webhooks import store
from kassa.webhooks.endpoints import locked
from kassa.webhooks.model import Delivery, DeliveryMissing, EndpointDisabled

_OPEN = frozenset({"pending", "retrying", "blocked"})


async def replay_delivery(
    tx: Tx, merchant_id: str, endpoint_id: uuid.UUID, delivery_id: uuid.UUID, *, hidden: bool = False, hand: Hand | None = None
) -> Delivery:
    """Send a delivery now, by somebody's `hand`, also one that succeeded; one that is being sent at this moment stays as it is.

    Whatever waited behind it in its subject waits no more. Raises `EndpointMissing`, `DeliveryMissing`, `EndpointDisabled`.
    """
    endpoint = await locked(tx, merchant_id, endpoint_id, hidden=hidden)
    before = await store.find_delivery(tx, merchant_id, endpoint_id, delivery_id)
    if before is None:
        raise DeliveryMissing
    if endpoint.status == "disabled":
        raise EndpointDisabled
    again = await store.replay_one(tx, merchant_id, endpoint_id, delivery_id)
    if before.status in _OPEN and not before.replayed:
        await store.release_next(tx, merchant_id, endpoint_id, before.subject)
    if hand is not None and again is not None:
        facts = {"delivery_id": str(delivery_id), "event_id": str(before.event_id), "before": before.status}
        note(tx, hand, merchant_id, "delivery.replay", f"endpoint:{endpoint_id}", **facts)
    tx.after_commit(("webhooks", endpoint_id), lambda: ring(tx.database))
    return before if again is None else again


async def replay_range(
    ctx: Context,
    merchant_id: str,
    endpoint_id: uuid.UUID,
    status: str = "failed",
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    hidden: bool = False,
    hand: Hand | None = None,
) -> int:
    """Send all deliveries again that ended as `failed` or `success` and whose events are from `since` to `until`; returns how many.

    Done in steps of a transaction each: broken off, those that were reached are sent, and asking again does the others.
    Deliveries that are made meanwhile are not looked at. Raises `EndpointMissing`, `EndpointDisabled`.
    """
    newest, after, replayed = await store.newest_delivery(ctx.db, merchant_id, endpoint_id), None, 0
    while True:
        async with ctx.db.transaction("webhooks.replay") as tx:
            endpoint = await locked(tx, merchant_id, endpoint_id, hidden=hidden)
            if endpoint.status == "disabled":
                raise EndpointDisabled
            if newest is None:
                return 0
            step = await store.replay_step(tx, merchant_id, endpoint_id, status, since, until, after, newest, store.STEP)
            if hand is not None and step.replayed and not replayed:  # one line for all of its steps
                times = {"since": since.isoformat() if since else None, "until": until.isoformat() if until else None}
                note(tx, hand, merchant_id, "delivery.replay", f"endpoint:{endpoint_id}", all_that=status, **times)
            tx.after_commit(("webhooks", endpoint_id), lambda: ring(ctx.db))
        replayed, after = replayed + step.replayed, step.last
        if after is None:
            return replayed
