"""Send `test.ping` to an endpoint that asks for it, whatever it wants otherwise."""

from __future__ import annotations

import uuid

from kassa.events import Event, record
from kassa.kit.context import Context
from kassa.webhooks import store
from kassa.webhooks.endpoints import locked
from kassa.webhooks.model import EndpointDisabled


async def send_test(ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    """Record a `test.ping`; returns the ids of event and delivery. Called twice, there are two.

    Raises `EndpointMissing`, `EndpointDisabled`.
    """
    async with ctx.db.transaction("webhooks.test") as tx:
        endpoint = await locked(tx, merchant_id, endpoint_id)
        if endpoint.status == "disabled":
            raise EndpointDisabled
        data = {"endpoint_id": str(endpoint_id), "message": "ping"}
        event_id = record(tx, Event(merchant_id, endpoint.subject, "test.ping", data))
    return event_id, await store.delivery_id(ctx.db, event_id, endpoint_id)
