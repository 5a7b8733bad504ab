"""Payments, their timeline and their books (payments contract, sections 5 and 6)."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter

from kassa import collect, ledger, timeline
from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call, whole
from kassa.api.describe import LIMIT, PAGE, operation, parameter
from kassa.api.errors import InvalidInput
from kassa.api.fields import storable
from kassa.api.payments import shapes
from kassa.api.payments.answers import Ledger, Page, Pong, Tracking, Whole
from kassa.api.payments.callers import caller_for, caller_or_public
from kassa.api.payments.cursors import cursor_of, place_of
from kassa.api.payments.told import PAYMENT_ID, called, told
from kassa.collect import PaymentMissing
from kassa.kit import ids
from kassa.payments import requests
from kassa.payments.model import Filter, Payment, statuses_shown_as

router = APIRouter(tags=["payments"])

_PONG = Answer(200, b'{"ok":true}')
_ONCE = frozenset({"page", "limit", "cursor", "order_id", "provider", "created_from", "created_to"})
_STATUS = re.compile(r"-?[0-9]{1,9}")
_LARGEST_PAGE, _FARTHEST = 10**18, 10**15
_ITEM = {
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "order_id": 1001,
    "provider": "stripe",
    "amount": "2",
    "price": "349.70",
    "currency": "USD",
    "status": 1,
    "status_name": "PAYMENT_PENDING",
    "created_at": "2026-01-01T00:00:01.777000Z",
}
_PAGE = {"page": 1, "limit": 20, "total": 41, "has_next": True, "next_cursor": "b2sx", "items": [_ITEM]}
_WHOLE = _ITEM | {
    "merchant_id": 1,
    "payment_url": "http://localhost:8000/sandbox/pay/9Uq3",
    "captured": "0.00",
    "refunded": "0.00",
    "refundable": "0.00",
    "reason": None,
    "event_id": "evt-1",
    "updated_at": "2026-01-01T00:00:01.902000Z",
}
_TRACKING = {
    "payment_id": _ITEM["payment_id"],
    "payment_status": 1,
    "payment_status_name": "PAYMENT_PENDING",
    "events": [
        {
            "event_type": 1,
            "event_name": "EVENT_PAYMENT_CREATED",
            "status": 2,
            "status_name": "LOG_SUCCESS",
            "message": "Payment created",
            "payload": {"event_id": "evt-1"},
            "timestamp": "2026-01-01T00:00:01.777000Z",
        }
    ],
}
_LEDGER = {
    "payment_id": _ITEM["payment_id"],
    "currency": "USD",
    "balance": "349.70",
    "entries": [
        {
            "entry_id": "019b76da-b000-7d90-a2b6-4c7f1e3d5b62",
            "kind": "capture",
            "occurred_at": "2026-01-01T00:00:02.000000Z",
            "postings": [{"account": "provider:stripe", "amount": "349.70"}, {"account": "merchant:1", "amount": "-349.70"}],
        }
    ],
}
_MISSING = {404: ("payment_not_found",)}


@router.get(
    "/api/v1/payments/ping",
    response_model=None,
    responses={200: {"model": Pong, "content": {"application/json": {"example": {"ok": True}}}}},
    openapi_extra=operation(secured=False),
)
async def ping(_call: Call) -> Answer:
    """Say that the service answers. Needs no credentials and no database."""
    return _PONG


@router.get(
    "/api/v1/payments",
    response_model=None,
    responses=told(200, Page, "Newest first.", _PAGE, {422: ("validation_error",)}),
    openapi_extra=called(
        PAGE,
        LIMIT,
        parameter("query", "cursor", "Empty: from the start; else the `next_cursor` of an earlier answer. Not with `page`."),
        parameter("query", "status", "May be repeated.", type="array", items={"type": "integer"}),
        parameter("query", "order_id", "The merchant's own reference."),
        parameter("query", "provider", "The alias."),
        parameter("query", "created_from", "From this time on.", type="string", format="date-time"),
        parameter("query", "created_to", "Up to this time.", type="string", format="date-time"),
    ),
)
async def list_payments(call: Call) -> Answer:
    """List the merchant's payments.

    With `cursor` pages are stable while new payments arrive, and as fast far down as at the top.
    """
    caller = await caller_for(call, "payments:read")
    asked = call.asked_often()
    once = _asked_once(asked)
    wanted = _filter(once, asked.get("status", []))
    limit = whole(once, "limit", 20, 100)
    merchant_id = caller.merchant.merchant_id
    if "cursor" in once:
        if "page" in once:
            raise InvalidInput.at("query", "cursor", problem="cannot be combined with page", kind="cursor")
        return await _cursor_page(call, merchant_id, wanted, once["cursor"], limit)
    return await _numbered_page(call, merchant_id, wanted, whole(once, "page", 1, _LARGEST_PAGE), limit)


async def _numbered_page(call: Call, merchant_id: str, wanted: Filter, page: int, limit: int) -> Answer:
    offset = (page - 1) * limit
    total = await requests.count(call.ctx.db, merchant_id, wanted)
    found = await requests.page(call.ctx.db, merchant_id, wanted, offset, limit) if offset < min(total, _FARTHEST) else []
    has_next = offset + len(found) < total and bool(found)
    return json_answer(200, {"page": page, "limit": limit, "total": total, **_items(call, found, has_next=has_next)})


async def _cursor_page(call: Call, merchant_id: str, wanted: Filter, cursor: str, limit: int) -> Answer:
    if cursor:
        after = place_of(call.ctx.keys, merchant_id, cursor)
        found = await requests.page_after(call.ctx.db, merchant_id, wanted, after, limit + 1)
    else:
        found = await requests.page(call.ctx.db, merchant_id, wanted, 0, limit + 1)
    return json_answer(200, {"limit": limit, **_items(call, found[:limit], has_next=len(found) > limit)})


def _items(call: Call, found: list[Payment], *, has_next: bool) -> dict[str, Any]:
    return {
        "has_next": has_next,
        "next_cursor": cursor_of(call.ctx.keys, found[-1]) if has_next else None,
        "items": [shapes.item(payment) for payment in found],
    }


def _asked_once(asked: Mapping[str, list[str]]) -> dict[str, str]:
    for name in _ONCE & asked.keys():
        if len(asked[name]) > 1:
            raise InvalidInput.at("query", name, problem="must be named once", kind="twice")
    return {name: asked[name][0] for name in _ONCE & asked.keys()}


def _filter(once: Mapping[str, str], statuses: list[str]) -> Filter:
    if not all(map(_STATUS.fullmatch, statuses)):
        raise InvalidInput.at("query", "status", problem="must be a whole number", kind="int_type")
    for name in ("order_id", "provider"):
        if not storable(once.get(name, "")):
            raise InvalidInput.at("query", name, problem="must not have characters that cannot be stored", kind="characters")
    return Filter(
        statuses=[status for number in statuses for status in statuses_shown_as(int(number))] if statuses else None,
        ref=once.get("order_id"),
        alias=once.get("provider"),
        created_from=_time(once, "created_from"),
        created_to=_time(once, "created_to"),
    )


def _time(once: Mapping[str, str], name: str) -> datetime | None:
    text = once.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address is read as a space
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput.at("query", name, problem="must be an RFC 3339 time such as 2026-01-01T00:00:00Z", kind="time")
    return found


async def _shown(call: Call, merchant_id: str | None) -> Answer:
    payment_id = ids.parse(call.in_path["payment_id"])
    if payment_id is None:
        raise PaymentMissing
    return json_answer(200, shapes.whole(await collect.read_payment(call.ctx, merchant_id, payment_id)))


@router.get(
    "/api/v1/payments/{payment_id}",
    response_model=None,
    responses=told(200, Whole, "The payment.", _WHOLE, _MISSING),
    openapi_extra=called(PAYMENT_ID),
)
async def read_payment(call: Call) -> Answer:
    """Read one payment."""
    caller = await caller_for(call, "payments:read")
    return await _shown(call, caller.merchant.merchant_id)


@router.get(
    "/api/v1/payments/{payment_id}/show",
    response_model=None,
    responses=told(200, Whole, "The payment.", _WHOLE, _MISSING),
    openapi_extra=called(PAYMENT_ID, public=True),
)
async def show_payment(call: Call) -> Answer:
    """Read one payment. Behind a trusted gateway it needs no credentials."""
    caller = await caller_or_public(call, "payments:read")
    return await _shown(call, caller.merchant.merchant_id if caller else None)


@router.get(
    "/api/v1/payments/{payment_id}/tracking",
    response_model=None,
    responses=told(200, Tracking, "What happened, oldest first.", _TRACKING, _MISSING),
    openapi_extra=called(PAYMENT_ID, public=True),
)
async def track_payment(call: Call) -> Answer:
    """Read the timeline of a payment. Behind a trusted gateway it needs no credentials."""
    caller = await caller_or_public(call, "payments:read")
    payment_id = ids.parse(call.in_path["payment_id"])
    if payment_id is None:
        raise PaymentMissing
    payment, happened = await collect.read_timeline(call.ctx, caller.merchant.merchant_id if caller else None, payment_id)
    told_of = await timeline.tellings_of(call.ctx.db, payment.merchant_id, payment_id)
    lines = sorted([*happened, *map(shapes.told, told_of)], key=lambda line: line.at)
    return json_answer(200, shapes.tracking(payment, lines))


@router.get(
    "/api/v1/payments/{payment_id}/ledger",
    response_model=None,
    responses=told(200, Ledger, "The books of the payment.", _LEDGER, _MISSING),
    openapi_extra=called(PAYMENT_ID),
)
async def read_ledger(call: Call) -> Answer:
    """Read the books of a payment: entries whose postings sum to zero and are never changed."""
    caller = await caller_for(call, "payments:read")
    merchant_id, payment_id = caller.merchant.merchant_id, ids.parse(call.in_path["payment_id"])
    if payment_id is None:
        raise PaymentMissing
    shown = await collect.read_payment(call.ctx, merchant_id, payment_id)
    lines = await ledger.lines_of_payment(call.ctx.db, merchant_id, payment_id)
    return json_answer(200, shapes.ledger(shown.payment, lines))
