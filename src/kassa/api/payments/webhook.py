"""What a provider reports (payments contract, section 4): the signature is checked over the raw bytes before anything is read."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fastapi import APIRouter

from kassa import collect
from kassa.api.answers import Answer, dumps, json_answer
from kassa.api.call import Call
from kassa.api.describe import operation, parameter
from kassa.api.errors import InvalidInput
from kassa.api.fields import storable
from kassa.api.payments import shapes
from kassa.api.payments.answers import Forged, Problem, ReportTaken
from kassa.api.payments.models import ProviderReport
from kassa.collect import Report
from kassa.kit import ids
from kassa.kit.jsontext import parse

router = APIRouter(tags=["provider"])

_FORGED = Answer(403, dumps({"error": "invalid_signature"}))
_LONGEST = 64
_TAKEN = {
    "status": "ok",
    "result": {
        "message": "payment updated",
        "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
        "status": "PAYMENT_FINISHED",
    },
}


@router.post(
    "/api/v1/payments/webhook",
    response_model=None,
    responses={
        200: {"model": ReportTaken, "content": {"application/json": {"example": _TAKEN}}},
        202: {"model": ReportTaken, "description": "The payment is not known; the report is kept and tried again."},
        403: {"model": Forged, "description": "The signature is missing or wrong."},
        413: {"model": Problem, "description": "`too_large`"},
        422: {"model": Problem, "description": "`validation_error`: signed, and malformed"},
    },
    openapi_extra=operation(
        parameter("header", "X-Internal-Signature", "Lower-case hex HMAC-SHA256 of the raw body with `PROVIDER_WEBHOOK_SECRET`."),
        body=ProviderReport,
        example={"payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "status": "finished"},
        secured=False,
    ),
)
async def take_report(call: Call) -> Answer:
    """Take a provider's report of a payment or a refund. Reported a hundred times at once it takes effect once."""
    raw = await call.read()
    if not _is_signed(raw, call.header(b"x-internal-signature"), call.webhook_secrets):
        return _FORGED
    report = _report(parse(raw))
    found = await collect.take_report(call.ctx, report)
    return json_answer(200 if found.payment is not None else 202, shapes.reported(found, report.payment_id))


def _is_signed(raw: bytes, signature: str | None, secrets: Sequence[bytes]) -> bool:
    given = (signature or "").encode("latin-1", "replace")
    made = [hmac.new(each, raw, hashlib.sha256).hexdigest().encode() for each in secrets]
    return any(hmac.compare_digest(each, given) for each in made)


def _report(body: dict[str, Any]) -> Report:
    status, price, currency = body.get("status"), body.get("price"), body.get("currency")
    if not isinstance(status, str) or not status or not storable(status):
        raise InvalidInput.at("status", problem="must be text")
    if price is not None and (isinstance(price, bool) or not isinstance(price, str | int | Decimal)):
        raise InvalidInput.at("price", problem="must be a number, or digits with at most one point")
    if currency is not None and (not isinstance(currency, str) or not storable(currency)):
        raise InvalidInput.at("currency", problem="must be text")
    refund_id = _id(body, "refund_id") if body.get("refund_id") is not None else None
    payment_id = _id(body, "payment_id")
    told_price = None if price is None else str(price)
    if told_price is not None and (len(told_price) > _LONGEST or not storable(told_price)):
        told_price = "?"  # whatever it is, it is not the price of a payment
    return Report(payment_id, status, refund_id, told_price, currency[:_LONGEST] if currency is not None else None)


def _id(body: dict[str, Any], name: str) -> uuid.UUID:
    text = body.get(name)
    found = ids.parse(text) if isinstance(text, str) else None
    if found is None:
        raise InvalidInput.at(name, problem="must be a UUID in lower case")
    return found
