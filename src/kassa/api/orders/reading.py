"""Read orders and their tracking over HTTP (orders contract, section 6). An order that is not the caller's does not exist."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import orders
from kassa.api.answers import Answer
from kassa.api.auth import Caller
from kassa.api.call import Call
from kassa.api.describe import LIMIT, PAGE, operation, parameter
from kassa.api.errors import InvalidInput, NotHere
from kassa.api.orders import shapes, shown
from kassa.api.shop import MERCHANT, SHOP
from kassa.kit import ids
from kassa.orders import MOVES, Order

router = APIRouter(tags=["orders"])

ORDER_ID = parameter("path", "order_id", "The order's id.")
_STATUS = parameter("query", "status", "Only orders of this status.", type="string", enum=sorted(MOVES.statuses()))
_FARTHEST = 10**15


@router.get(
    "/api/orders",
    response_model=None,
    responses=shown.answers(
        200,
        shown.OrderPage,
        "Own orders, newest first.",
        shown.ORDERS,
        {401: ["unauthorized"], 422: ["invalid_input"], 503: shown.AWAY},
    ),
    openapi_extra=operation(PAGE, LIMIT, _STATUS),
)
async def list_orders(call: Call) -> Answer:
    """List the caller's own orders, newest first."""
    buyer = call.caller.user
    page, limit = call.page()
    status = call.asked().get("status")
    if status is not None and status not in MOVES.statuses():
        raise InvalidInput.at("status", problem="must be a status of an order", kind="enum")
    found = await orders.page_of_buyer(call.ctx.db, MERCHANT, SHOP, buyer, min(page, _FARTHEST), limit, status)
    rows = [shapes.order(each) for each in found.orders]
    return shapes.success(200, "Orders retrieved successfully", shapes.page_of("orders", rows, page, limit, found.total))


@router.get(
    "/api/orders/{order_id}",
    response_model=None,
    responses=shown.answers(200, shown.OrderAnswer, "The order.", shown.ORDER, shown.READ_ERRORS),
    openapi_extra=operation(ORDER_ID),
)
async def read_order(call: Call) -> Answer:
    """Read one order. Its owner and staff may."""
    found = await visible_order(call, call.caller)
    return shapes.success(200, "Order retrieved successfully", shapes.order(found))


@router.get(
    "/api/orders/{order_id}/tracking",
    response_model=None,
    responses=shown.answers(200, shown.TrackingAnswer, "The moves so far, oldest first.", shown.TRACKING, shown.READ_ERRORS),
    openapi_extra=operation(ORDER_ID),
)
async def track_order(call: Call) -> Answer:
    """Follow an order: its moves, oldest first, and its parcel."""
    found = await visible_order(call, call.caller)
    story = await orders.happenings(call.ctx.db, found.merchant_id, found.order_id)
    return shapes.success(200, "Tracking retrieved successfully", shapes.tracking(found, story))


async def visible_order(call: Call, caller: Caller) -> Order:
    """The order that the path names, if the caller owns it or is staff. Raises `NotHere` for everybody else, and for no id."""
    order_id = ids.parse(call.in_path["order_id"])
    found = await orders.find(call.ctx.db, MERCHANT, order_id) if order_id is not None else None
    if found is None or found.channel != SHOP or not (caller.is_staff or found.buyer_id == caller.user):
        raise NotHere
    return found
