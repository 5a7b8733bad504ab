"""How the orders contract says no: its envelope, and one table from errors to statuses and codes (section 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kassa import cardwatch, carts, catalog, checkout
from kassa.api.answers import Answer, json_answer
from kassa.api.errors import (
    Forbidden,
    InternalError,
    InvalidInput,
    InvalidTag,
    RateLimited,
    TooLarge,
    Unauthorized,
    WrongVerb,
)
from kassa.api.problems import headers_of, status_of
from kassa.kit.errors import Busy, Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused
from kassa.kit.jsontext import BadJson
from kassa.kit.moves import IllegalMove
from kassa.kit.once import InvalidKey

STATUS: dict[type[KassaError], int] = {
    BadJson: 400,
    InvalidKey: 400,
    InvalidTag: 400,
    Unauthorized: 401,
    Forbidden: 403,
    WrongVerb: 405,
    TooLarge: 413,
    carts.CartChanged: 412,
    carts.NotEnough: 409,
    carts.CartFull: 409,
    checkout.StockInsufficient: 409,
    RateLimited: 429,
    cardwatch.TooManyTries: 429,
    checkout.TooManyWaiting: 429,
    # The seven kinds, for what is not named above.
    Invalid: 422,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Refused: 422,
    Busy: 503,
}

_OTHER_CODE: dict[type[KassaError], str] = {
    carts.TooMany: "invalid_input",
    checkout.TooManyWaiting: "rate_limited",
}
"""Where this contract has another word than the rest of the house."""


class Envelope:
    """`{"success": false, "message": …, "error": {"code": …, "details": …}}`."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        return envelope(error)


def envelope(error: KassaError, details: Any = None) -> Answer:
    """The answer for an error; `details` where the error alone cannot say them."""
    status = status_of(error, STATUS)
    told: dict[str, Any] = {"code": _code(error, status)}
    message = error.message
    if status == 500:  # whatever it was, the caller is told no more than this
        message = error.message if error.code == "commit_unknown" else InternalError().message
        told["code"] = InternalError.code
    details = details if details is not None else _details(error)
    if details is not None:
        told["details"] = details
    return json_answer(status, {"success": False, "message": message, "error": told}, *headers_of(error))


def _code(error: KassaError, status: int) -> str:
    if type(error) in _OTHER_CODE:
        return _OTHER_CODE[type(error)]
    if status == 503 and not isinstance(error, catalog.ProductsUnavailable):  # whoever is away
        return "unavailable"
    if status == 404:  # one word for whatever is not there, a product aside
        return error.code if isinstance(error, catalog.UnknownProduct) else "not_found"
    return "invalid_input" if isinstance(error, InvalidInput) else error.code


def _details(error: KassaError) -> Any:
    for kind, details in _DETAILS:
        if isinstance(error, kind):
            return details(error)
    return None


def _fields(error: Any) -> Any:
    return {"fields": [{"path": ".".join(map(str, each.path)) or "body", "problem": each.problem} for each in error.problems]}


def _too_many(error: KassaError) -> Any:
    return {"fields": [{"path": "quantity", "problem": error.message[:1].lower() + error.message[1:].rstrip(".")}]}


def _short_items(error: KassaError) -> Any:
    items = error.details["items"]
    return {
        "items": [
            {"productId": each["product_id"], "requested": each["requested"], "available": each["available"]} for each in items
        ]
    }


_DETAILS: tuple[tuple[type[KassaError], Callable[[Any], Any]], ...] = (
    (InvalidInput, _fields),
    (carts.TooMany, _too_many),
    (carts.NotEnough, lambda error: dict(error.details)),
    (carts.CartChanged, lambda error: {"version": error.details["version"]}),
    (checkout.StockInsufficient, _short_items),
    (checkout.AlreadyOrdered, lambda error: {"orderId": error.details["order_id"]}),
    (IllegalMove, lambda error: {name: error.details[name] for name in ("from", "to", "allowed")}),
)
