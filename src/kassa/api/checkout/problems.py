"""How the checkout contract says no: one table from errors to statuses and sentences (section 3)."""

from __future__ import annotations

from typing import Any

from kassa.api.answers import Answer, json_answer
from kassa.api.errors import InternalError, InvalidInput, RateLimited, TooLarge, Unauthorized, WrongVerb
from kassa.api.problems import headers_of, status_of
from kassa.cardwatch import TooManyTries
from kassa.kit.errors import Busy, Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused
from kassa.kit.jsontext import BadJson
from kassa.kit.once import InProgress, InvalidKey, KeyReused

STATUS: dict[type[KassaError], int] = {
    BadJson: 422,
    InvalidKey: 400,
    Unauthorized: 401,
    WrongVerb: 405,
    TooLarge: 413,
    InProgress: 409,
    KeyReused: 422,
    RateLimited: 429,
    TooManyTries: 429,
    # The seven kinds, for what is not named above.
    Invalid: 422,
    NotAllowed: 401,
    NotFound: 404,
    Conflict: 409,
    Refused: 422,
    Busy: 503,
}

_SENTENCES = {
    400: "Invalid idempotency key",
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    409: "Checkout in progress",
    413: "Too large",
    422: "Idempotency key reused",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}
_MALFORMED = [{"loc": ["body"], "msg": "must be one JSON object", "type": "json_invalid"}]


class Detail:
    """`{"detail": {"checkout_id": null, "error": …, "message": …, "code": …}}`, or the list of what is malformed."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        if isinstance(error, InvalidInput):
            return json_answer(422, {"detail": [_problem(each) for each in error.problems]})
        if isinstance(error, BadJson):
            return json_answer(422, {"detail": _MALFORMED})
        status = status_of(error, STATUS)
        told: KassaError = error
        if status == 500 and error.code != "commit_unknown":  # the caller is told no more than this
            told = InternalError()
        code = {404: "not_found", 500: InternalError.code, 503: "unavailable"}.get(status, told.code)
        detail: dict[str, Any] = {"checkout_id": None, "error": _SENTENCES[status], "message": told.message, "code": code}
        return json_answer(status, {"detail": detail}, *headers_of(error))


def _problem(each: Any) -> dict[str, Any]:
    return {"loc": ["body", *each.path], "msg": each.problem, "type": each.kind}
