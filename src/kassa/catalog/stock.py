"""Stock of a checkout: reserve, then consume or release; give back what was sold when an order is cancelled.

Each act is one statement for all lines, locks stock in product order and takes effect once: a reservation leaves the
state `held` one time only. Untracked products and stock counted by an inventory service are not reserved here.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from kassa.catalog import store
from kassa.catalog.model import OWN, PRODUCT_SERVICE, Channel, Hold, Shortage
from kassa.kit.database import Tx


async def reserve(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> list[Shortage]:
    """Hold all lines for the checkout or none; the answer lists what is short (empty: all are held).

    Own stock: on hand minus reserved must suffice. Product service: what it said minus our own open holds must suffice.
    """
    own = [hold for hold in holds if hold.offer.counted_by == OWN and hold.offer.stock is not None]
    remote = [hold for hold in holds if hold.offer.counted_by == PRODUCT_SERVICE and hold.offer.read_stock is not None]
    short = await store.hold_remote(tx, channel, checkout_id, remote, held_until) if remote else []
    if own and not short:
        short = await store.hold_own(tx, channel, checkout_id, own, held_until)
    return short


async def consume(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Turn what is held into a sale; returns how many lines that were. Called twice, the second finds nothing."""
    return await store.consume_held(tx, merchant_id, checkout_id)


async def release(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Let go of what is held; returns how many lines that were. Called twice, the second finds nothing."""
    return await store.release_held(tx, merchant_id, checkout_id)


async def give_back(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Return to own stock what the checkout sold, once; returns how many lines came back."""
    return await store.return_sold(tx, merchant_id, checkout_id)
