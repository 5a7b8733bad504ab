"""Stock of a checkout: reserve, then consume or release; give back what was sold when an order is cancelled.

Each act is one statement for all lines, locks stock in product order and takes effect once: a reservation leaves the
state `held` one time only. Untracked products and stock counted by an inventory service are not reserved here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from kassa.catalog import store
from kassa.catalog.model import OWN, PRODUCT_SERVICE, Channel, Hold, Shortage
from kassa.catalog.shelf import changed
from kassa.kit.database import Tx


async def reserve(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> list[Shortage]:
    """Hold all lines for the checkout or none; the answer lists what is short (empty: all are held).

    Own stock: what can be had must suffice. Product service: what it said minus our own open holds must suffice.
    """
    own, remote = _counted_here(holds), _counted_there(holds)
    short = await store.hold_remote(tx, channel, checkout_id, remote, held_until) if remote else []
    if own and not short:
        short = await store.hold_own(tx, channel, checkout_id, own, held_until)
        changed(tx, channel.merchant_id)
    return short


async def reserve_later(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> list[Shortage]:
    """The same, but own stock is held together with what else the caller's transaction leaves for later.

    If it cannot all be had by then, `StockMoved` is raised; `reserve` says what is short.
    """
    own, remote = _counted_here(holds), _counted_there(holds)
    short = await store.hold_remote(tx, channel, checkout_id, remote, held_until) if remote else []
    if own and not short:
        await store.hold_own_later(tx, channel, checkout_id, own, held_until)
        changed(tx, channel.merchant_id)
    return short


def _counted_here(holds: Sequence[Hold]) -> list[Hold]:
    return [hold for hold in holds if hold.offer.counted_by == OWN and hold.offer.stock is not None]


def _counted_there(holds: Sequence[Hold]) -> list[Hold]:
    return [hold for hold in holds if hold.offer.counted_by == PRODUCT_SERVICE and hold.offer.read_stock is not None]


async def consume(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> None:
    """Turn what is held into a sale, later, together with what else `tx` leaves. Called twice, the second finds nothing.

    What can be bought is the same before and after.
    """
    await store.consume_held(tx, merchant_id, checkout_id)


async def release(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Let go of what is held; returns how many lines that were. Called twice, the second finds nothing."""
    changed(tx, merchant_id)
    return await store.release_held(tx, merchant_id, checkout_id)


async def give_back(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Return to own stock what the checkout sold and what is not back yet, once; returns how many lines came back."""
    changed(tx, merchant_id)
    return await store.return_sold(tx, merchant_id, checkout_id)


async def restock(tx: Tx, merchant_id: str, checkout_id: uuid.UUID, reference: str, pieces: Mapping[str, int]) -> None:
    """Bring what came back of a sale to own stock up to `pieces`, by product.

    What is back already stays; never more comes back than was sold, and what nobody counts is there anyway. `reference` names the
    act in the journal. Done twice, the second changes nothing.
    """
    await store.return_up_to(tx, merchant_id, checkout_id, reference, pieces)
    changed(tx, merchant_id)
