"""Move an order by hand: process, ship, deliver, cancel; or update its tracking data.

Cancelling is judged by the payment (rulings, 14): nothing paid, nothing owed; paid, refunded in full and the stock comes
back, each exactly once; not known, the order is cancelled and a late yes is refunded by itself.
"""

from __future__ import annotations

import contextlib
from typing import Any

from kassa import audit, orders
from kassa.checkout import store
from kassa.checkout.answers import repeat
from kassa.checkout.cancel import cancel
from kassa.checkout.held import MOVED, load
from kassa.checkout.refunds import send_refund
from kassa.checkout.rules import CASH
from kassa.checkout.saga import drive
from kassa.checkout.wishes import MoveWish, Placed, RenderOrder, Replayed
from kassa.kit import once
from kassa.kit.context import Context, concerns
from kassa.kit.database import Tx
from kassa.kit.errors import Busy
from kassa.orders.model import OrderMissing
from kassa.payments import RefundTaken, Verdict, find, refunds_of, settle

_LOOKS = 8


class OrderBusy(Busy):
    """This order is being moved by somebody else; try again."""

    code = "unavailable"


async def move_order(ctx: Context, wish: MoveWish, render: RenderOrder) -> Placed | Replayed:
    """Make one move. The status that the order already has is no move: only tracking data and a note are updated.

    Raises `IllegalMove`, `OrderMissing`, `InProgress`, `KeyReused`.
    """
    for _ in range(_LOOKS):
        try:
            placed = await _try(ctx, wish, render)
        except MOVED:
            continue
        except once.Claimed:
            assert wish.key is not None
            first = await repeat(ctx, wish.key, render)
            if first is None:
                continue
            return first
        if wish.to == "cancelled":
            ctx.background.spawn(_after_cancel(ctx, placed.order), name=f"cancel {wish.order_id}")
        return placed
    raise OrderBusy


async def _try(ctx: Context, wish: MoveWish, render: RenderOrder) -> Placed:
    order = await orders.find(ctx.db, wish.merchant_id, wish.order_id)
    if order is None:
        raise OrderMissing
    concerns(merchant_id=order.merchant_id, order_id=order.order_id, payment_id=order.payment_id)
    async with ctx.db.transaction("orders.move") as tx:
        if wish.key is not None:
            found = await once.claim(tx, ctx.keys, wish.key, str(order.order_id))
            if found is not None:
                raise once.Claimed(found)
        placed = Placed(await _move(ctx, tx, order, wish), created=False)
        if wish.by_staff and placed.order.version != order.version:
            _note(ctx, tx, wish, order, placed.order)
        if wish.key is not None:
            await once.answer(tx, ctx.keys, wish.key, *render(placed))
    return placed


async def _move(ctx: Context, tx: Tx, order: orders.Order, wish: MoveWish) -> orders.Order:
    if wish.to == order.status:
        if not wish.by_staff:
            return order
        return await orders.note_tracking(tx, order, tracking_number=wish.tracking_number, carrier=wish.carrier, note=wish.note)
    if wish.to == "paid" or (order.status == "pending" and wish.to == "processing"):
        raise orders.illegal(order.status, wish.to)
    if wish.to == "cancelled":
        return await cancel(ctx, tx, order, wish.note)
    collects = wish.to == "delivered" and order.payment_method == CASH
    moved = await orders.move(
        tx,
        order,
        wish.to,
        payment_status="paid" if collects else None,
        note=wish.note,
        tracking_number=wish.tracking_number,
        carrier=wish.carrier,
    )
    if collects:
        payment = await find(tx, order.merchant_id, order.payment_id)
        assert payment is not None
        await settle(tx, payment, Verdict("paid", message="collected on delivery"))
    return moved


def _note(ctx: Context, tx: Tx, wish: MoveWish, before: orders.Order, after: orders.Order) -> None:
    """What a member of staff did. The words of a note stand in the order's timeline only, where they can be forgotten."""
    act = "order.note" if after.status == before.status else "order.move"
    tracking = (after.tracking_number, after.carrier) != (before.tracking_number, before.carrier)
    facts: dict[str, Any] = {"from": before.status, "to": after.status, "with_note": bool(wish.note), "with_tracking": tracking}
    audit.note(tx, audit.Hand(ctx.keys, wish.by, wish.why), after.merchant_id, act, f"order:{after.order_id}", **facts)


async def _after_cancel(ctx: Context, order: orders.Order) -> None:
    """Go on at once with what the cancel left to do; a worker does it if this process dies."""
    checkout = await store.claim(ctx.db, order.merchant_id, order.checkout_id, ctx.lease_s)
    if checkout is not None:
        await drive(ctx, await load(ctx.db, checkout, lease_s=ctx.lease_s))
    for refund in await refunds_of(ctx.db, order.merchant_id, order.payment_id):
        if refund.status == "pending":
            with contextlib.suppress(RefundTaken):
                await send_refund(ctx, refund)
