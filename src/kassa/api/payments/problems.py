"""How the payments contract says no: `{"detail": "<text>", "code": "<word>"}`, and one table from errors to statuses."""

from __future__ import annotations

from typing import Any

from kassa import collect
from kassa.api.answers import Answer, json_answer
from kassa.api.errors import InternalError, InvalidInput, RateLimited, TooLarge, UnknownPath, WrongVerb
from kassa.api.payments.errors import AlreadyAnswered
from kassa.api.problems import headers_of, status_of
from kassa.collect.model import KeyMissing, RefundAtProvider
from kassa.kit.database import CommitUnknown
from kassa.kit.errors import Busy, Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused
from kassa.kit.jsontext import BadJson
from kassa.kit.once import InProgress, InvalidKey, KeyReused
from kassa.merchants.model import InsufficientScope, MerchantMismatch, QuotaExceeded
from kassa.payments.model import shown_name

STATUS: dict[type[KassaError], int] = {
    collect.ProviderUnreachable: 502,
    collect.ProviderLinkFailed: 502,
    QuotaExceeded: 429,
    KeyReused: 422,
    InvalidKey: 400,
    InProgress: 409,
    AlreadyAnswered: 409,
    KeyMissing: 400,
    RefundAtProvider: 400,
    InsufficientScope: 403,
    MerchantMismatch: 403,
    WrongVerb: 405,
    TooLarge: 413,
    BadJson: 422,
    RateLimited: 429,
    CommitUnknown: 503,
    # The seven kinds, for what is not named above.
    Invalid: 422,
    NotAllowed: 401,
    NotFound: 404,
    Conflict: 409,
    Refused: 400,
    Busy: 503,
}

_WORDS: dict[type[KassaError], tuple[str, str]] = {
    InvalidKey: ("idempotency_key_invalid", "Idempotency-Key must be 8 to 255 visible ASCII characters"),
    KeyReused: ("idempotency_mismatch", "This Idempotency-Key was used with another request"),
    InProgress: ("idempotency_in_progress", "The first request with this Idempotency-Key is still running"),
    UnknownPath: ("not_found", "Not found"),
    CommitUnknown: ("unavailable", "Whether it was done is not known; ask again"),
}
_MALFORMED = [{"loc": ["body"], "msg": "must be one JSON object", "type": "json_invalid"}]
_INVALID = "validation_error"


class Plain:
    """`{"detail": …, "code": …}`, with further members where the contract names some."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        if isinstance(error, InvalidInput):
            return json_answer(422, {"detail": [_problem(each) for each in error.problems], "code": _INVALID})
        if isinstance(error, BadJson):
            return json_answer(422, {"detail": _MALFORMED, "code": _INVALID})
        status = status_of(error, STATUS)
        if status == 500:
            error = InternalError()
        code, text = _WORDS.get(type(error), (error.code, error.message))
        content: dict[str, Any] = {"detail": text, "code": code, **error.details}
        if isinstance(error, collect.PaymentExists):
            there = error.payment
            content |= {
                "payment_id": str(there.payment_id),
                "status": shown_name(there.status),
                "payment_url": there.pay_url,
            }
        return json_answer(status, content, *(headers_of(error) if status != 502 else ()))


def _problem(each: Any) -> dict[str, Any]:
    where = [] if each.path[:1] in {("query",), ("header",)} else ["body"]
    return {"loc": [*where, *each.path], "msg": each.problem, "type": each.kind}
