"""Follow an order: its timeline from the start, or from the last number that a reader has seen."""

from __future__ import annotations

import uuid

from kassa.kit.database import Reader
from kassa.orders import store
from kassa.orders.model import Happening


async def happenings(reader: Reader, merchant_id: str, order_id: uuid.UUID) -> list[Happening]:
    """The whole timeline, oldest first."""
    return await store.timeline(reader, merchant_id, order_id, after=0)


async def happenings_after(reader: Reader, merchant_id: str, order_id: uuid.UUID, after: int) -> list[Happening]:
    """What came after number `after`, oldest first."""
    return await store.timeline(reader, merchant_id, order_id, after=after)
