"""`/track/{order}`: follow an order to the door. Live where there is a script, and looked at again every 15 s where there is none.

The page opens for whoever has its link with the token, for its buyer, and for staff. For everybody else there is no such order.
"""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import time
import uuid
from urllib.parse import quote

from fastapi import APIRouter

from kassa import orders, payments
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.api.shop import MERCHANT
from kassa.api.streams import Stream
from kassa.kit import ids
from kassa.kit.bell import Bell
from kassa.kit.secrets import Keys
from kassa.orders import Order
from kassa.pages.buyer import tokens
from kassa.pages.buyer.followed import Followed, followed, stamp_of
from kassa.pages.buyer.visitor import visitor_of
from kassa.pages.frame import is_part, page
from kassa.pages.options import PageOptions
from kassa.timeline import read_buyers_story

_LISTENS_S = 3600.0
"""Seconds after which a browser asks again, and is judged again."""


def tracking_address(keys: Keys, merchant_id: str, order_id: uuid.UUID) -> str:
    """The path of an order's page, with the token that opens it."""
    return f"/track/{order_id}?t={quote(tokens.make(keys, tokens.ORDER, merchant_id, order_id))}"


def router(options: PageOptions) -> APIRouter:
    """The tracking page and its stream."""
    made = APIRouter(include_in_schema=False)

    @made.get("/track/{order_id}", response_model=None)
    async def track(call: Call) -> Answer:
        """The page, or for our own script the part of it that changes."""
        order = await _visible(call, options)
        if order is None:
            return page(call, "buyer/nothing.html", status=404)
        shown = await _read(call, order)
        pay = f"/pay/{order.payment_id}?t={quote(tokens.make(options.keys, tokens.PAYMENT, order.merchant_id, order.payment_id))}"
        template = "buyer/track_part.html" if is_part(call) else "buyer/track.html"
        shop = "shop" in options.groups and order.channel == "shop"
        return page(call, template, shown=shown, order=order, pay=pay, events=_events_address(call, order), shop=shop)

    @made.get("/track/{order_id}/events", response_model=None)
    async def listen(call: Call) -> Stream:
        """Tell the page that the order is not as it was shown: at once if it is not by now, then at every change.

        What the browser has is said by `Last-Event-ID`, else by `seen`. A message carries the new stamp and nothing else.
        """
        order = await _visible(call, options)
        if order is None:
            raise NotHere
        has = call.header(b"last-event-id") or call.asked().get("seen")
        version, seen = order.version, ""

        async def news() -> bytes:
            nonlocal version, seen
            found = await orders.happenings_after(call.ctx.db, order.merchant_id, order.order_id, version)
            version = found[-1].sequence if found else version
            payment = await payments.find(call.ctx.db, order.merchant_id, order.payment_id)
            stamp = stamp_of(version, payment) if payment is not None else seen
            told, seen = stamp != seen, stamp
            return _message(stamp) if told else b""

        first = await news()
        if seen == has:
            first = b""
        return Stream(first, news, _seconds(call, options), call.closing, f"order:{order.order_id}", call.ctx.port(Bell))

    return made


async def _visible(call: Call, options: PageOptions) -> Order | None:
    """The order that the path names, for whoever may see it; None for everybody else, and for no order."""
    token, order_id = call.asked().get("t", ""), ids.parse(call.in_path["order_id"])
    found = await orders.find(call.ctx.db, MERCHANT, order_id) if order_id is not None else None
    if found is None:
        return None
    if tokens.is_good(options.keys, tokens.ORDER, found.merchant_id, found.order_id, token):
        return found
    visitor = visitor_of(call, options)
    is_staff = visitor.caller is not None and visitor.caller.is_staff
    return found if is_staff or visitor.owns(found) else None


async def _read(call: Call, order: Order) -> Followed:
    """Everything that is shown of an order."""
    db = call.ctx.db
    payment = await payments.find(db, order.merchant_id, order.payment_id)
    if payment is None:
        raise NotHere
    moves = await orders.happenings(db, order.merchant_id, order.order_id)
    story = await read_buyers_story(db, order, moves)
    returned = payment.refunded_minor or payment.refunding_minor
    refunds = await payments.refunds_of(db, order.merchant_id, order.payment_id) if returned else ()
    return followed(order, payment, refunds, moves, story)


def _events_address(call: Call, order: Order) -> str:
    token = call.asked().get("t")
    return f"/track/{order.order_id}/events" + (f"?t={quote(token)}" if token else "")


def _seconds(call: Call, options: PageOptions) -> float:
    """How long a stream may last: no longer than the sign-in by which it was opened."""
    caller = visitor_of(call, options).caller
    return _LISTENS_S if caller is None else max(1.0, min(_LISTENS_S, caller.expires - time.time()))


def _message(stamp: str) -> bytes:
    return f"id: {stamp}\nevent: order\ndata: {stamp}\n\n".encode()
