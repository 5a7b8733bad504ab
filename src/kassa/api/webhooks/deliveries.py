"""What an endpoint was told, and telling it again (webhooks contract, sections 2 and 4)."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import webhooks
from kassa.api.answers import Answer, json_answer
from kassa.api.body import fit
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY, LIMIT, parameter
from kassa.api.errors import InvalidInput
from kassa.api.keys import once_in
from kassa.api.payments.callers import caller_for, hand_of
from kassa.api.payments.told import called, told
from kassa.api.webhooks import shapes
from kassa.api.webhooks.answers import Again, DeliveryPage, DeliveryShown, DeliveryWhole
from kassa.api.webhooks.models import ReplayRange
from kassa.api.webhooks.reading import (
    DELIVERY_ID,
    ENDPOINT_ID,
    SCOPE,
    asked_once,
    cursor_of,
    delivery_of,
    endpoint_of,
    key_in,
    limit_of,
    place_of,
    read_or_nothing,
)
from kassa.kit.database import Tx
from kassa.webhooks.model import LOG_STATUS

router = APIRouter(tags=["webhooks"])

_DELIVERY = {
    "delivery_id": "019b76dc-0003-7d90-a4c1-9f2e7d3b5a60",
    "event_id": "019b76dc-0003-7d90-a2b6-4c7f1e3d5b62",
    "event_type": "payment.paid",
    "subject": "payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "sequence": 3,
    "status": "retrying",
    "attempts_made": 1,
    "next_attempt_at": "2026-01-01T00:00:07.000000Z",
    "last_status_code": 500,
    "last_error": "status",
    "created_at": "2026-01-01T00:00:02.000000Z",
    "delivered_at": None,
}
_ATTEMPT = {
    "number": 1,
    "began_at": "2026-01-01T00:00:02.010000Z",
    "duration_ms": 31,
    "status_code": 500,
    "error": "status",
    "response": "we are sorry",
}
_MISSING = ("endpoint_not_found", "delivery_not_found")


@router.get(
    "/api/v1/webhook-endpoints/{endpoint_id}/deliveries",
    response_model=None,
    responses=told(
        200,
        DeliveryPage,
        "Newest first.",
        {"limit": 20, "has_next": False, "next_cursor": None, "items": [_DELIVERY]},
        {404: _MISSING[:1], 422: ("validation_error",)},
    ),
    openapi_extra=called(
        ENDPOINT_ID,
        LIMIT,
        parameter("query", "status", "May be repeated.", type="array", items={"type": "string", "enum": list(LOG_STATUS)}),
        parameter("query", "cursor", "Empty: from the start; else the `next_cursor` of an earlier answer."),
    ),
)
async def list_deliveries(call: Call) -> Answer:
    """List what an endpoint was told, or is to be told."""
    caller = await caller_for(call, SCOPE)
    merchant_id, endpoint_id = caller.merchant.merchant_id, endpoint_of(call)
    asked = call.asked_often()
    once, statuses = asked_once(asked, "limit", "cursor"), asked.get("status", [])
    if not LOG_STATUS.keys() >= set(statuses):
        raise InvalidInput.at("query", "status", problem=f"must be one of {', '.join(LOG_STATUS)}", kind="status")
    limit = limit_of(once, 20, 100)
    before = place_of(call.ctx.keys, merchant_id, endpoint_id, once.get("cursor"))
    found = await webhooks.list_deliveries(call.ctx.db, merchant_id, endpoint_id, statuses, before, limit + 1)
    shown, has_next = found[:limit], len(found) > limit
    return json_answer(
        200,
        {
            "limit": limit,
            "has_next": has_next,
            "next_cursor": cursor_of(call.ctx.keys, merchant_id, endpoint_id, shown[-1].delivery_id) if has_next else None,
            "items": [shapes.delivery(each) for each in shown],
        },
    )


@router.get(
    "/api/v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}",
    response_model=None,
    responses=told(200, DeliveryWhole, "The delivery.", _DELIVERY | {"attempts": [_ATTEMPT]}, {404: _MISSING}),
    openapi_extra=called(ENDPOINT_ID, DELIVERY_ID),
)
async def read_delivery(call: Call) -> Answer:
    """Read one delivery and its attempts."""
    caller = await caller_for(call, SCOPE)
    merchant_id, endpoint_id = caller.merchant.merchant_id, endpoint_of(call)
    await webhooks.find_endpoint(call.ctx.db, merchant_id, endpoint_id)
    found, attempts = await webhooks.read_delivery(call.ctx.db, merchant_id, endpoint_id, delivery_of(call))
    return json_answer(200, shapes.whole_delivery(found, attempts))


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}/replay",
    response_model=None,
    status_code=202,
    responses=told(
        202,
        DeliveryShown,
        "It is sent again now.",
        _DELIVERY,
        {
            400: ("endpoint_disabled", "idempotency_key_invalid"),
            404: _MISSING,
            409: ("idempotency_in_progress",),
            422: ("idempotency_mismatch",),
        },
    ),
    openapi_extra=called(ENDPOINT_ID, DELIVERY_ID, IDEMPOTENCY_KEY),
)
async def replay_delivery(call: Call) -> Answer:
    """Send a delivery again now, also one that succeeded. One that is being sent stays as it is."""
    caller = await caller_for(call, SCOPE)
    merchant_id = caller.merchant.merchant_id
    key, endpoint_id = key_in(call, merchant_id, {}), endpoint_of(call)
    await webhooks.find_endpoint(call.ctx.db, merchant_id, endpoint_id)
    delivery_id = delivery_of(call)

    async def work(tx: Tx) -> Answer:
        again = await webhooks.replay_delivery(tx, merchant_id, endpoint_id, delivery_id, hand=hand_of(call, caller))
        return json_answer(202, shapes.delivery(again))

    return await once_in(call.ctx, "webhooks.replay", key, work)


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/replay",
    response_model=None,
    status_code=202,
    responses=told(
        202,
        Again,
        "How many are sent again.",
        {"replayed": 12},
        {400: ("endpoint_disabled",), 404: _MISSING[:1], 413: ("too_large",), 422: ("validation_error",)},
    ),
    openapi_extra=called(ENDPOINT_ID, body=ReplayRange, example={"status": "failed", "since": "2026-01-01T00:00:00Z"}),
)
async def replay_range(call: Call) -> Answer:
    """Send all that ended as `failed`, or as `success`, again.

    It takes no key: what was reached once is not found as `failed` by a repeat.
    """
    caller = await caller_for(call, SCOPE)
    body = fit(ReplayRange, await read_or_nothing(call))
    replayed = await webhooks.replay_range(
        call.ctx,
        caller.merchant.merchant_id,
        endpoint_of(call),
        body.status,
        body.since,
        body.until,
        hand=hand_of(call, caller),
    )
    return json_answer(202, {"replayed": replayed})
