"""`GET /api/v1/merchants/me`: whose credentials these are, and what its plans have left (payments contract, section 6)."""

from __future__ import annotations

from fastapi import APIRouter

from kassa import merchants
from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call
from kassa.api.payments import shapes
from kassa.api.payments.answers import Me
from kassa.api.payments.callers import caller_for
from kassa.api.payments.told import called, told

router = APIRouter(tags=["merchants"])

_PLAN = {
    "subscription_id": 1,
    "plan": "Basic",
    "price": "9.99",
    "status": 1,
    "status_name": "SUBSCRIPTION_ACTIVE",
    "tokens_total": 1000000,
    "tokens_used": 3,
    "tokens_left": 999997,
    "started_at": "2026-01-01T00:00:00.000000Z",
}
_ME = {
    "merchant_id": 1,
    "name": "Demo Merchant",
    "email": "demo@example.com",
    "currency": "USD",
    "created_at": "2026-01-01T00:00:00.000000Z",
    "subscription": _PLAN,
    "subscriptions": [_PLAN],
}


@router.get(
    "/api/v1/merchants/me",
    response_model=None,
    responses=told(200, Me, "The merchant.", _ME),
    openapi_extra=called(),
)
async def read_me(call: Call) -> Answer:
    """Read the merchant whose credentials were sent, with its subscriptions."""
    caller = await caller_for(call, "merchant:read")
    subscriptions = await merchants.subscriptions_of(call.ctx.db, caller.merchant.merchant_id)
    return json_answer(200, shapes.merchant(caller.merchant, subscriptions))
