"""Move an order, or note what changed without a move. Each is one event and one line of the timeline, under one number."""

from __future__ import annotations

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.orders import store
from kassa.orders.model import MOVES, Order, illegal
from kassa.orders.store import Change, OrderMoved


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
    after = _after(order, to)
    change = Change(after, payment_status or order.payment_status, note, tracking_number, carrier, external_id)
    return _announced(tx, await _write(tx, order, change), f"order.{after}")


async def move_later(tx: Tx, order: Order, to: str, *, payment_status: str | None = None, external_id: str | None = None) -> Order:
    """The same together with what else the caller's transaction leaves for later; `updated_at` stays as it was read."""
    if not MOVES.allows(order.status, to):
        await tx.send()  # if somebody was first, what was left before this move says so
    after = _after(order, to)
    change = Change(after, payment_status or order.payment_status, external_id=external_id)
    return _announced(tx, await store.write_move_later(tx, order, change), f"order.{after}")


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
    change = Change(order.status, payment_status, note, tracking_number, carrier)
    return _announced(tx, await _write(tx, order, change), "order.updated")


def _after(order: Order, to: str) -> str:
    if not MOVES.allows(order.status, to):
        raise illegal(order.status, to)
    return MOVES.after(order.status, to)


async def _write(tx: Tx, order: Order, change: Change) -> Order:
    moved = await store.write_move(tx, order, change)
    if moved is None:
        raise OrderMoved
    return moved


def _announced(tx: Tx, order: Order, name: str) -> Order:
    record(tx, Event(order.merchant_id, f"order:{order.order_id}", name, order.event_data()))
    return order
