"""`POST /api/v1/payments`: a merchant asks for a payment of its own order (payments contract, section 3)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from kassa import collect
from kassa.api.answers import Answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY
from kassa.api.keys import MONTH, given_key, key_of, replay
from kassa.api.payments import shapes
from kassa.api.payments.answers import Created
from kassa.api.payments.callers import caller_for
from kassa.api.payments.models import CreatePayment
from kassa.api.payments.told import called, told
from kassa.collect import PaymentWish, Replayed
from kassa.kit.ids import new_id
from kassa.kit.money import fixed_text

router = APIRouter(tags=["payments"])

_EXAMPLE = {"order_id": 1001, "amount": 2, "price": "349.70", "alias": "stripe", "subscription_id": 1, "event_id": "evt-1"}
_CREATED = {
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "status": "PAYMENT_PENDING",
    "payment_url": "http://localhost:8000/sandbox/pay/9Uq3",
}


@router.post(
    "/api/v1/payments",
    response_model=None,
    responses=told(
        200,
        Created,
        "The payment waits for its buyer at `payment_url`.",
        _CREATED,
        {
            400: ("provider_not_found", "payment_already_exists", "subscription_not_found", "idempotency_key_invalid"),
            409: ("idempotency_in_progress",),
            413: ("too_large",),
            422: ("validation_error", "idempotency_mismatch"),
            429: ("quota_exceeded", "rate_limited"),
            502: ("provider_unreachable", "provider_link_failed"),
        },
    ),
    openapi_extra=called(IDEMPOTENCY_KEY, body=CreatePayment, example=_EXAMPLE),
)
async def create_payment(call: Call) -> Answer:
    """Collect the sum of one order, once: there is at most one live or paid payment for each `order_id`.

    `price` is the whole sum in major units; `amount` is a quantity, and nothing is multiplied.
    """
    caller = await caller_for(call, "payments:write")
    merchant = caller.merchant
    data = await read_json(call)
    body = fit(CreatePayment, data, currency=merchant.currency)
    said: dict[str, Any] = data | {"amount": body.amount, "price": fixed_text(body.price.minor, body.price.currency)}
    key = key_of(call, given_key(call), lambda _: ("merchant", said), MONTH, merchant.merchant_id)
    wish = PaymentWish(
        merchant_id=merchant.merchant_id,
        order_id=str(body.order_id),
        order_is_number=isinstance(body.order_id, int),
        quantity=body.amount,
        price=body.price,
        alias=body.alias,
        plan_id=body.subscription_id,
        event_ref=body.event_id or str(new_id()),
        key=key,
    )
    made = await collect.request_payment(call.ctx, wish, shapes.created)
    if isinstance(made, Replayed):
        return replay(made.status, made.body)
    return Answer(*shapes.created(made.payment.payment_id, made.url))
