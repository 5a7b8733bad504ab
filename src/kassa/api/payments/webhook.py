"""What a link provider reports of a payment (payments contract, section 4): verified over the raw bytes first, then applied.

It settles payments by link only. Reported a hundred times at once it takes effect once, and the answer says what is now.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from decimal import Decimal, InvalidOperation
from typing import Any

from fastapi import APIRouter

from kassa import checkout, payments
from kassa.api.answers import Answer, dumps
from kassa.api.call import Call
from kassa.kit import ids
from kassa.kit.errors import Busy
from kassa.kit.jsontext import BadJson, parse
from kassa.kit.money import InvalidMoney, from_major
from kassa.payments.model import Payment, Verdict, shown_name

_NOTHING_NEW = frozenset({"pending", "processing"})


class PaymentNotKnownYet(Busy):
    """This payment is not known here yet; report it again."""

    code = "payment_not_found"
    retry_after = 5


def provider_router(secret: str) -> APIRouter:
    """The door for one shared `secret`."""
    router = APIRouter(tags=["provider"])

    @router.post("/api/v1/payments/webhook", response_model=None)
    async def report(call: Call) -> Answer:
        """Take a provider's report of a payment."""
        raw = await call.read()
        if not _signed(raw, call.header(b"x-internal-signature"), secret):
            return Answer(403, dumps({"error": "invalid_signature"}))
        try:
            body = parse(raw)
        except BadJson:
            return _malformed("body")
        payment_id, status = _text(body, "payment_id"), _text(body, "status")
        known = ids.parse(payment_id) if payment_id else None
        if known is None or status is None:
            return _malformed("payment_id" if known is None else "status")
        return await _apply(call, known, status, body)

    return router


async def _apply(call: Call, payment_id: uuid.UUID, status: str, body: dict[str, Any]) -> Answer:
    payment = await payments.find_anywhere(call.ctx.db, payment_id)
    if payment is None:
        raise PaymentNotKnownYet
    if payment.provider != "link" or "refund_id" in body:
        return _said("other provider", payment)
    if not _same_sum(payment, body):
        return _said("amount mismatch", payment)
    if status in _NOTHING_NEW:
        return _said("payment updated", payment)
    verdict = Verdict("paid") if status == "finished" else Verdict("declined", code="provider_declined")
    settled = await checkout.bring_verdict(call.ctx, payment.merchant_id, payment_id, verdict) or payment
    return _said("payment updated" if settled.status != payment.status else "already processed", settled)


def _signed(raw: bytes, signature: str | None, secret: str) -> bool:
    expected = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), (signature or "").encode("latin-1", "replace"))


def _same_sum(payment: Payment, body: dict[str, Any]) -> bool:
    price, currency = body.get("price"), body.get("currency")
    if currency is not None and currency != payment.currency:
        return False
    if price is None:
        return True
    try:
        return from_major(Decimal(price) if isinstance(price, str) else price, payment.currency).minor == payment.amount_minor
    except (InvalidMoney, InvalidOperation):
        return False


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _malformed(name: str) -> Answer:
    loc = ["body"] if name == "body" else ["body", name]
    return Answer(422, dumps({"detail": [{"loc": loc, "msg": "is malformed", "type": "value_error"}]}))


def _said(message: str, payment: Payment) -> Answer:
    result = {"message": message, "payment_id": str(payment.payment_id), "status": shown_name(payment.status)}
    return Answer(200, dumps({"status": "ok", "result": result}))
