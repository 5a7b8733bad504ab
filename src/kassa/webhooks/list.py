"""Endpoints and deliveries as they stand; for merchants without the operator's endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.kit.database import Reader
from kassa.webhooks import store
from kassa.webhooks.model import Attempt, Delivery, DeliveryMissing, Endpoint, EndpointMissing


async def find_endpoint(reader: Reader, merchant_id: str, endpoint_id: uuid.UUID) -> Endpoint:
    """One endpoint of a merchant. Raises `EndpointMissing`."""
    found = await store.find(reader, merchant_id, endpoint_id)
    if found is None:
        raise EndpointMissing
    return found


async def list_deliveries(
    reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, statuses: Sequence[str], before: uuid.UUID | None, limit: int
) -> list[Delivery]:
    """Deliveries of an endpoint in these states (all, if none is named), newest first, older than `before`.

    Raises `EndpointMissing`.
    """
    await find_endpoint(reader, merchant_id, endpoint_id)
    return await store.page(reader, merchant_id, endpoint_id, statuses, before, limit)


async def read_delivery(
    reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, delivery_id: uuid.UUID
) -> tuple[Delivery, list[Attempt]]:
    """One delivery of an endpoint and its attempts, the first one first. Raises `EndpointMissing`, `DeliveryMissing`."""
    await find_endpoint(reader, merchant_id, endpoint_id)
    found = await store.find_delivery(reader, merchant_id, endpoint_id, delivery_id)
    if found is None:
        raise DeliveryMissing
    return found, await store.attempts_of(reader, merchant_id, endpoint_id, delivery_id)
