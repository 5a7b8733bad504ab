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
REFUSALS: dict[str, tuple[str, str]] = {
    "unknown_product": ("Unknown product", "Take the product out: it is not sold here. Nothing was charged."),
    "price_changed": ("Price changed", "Show the buyer the prices in `items`, and send those. Nothing was charged."),
    "stock_insufficient": ("Insufficient stock", "Ask for what is left; `items` names it. Nothing was charged."),
    "method_unavailable": ("Payment processing failed", "Offer another way to pay. Nothing was charged."),
    "payment_declined": ("Payment processing failed", "Have the buyer try another card, under another key. Nothing was charged."),
    "insufficient_funds": (
        "Payment processing failed",
        "The same: what else a payment service calls its no is passed on as it came.",
    ),
    "payment_unavailable": ("Payment processing failed", "Try again later, under another key: the card was not sent."),
    "payment_not_executed": ("Payment processing failed", "Try again under another key: the payment service never saw the charge."),
    "payment_too_late": (
        "Payment processing failed",
        "The stock was gone when the payment came; it goes back by itself. Begin anew.",
    ),
    "cancelled": ("Payment processing failed", "The order was cancelled meanwhile; what was paid goes back by itself."),
    "inventory_refused": ("Inventory failed", "The stock is not there; what was paid goes back by itself. Order something else."),
    "inventory_unavailable": ("Inventory failed", "What was paid goes back by itself. Try again later, under another key."),
    "order_refused": ("Order failed", "The order service said no; stock and money go back by themselves."),
    "order_unavailable": ("Order failed", "Stock and money go back by themselves. Try again later, under another key."),
}
"""How a checkout says no for good (422, with its id): the code, the sentence in `error`, and what a caller does about it."""
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
