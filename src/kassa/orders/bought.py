"""What a buyer has of a channel whose lines are handed over with the payment: noted when paid, given back with the money."""

from __future__ import annotations

from kassa.kit.database import Tx
from kassa.orders import store
from kassa.orders.model import AMBASSADORS, Order


async def note_bought(tx: Tx, order: Order) -> None:
    """The order was paid: its buyer has its lines from this transaction on. Orders of other channels are delivered instead."""
    if order.channel == AMBASSADORS and order.buyer_id is not None:
        await store.write_bought(tx, order)


async def give_back_bought(tx: Tx, order: Order) -> None:
    """The order's money went back, or is on its way: its buyer has the lines no longer. Done twice, the second changes nothing."""
    if order.channel == AMBASSADORS:
        await store.write_given_back(tx, order)
