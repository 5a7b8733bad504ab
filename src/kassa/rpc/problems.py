"""Which gRPC status an error has, and its exact message: one table (gRPC contract, section 6)."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

from kassa.kit import once
from kassa.kit.database import CommitUnknown
from kassa.kit.errors import Busy, Invalid, KassaError, NotAllowed, NotFound
from kassa.merchants.model import InsufficientScope, MerchantMismatch, Unauthorized

Problem = tuple[StatusCode, str]


class RateLimited(Busy):
    """Rate limit exceeded"""  # noqa: D400 - the contract's own words, without a full stop

    code = "rate_limited"


TABLE: Final[dict[type[KassaError], tuple[StatusCode, str | None]]] = {
    Invalid: (StatusCode.INVALID_ARGUMENT, None),
    NotFound: (StatusCode.NOT_FOUND, None),
    NotAllowed: (StatusCode.UNAUTHENTICATED, None),
    Unauthorized: (StatusCode.UNAUTHENTICATED, "API key required"),
    MerchantMismatch: (StatusCode.PERMISSION_DENIED, None),
    InsufficientScope: (StatusCode.PERMISSION_DENIED, None),
    once.KeyReused: (StatusCode.ALREADY_EXISTS, "Idempotency key already used with another payload"),
    once.InProgress: (StatusCode.ABORTED, "Request with this idempotency key is still running"),
    RateLimited: (StatusCode.RESOURCE_EXHAUSTED, None),
    Busy: (StatusCode.UNAVAILABLE, "Service unavailable"),
    CommitUnknown: (StatusCode.UNAVAILABLE, "Service unavailable"),  # the same key tells what became of it
}
"""The nearest class counts. None takes the error's own message, which never holds what was sent."""

ADVICE: Final[dict[StatusCode, str]] = {
    StatusCode.INVALID_ARGUMENT: "Mend the request; the message says which rule it breaks.",
    StatusCode.NOT_FOUND: "Look at the id: another merchant's payment is not found either.",
    StatusCode.UNAUTHENTICATED: "Send `x-api-key` with a key that is good.",
    StatusCode.PERMISSION_DENIED: "Use a key of that merchant, with the scope that the call needs.",
    StatusCode.ALREADY_EXISTS: "Use another key for another payment; nothing was done.",
    StatusCode.ABORTED: "Call again with the same key: the answer to the first call is yours, too.",
    StatusCode.RESOURCE_EXHAUSTED: "Call less often, with at most 64 KiB; the key is still free.",
    StatusCode.UNAVAILABLE: "Call again with the same key, after a pause: there will be one payment.",
    StatusCode.DEADLINE_EXCEEDED: "Call again with the same key: it tells whether the payment was made.",
    StatusCode.INTERNAL: "Nothing is wrong with the request: tell the operator the `x-request-id` of the answer.",
}
"""What a caller does about each status, for the documents."""

LEAVING: Final[Problem] = (StatusCode.UNAVAILABLE, "Service unavailable")
TOO_LATE: Final[Problem] = (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def problem_of(error: Exception) -> Problem | None:
    """How a caller is told of `error`; None for one that is a fault of ours."""
    for kind in type(error).__mro__:
        found = TABLE.get(kind)
        if found is not None:
            return found[0], str(error) if found[1] is None else found[1]
    return None
