"""Place an order: freeze lines, prices and address, with the first line of its timeline."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.orders import store
from kassa.orders.model import Line, Order


@dataclass(frozen=True, slots=True)
class Placement:
    """What an order is made of. Ids are made by the caller, `delivery` is how long it will take.

    `at` is the moment of the one clock in which it is placed, where the caller knows it.
    """

    merchant_id: str
    order_id: uuid.UUID
    checkout_id: uuid.UUID
    payment_id: uuid.UUID
    channel: str
    buyer_id: str | None
    payment_method: str
    currency: str
    lines: Sequence[Line]
    shipping_address: Mapping[str, Any]
    delivery: timedelta
    payment_url: str | None = None
    at: datetime | None = None


async def place(tx: Tx, placement: Placement) -> Order:
    """Write the order as `pending` together with what else the caller's transaction leaves for later; announce `order.created`."""
    order = await store.insert(tx, placement, placement.at or await tx.now())
    record(tx, Event(order.merchant_id, f"order:{order.order_id}", "order.created", order.event_data()))
    return order
