"""Move an order, or note what changed without a move. Each is one event and one line of the timeline, under one number."""

from __future__ import annotations

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict
from kassa.orders import store
from kassa.orders.model import MOVES, Order, illegal


class OrderMoved(Conflict):
    """Somebody moved this order first; look again."""

    code = "order_moved"


async def move(
    tx: Tx,
    order: Order,
    to: str,
    *,
    payment_status: str | None = None,
    note: str | None = None,
    tracking_number: str | None = None,
    carrier: str | None = None,
    external_id: str | None = None,
) -> Order:
    """Move `order` to `to` by the table and announce it.

    Raises `IllegalMove` when the table forbids it and `OrderMoved` when the order is not as it was read any more.
    """
    if not MOVES.allows(order.status, to):
        raise illegal(order.status, to)
    after = MOVES.after(order.status, to)
    moved = await store.write_move(
        tx, order, after, payment_status or order.payment_status, note, tracking_number, carrier, external_id
    )
    if moved is None:
        raise OrderMoved
    record(tx, Event(moved.merchant_id, f"order:{moved.order_id}", f"order.{after}", moved.event_data()))
    return moved


async def note_payment(tx: Tx, order: Order, payment_status: str) -> Order:
    """Show another payment status without a move (`order.updated`). Noted twice, the second changes nothing."""
    if order.payment_status == payment_status:
        return order
    return await _update(tx, order, payment_status, None, None, None)


async def note_tracking(tx: Tx, order: Order, *, tracking_number: str | None, carrier: str | None, note: str | None) -> Order:
    """Set tracking data or leave a note without a move (`order.updated`); nothing new is no event."""
    same = tracking_number in {None, order.tracking_number} and carrier in {None, order.carrier} and note is None
    if same:
        return order
    return await _update(tx, order, order.payment_status, note, tracking_number, carrier)


async def note_url(tx: Tx, order: Order, payment_url: str | None) -> Order:
    """Set or clear the link where the buyer pays; not an event of its own (`payment.waiting` is)."""
    return await store.write_url(tx, order, payment_url)


async def _update(
    tx: Tx, order: Order, payment_status: str, note: str | None, tracking_number: str | None, carrier: str | None
) -> Order:
    updated = await store.write_move(tx, order, order.status, payment_status, note, tracking_number, carrier, None)
    if updated is None:
        raise OrderMoved
    record(tx, Event(updated.merchant_id, f"order:{updated.order_id}", "order.updated", updated.event_data()))
    return updated
