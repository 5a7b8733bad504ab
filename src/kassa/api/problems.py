"""The dialect of everything that no contract describes: problem documents (RFC 9457) with a stable `code`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from kassa.api.answers import BEARER, Answer, Header, dumps, retry_after
from kassa.api.errors import InternalError, RateLimited, TooLarge, Unauthorized, WrongVerb
from kassa.kit.errors import Busy, Conflict, Invalid, KassaError, NotAllowed, NotFound, Refused
from kassa.kit.once import InProgress

PROBLEM = b"application/problem+json"

STATUS: dict[type[KassaError], int] = {
    WrongVerb: 405,
    TooLarge: 413,
    Unauthorized: 401,
    RateLimited: 429,
    Invalid: 422,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Refused: 422,
    Busy: 503,
}


class Problems:
    """Errors as `application/problem+json`."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`."""
        status = status_of(error, STATUS)
        told = error if status < 500 or isinstance(error, Busy) else InternalError()
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": told.message,
            "code": told.code,
        }
        return Answer(status, dumps(content), headers_of(error), PROBLEM)


def status_of(error: KassaError, table: dict[type[KassaError], int]) -> int:
    """The status of the nearest class in the table, 500 when there is none."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), 500)


def headers_of(error: KassaError) -> tuple[Header, ...]:
    """The headers that belong to an error in every dialect."""
    match error:
        case WrongVerb():
            return ((b"allow", error.allow.encode()),)
        case Unauthorized():
            return (BEARER,)
        case Busy():
            return (retry_after(error.retry_after),)
        case InProgress():
            return (retry_after(1),)
        case _:
            return ()
