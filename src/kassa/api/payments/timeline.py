"""The whole story of a payment, numbered (an addition to the payments contract): its order, its purchase, refunds, who was told."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import re

from fastapi import APIRouter

from kassa import timeline
from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call, whole
from kassa.api.describe import parameter
from kassa.api.errors import InvalidInput
from kassa.api.payments import shapes
from kassa.api.payments.answers import WholeStory
from kassa.api.payments.callers import caller_for
from kassa.api.payments.told import PAYMENT_ID, called, told
from kassa.collect import PaymentMissing
from kassa.kit import ids
from kassa.payments import find

router = APIRouter(tags=["payments"])

_MOST = 500
_DEFAULT = 100
_NUMBER = re.compile(r"[0-9]{1,9}")
_STORY = {
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "items": [
        {
            "number": 3,
            "at": "2026-01-01T00:00:02.000000Z",
            "kind": "payment",
            "title": "349.70 USD was paid",
            "subject": "payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
            "sequence": 3,
            "details": {"type": "payment.paid", "state": "paid", "price": "349.70", "currency": "USD"},
        }
    ],
    "next_after": 3,
    "has_next": False,
}


@router.get(
    "/api/v1/payments/{payment_id}/timeline",
    response_model=None,
    responses=told(200, WholeStory, "Oldest first.", _STORY, {404: ("payment_not_found",), 422: ("validation_error",)}),
    openapi_extra=called(
        PAYMENT_ID,
        parameter("query", "after", "The number of the last entry that was read.", type="integer", minimum=0, default=0),
        parameter("query", "limit", "Rows of one page.", type="integer", minimum=1, maximum=_MOST, default=_DEFAULT),
    ),
)
async def read_story(call: Call) -> Answer:
    """Read the story of a payment as one numbered list. An addition of Kassa's; it needs the scope `events:read`.

    The shop's own orders are told with their purchase and what the buyer was sent, others with all payments of their `order_id`.
    """
    caller = await caller_for(call, "events:read")
    merchant_id, payment_id = caller.merchant.merchant_id, ids.parse(call.in_path["payment_id"])
    asked = call.asked()
    after, limit = _after(asked.get("after", "0")), whole(asked, "limit", _DEFAULT, _MOST)
    if payment_id is None or await find(call.ctx.db, merchant_id, payment_id) is None:
        raise PaymentMissing
    story = await timeline.read_story(call.ctx.db, merchant_id, payment_id)
    page = story.entries[after : after + limit]
    return json_answer(200, shapes.story(payment_id, page, after, has_next=after + limit < len(story.entries)))


def _after(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidInput.at("query", "after", problem="must be a whole number of 0 or more", kind="range")
    return int(text)
