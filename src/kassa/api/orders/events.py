"""Follow an order live (orders contract, section 6): server-sent events that miss nothing and repeat nothing."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import re

from fastapi import APIRouter, Response

from kassa import orders
from kassa.api.call import Call
from kassa.api.describe import operation, parameter
from kassa.api.orders import shapes, shown
from kassa.api.orders.reading import ORDER_ID, visible_order
from kassa.api.streams import Stream
from kassa.kit.bell import Bell

router = APIRouter(tags=["orders"])

_PLACE = re.compile(r"0|[1-9][0-9]{0,8}")
_LAST_EVENT_ID = parameter(
    "header", "Last-Event-ID", "The stream continues after this number. Browsers send it when they come back."
)


class EventStream(Response):
    """Tells the document what kind of answer this is."""

    media_type = "text/event-stream"


@router.get(
    "/api/orders/{order_id}/events",
    response_model=None,
    response_class=EventStream,
    responses=shown.STREAM,
    openapi_extra=operation(ORDER_ID, _LAST_EVENT_ID),
)
async def watch_order(call: Call) -> Stream:
    """Watch an order. Without `Last-Event-ID` the first message is the present state; then each event once, in order."""
    caller = call.caller
    order = await visible_order(call, caller)
    story = await orders.happenings(call.ctx.db, order.merchant_id, order.order_id)
    seen = story[-1].sequence
    after = _after(call.header(b"last-event-id"), seen)
    missed = story[-1:] if after is None else [each for each in story if each.sequence > after]

    async def news() -> bytes:
        nonlocal seen
        found = await orders.happenings_after(call.ctx.db, order.merchant_id, order.order_id, seen)
        seen = found[-1].sequence if found else seen
        return b"".join(shapes.live_message(order, each) for each in found)

    first = b"".join(shapes.live_message(order, each) for each in missed)
    topic = f"order:{order.order_id}"
    return Stream(first, news, caller.seconds_left(), call.closing, topic, call.ctx.port(Bell))


def _after(given: str | None, last: int) -> int | None:
    """The number after which to go on; None for the present state, also where the given place is none."""
    if given is None or not _PLACE.fullmatch(given) or int(given) > last:
        return None
    return int(given)
