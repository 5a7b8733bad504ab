"""Place an order: freeze lines, prices and address, with the first line of its timeline."""

from __future__ import annotations

from datetime import datetime

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.kit.ids import random_word
from kassa.orders import store
from kassa.orders.model import Order, Placement


def draft(placement: Placement) -> Order:
    """The order that a placement makes, `pending` and under a number of its own; nothing is written."""
    lines, at = placement.lines, placement.at
    return Order(
        merchant_id=placement.merchant_id,
        order_id=placement.order_id,
        checkout_id=placement.checkout_id,
        channel=placement.channel,
        buyer_id=placement.buyer_id,
        order_number=_number(at),
        status="pending",
        payment_status="pending",
        payment_id=placement.payment_id,
        payment_method=placement.payment_method,
        payment_url=placement.payment_url,
        currency=placement.currency,
        total_minor=sum(line.total_minor for line in lines),
        shipping_address=placement.shipping_address,
        tracking_number=None,
        carrier=None,
        external_id=None,
        version=1,
        estimated_delivery=at + placement.delivery,
        created_at=at,
        updated_at=at,
        lines=lines,
    )


def _number(at: datetime) -> str:
    """`ORD-<yyyymmdd>-<8 of 0-9 A-Z>`, never with twelve digits in a row: letters and logs would hide them like a card's."""
    while (word := random_word(8))[:4].isdigit():
        pass
    return f"ORD-{at:%Y%m%d}-{word}"


async def place(tx: Tx, order: Order) -> Order:
    """Write a draft together with what else the caller's transaction leaves for later; announce `order.created`."""
    await store.insert(tx, order)
    record(tx, Event(order.merchant_id, f"order:{order.order_id}", "order.created", order.event_data()))
    return order
