"""The feed: a merchant's events in an order that can be followed (webhooks contract, section 1)."""

from __future__ import annotations

from fastapi import APIRouter

from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call
from kassa.api.describe import parameter
from kassa.api.errors import InvalidInput
from kassa.api.fields import storable
from kassa.api.payments.callers import caller_for
from kassa.api.payments.told import called, told
from kassa.api.webhooks import shapes
from kassa.api.webhooks.answers import EventPage
from kassa.api.webhooks.reading import asked_once, limit_of
from kassa.events.feed import UnknownPlace, read_feed
from kassa.kit import ids

router = APIRouter(tags=["webhooks"])

_MOST = 500
_DEFAULT = 100
_EVENT = {
    "id": "019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d",
    "type": "payment.paid",
    "version": 1,
    "subject": "payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "sequence": 3,
    "occurred_at": "2026-01-01T00:00:02.000000Z",
    "merchant_id": 1,
    "data": {"payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "status": 2, "price": "349.70", "currency": "USD"},
}


@router.get(
    "/api/v1/events",
    response_model=None,
    responses=told(
        200,
        EventPage,
        "Oldest first, of the last 90 days.",
        {"items": [_EVENT], "next_after": _EVENT["id"], "has_next": False},
        {422: ("validation_error", "cursor_expired")},
    ),
    openapi_extra=called(
        parameter("query", "after", "The id of the last event that was read; without it, from the start."),
        parameter("query", "limit", "Rows of one page.", type="integer", minimum=1, maximum=_MOST, default=_DEFAULT),
        parameter("query", "type", "May be repeated.", type="array", items={"type": "string"}),
        parameter("query", "subject", "May be repeated.", type="array", items={"type": "string"}),
    ),
)
async def list_events(call: Call) -> Answer:
    """Read the merchant's events. Whoever follows `next_after` misses nothing."""
    caller = await caller_for(call, "events:read")
    asked = call.asked_often()
    once = asked_once(asked, "after", "limit")
    limit = limit_of(once, _DEFAULT, _MOST)
    types, subjects = asked.get("type", []), asked.get("subject", [])
    for name, texts in (("type", types), ("subject", subjects)):
        if not all(map(storable, texts)):
            raise InvalidInput.at("query", name, problem="must not have characters that cannot be stored", kind="characters")
    after = ids.parse(once["after"]) if "after" in once else None
    if "after" in once and after is None:
        raise _no_place()
    try:
        page = await read_feed(call.ctx, caller.merchant.merchant_id, after=after, limit=limit, types=types, subjects=subjects)
    except UnknownPlace:
        raise _no_place() from None
    return json_answer(200, shapes.feed(page))


def _no_place() -> InvalidInput:
    return InvalidInput.at("query", "after", problem="is not the id of an event of this feed", kind="after")
