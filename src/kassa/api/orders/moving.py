"""Move an order over HTTP (orders contract, section 6): staff along the table, its owner to cancel it."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import checkout
from kassa.api.answers import Answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY, operation
from kassa.api.errors import Forbidden
from kassa.api.keys import given_key, key_for, replay
from kassa.api.orders import shapes, shown
from kassa.api.orders.models import MoveOrder
from kassa.api.orders.reading import ORDER_ID, visible_order
from kassa.audit import UNNAMED, By
from kassa.checkout.wishes import MoveWish, Replayed

router = APIRouter(tags=["orders"])


@router.put(
    "/api/orders/{order_id}/status",
    response_model=None,
    responses=shown.answers(200, shown.OrderAnswer, "The order after it.", shown.ORDER, shown.MOVE_ERRORS),
    openapi_extra=operation(ORDER_ID, IDEMPOTENCY_KEY, body=MoveOrder, example=shown.MOVE),
)
async def move_order(call: Call) -> Answer:
    """Move an order. The status that it already has is no move: staff may update its tracking data that way.

    Cancelling a paid order refunds it in full and returns the stock, each exactly once however often it is asked.
    """
    caller = call.caller
    sent = given_key(call)
    data = await read_json(call)
    asked = fit(MoveOrder, data)
    found = await visible_order(call, caller)
    if not caller.is_staff and (asked.status != "cancelled" or asked.tracking_number is not None or asked.carrier is not None):
        raise Forbidden
    wish = MoveWish(
        merchant_id=found.merchant_id,
        order_id=found.order_id,
        to=asked.status,
        by_staff=caller.is_staff,
        note=asked.note,
        tracking_number=asked.tracking_number,
        carrier=asked.carrier,
        key=key_for(call, sent, caller.scope, data),
        by=By(caller.role, caller.user) if caller.is_staff else UNNAMED,
    )
    moved = await checkout.move_order(call.ctx, wish, shapes.moved)
    if isinstance(moved, Replayed):
        return replay(moved.status, moved.body)
    return Answer(*shapes.moved(moved))
