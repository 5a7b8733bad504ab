"""How the purchases contract says no: `{"detail": "<sentence>", "code": "<word>"}`, and one table from errors to statuses."""

from __future__ import annotations

from typing import Any

from kassa import carts, catalog, checkout
from kassa.api.answers import Answer, json_answer, retry_after
from kassa.api.errors import InternalError, InvalidInput, RateLimited, TooLarge, Unauthorized, UnknownPath, WrongVerb
from kassa.api.problems import headers_of, status_of
from kassa.kit.errors import Busy, Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused, Unknown
from kassa.kit.once import InProgress, InvalidKey, KeyReused

STATUS: dict[type[KassaError], int] = {
    InvalidKey: 400,
    checkout.CartEmpty: 400,
    Unauthorized: 401,
    WrongVerb: 405,
    TooLarge: 413,
    KeyReused: 422,
    RateLimited: 429,
    checkout.TooManyWaiting: 429,
    # The kinds, for what is not named above.
    Invalid: 422,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Refused: 409,
    Busy: 503,
    Unknown: 503,
}

_WORDS: dict[type[KassaError], tuple[str, str | None]] = {
    # This contract's word, and its sentence where it has one of its own; the nearest class counts.
    InvalidKey: ("idempotency_key_invalid", None),
    InProgress: ("in_progress", None),
    WrongVerb: ("method_not_allowed", None),
    TooLarge: ("too_large", None),
    Invalid: ("invalid_body", None),
    UnknownPath: ("not_found", "There is nothing at this address"),
    catalog.UnknownProduct: ("ambassador_not_found", "Ambassador not found"),
    carts.LineMissing: ("not_in_cart", "This ambassador is not in the cart"),
    NotFound: ("not_found", None),
    RateLimited: ("rate_limited", None),
    checkout.TooManyWaiting: ("rate_limited", None),
    catalog.ProductsUnavailable: ("ambassadors_unavailable", "The ambassadors service does not answer; try again in a moment."),
    Busy: ("unavailable", None),
    Unknown: ("unavailable", "Whether it was done is not known; ask again."),
}


class Brief:
    """`{"detail": …, "code": …}`, with `errors` or `invalid_ids` where the contract names them."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        status = status_of(error, STATUS)
        told = error if status != 500 else InternalError()
        code, sentence = next((_WORDS[kind] for kind in type(told).__mro__ if kind in _WORDS), (told.code, None))
        content: dict[str, Any] = {"detail": sentence or told.message, "code": code}
        headers = headers_of(error)
        if isinstance(error, Unauthorized):
            content["detail"] = error.why
        elif isinstance(error, InvalidInput):
            content["errors"] = [{"field": ".".join(map(str, each.path)), "message": each.problem} for each in error.problems]
        elif "invalid_ids" in error.details:
            content["invalid_ids"] = sorted(error.details["invalid_ids"])
        elif isinstance(error, Unknown):
            headers = (retry_after(1),)
        return json_answer(status, content, *headers)
