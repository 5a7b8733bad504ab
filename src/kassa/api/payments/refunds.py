"""Give money back, and see what was given back (payments contract, section 6)."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from kassa import collect, payments
from kassa.api.answers import Answer, json_answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY
from kassa.api.errors import InvalidInput
from kassa.api.keys import MONTH, given_key, key_of, replay
from kassa.api.payments import shapes
from kassa.api.payments.answers import Refunds, RefundShown
from kassa.api.payments.callers import by_of, caller_for
from kassa.api.payments.models import CreateRefund
from kassa.api.payments.told import PAYMENT_ID, called, told
from kassa.collect import LineAsked, PaymentMissing, RefundWish, Replayed
from kassa.collect.model import KeyMissing
from kassa.kit import ids, once
from kassa.kit.money import fixed_text

router = APIRouter(tags=["refunds"])

_REFUND = {
    "refund_id": "019b76db-0001-7d90-a2b6-4c7f1e3d5b62",
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "amount": "10.00",
    "currency": "USD",
    "reason": "damaged",
    "lines": [],
    "status": "succeeded",
    "created_at": "2026-01-02T00:00:00.000000Z",
    "refunded": "10.00",
    "refundable": "339.70",
}
_REFUNDS = {
    "payment_id": _REFUND["payment_id"],
    "currency": "USD",
    "captured": "349.70",
    "refunded": "10.00",
    "pending": "0.00",
    "refundable": "339.70",
    "items": [_REFUND],
}


@router.post(
    "/api/v1/payments/{payment_id}/refunds",
    response_model=None,
    status_code=201,
    responses=told(
        201,
        RefundShown,
        "The refund; `pending` ones are tried on.",
        _REFUND,
        {
            400: (
                "idempotency_key_required",
                "idempotency_key_invalid",
                "not_refundable",
                "refund_exceeds_captured",
                "no_lines",
                "line_not_refundable",
                "restock_not_possible",
                "refund_at_provider",
            ),
            404: ("payment_not_found",),
            409: ("idempotency_in_progress",),
            413: ("too_large",),
            422: ("validation_error", "idempotency_mismatch"),
        },
    ),
    openapi_extra=called(PAYMENT_ID, IDEMPOTENCY_KEY, body=CreateRefund, example={"amount": "10.00", "reason": "damaged"}),
)
async def create_refund(call: Call) -> Answer:
    """Give back an amount, lines of the shop's order, or all that is left.

    A key is required: it alone tells a repeat from a second refund of the same sum.
    """
    caller = await caller_for(call, "refunds:write")
    merchant_id = caller.merchant.merchant_id
    data = await read_json(call)
    payment_id = ids.parse(call.in_path["payment_id"])
    payment = await payments.find(call.ctx.db, merchant_id, payment_id) if payment_id is not None else None
    body = fit(CreateRefund, data, currency=payment.currency if payment is not None else caller.merchant.currency)
    key = _key(call, data, body, merchant_id)
    if payment is None:
        raise PaymentMissing
    wish = RefundWish(
        merchant_id=merchant_id,
        payment_id=payment.payment_id,
        key=key,
        amount=body.amount,
        lines=tuple(LineAsked(line.line_id, line.quantity, line.restock) for line in body.lines or ()),
        reason=body.reason,
        by=by_of(caller),
    )
    made = await collect.refund_payment(call.ctx, wish, shapes.refunded)
    if isinstance(made, Replayed):
        return replay(made.status, made.body)
    return Answer(*shapes.refunded(made))


def _key(call: Call, data: dict[str, Any], body: CreateRefund, merchant_id: str) -> once.Key:
    """The key of the header, or of the body. Raises `KeyMissing`, `InvalidKey`, `InvalidInput` where both differ."""
    in_header, in_body = given_key(call), once.read_header(body.idempotency_key)
    if in_header is not None and in_body is not None and in_header != in_body:
        raise InvalidInput.at("idempotency_key", problem="must be equal to the header", kind="idempotency_key")
    said = {name: value for name, value in data.items() if name != "idempotency_key"}
    if body.amount is not None:
        said["amount"] = fixed_text(body.amount.minor, body.amount.currency)
    key = key_of(call, in_header or in_body, lambda _: ("merchant", said), MONTH, merchant_id)
    if key is None:
        raise KeyMissing
    return key


@router.get(
    "/api/v1/payments/{payment_id}/refunds",
    response_model=None,
    responses=told(200, Refunds, "Oldest first.", _REFUNDS, {404: ("payment_not_found",)}),
    openapi_extra=called(PAYMENT_ID),
)
async def list_refunds(call: Call) -> Answer:
    """List the refunds of a payment, and how much of it can still be given back."""
    caller = await caller_for(call, "payments:read")
    merchant_id, payment_id = caller.merchant.merchant_id, ids.parse(call.in_path["payment_id"])
    payment = await payments.find(call.ctx.db, merchant_id, payment_id) if payment_id is not None else None
    if payment is None:
        raise PaymentMissing
    found = await payments.refunds_of(call.ctx.db, merchant_id, payment.payment_id)
    return json_answer(200, shapes.refunds(payment, found))
