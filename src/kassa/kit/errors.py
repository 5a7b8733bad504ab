"""The seven kinds of error, named by what the caller can do.

    KassaError
    ├── Invalid      mend the request and send it again
    ├── NotAllowed   come back with other credentials
    ├── NotFound     there is no such thing for this caller
    ├── Conflict     the world moved: look again, then decide
    ├── Refused      a rule of business says no; the same request will be refused again
    ├── Busy         try later, `retry_after` seconds if it is known
    └── Unknown      an outside act whose outcome is not known: ask, never repeat

Each concrete error stands beside the function that raises it and has a stable `code`.
Only the surfaces know HTTP or gRPC statuses: one table each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class KassaError(Exception):
    """Base of every error that Kassa raises on purpose.

    `code` is a stable word for programs, `details` is plain JSON material for the caller
    and never holds the caller's own input, a secret or a personal field.
    """

    code: ClassVar[str] = "error"
    advice: ClassVar[str] = "Nothing is wrong with the request: tell the operator the `X-Request-Id` of the answer."
    """What a caller does about it, for the documents; a class that knows better than its kind says so."""

    def __init__(self, message: str = "", /, **details: Any) -> None:
        super().__init__(message or (self.__doc__ or self.code).strip().splitlines()[0])
        self.details: Mapping[str, Any] = details

    @property
    def message(self) -> str:
        """One English sentence for the caller."""
        return str(self.args[0])


class Invalid(KassaError):
    """The request is malformed."""

    code = "invalid"
    advice = "Mend the request and send it again."


class NotAllowed(KassaError):
    """These credentials do not allow it."""

    code = "not_allowed"
    advice = "Come back with other credentials."


class NotFound(KassaError):
    """There is no such thing."""

    code = "not_found"
    advice = "Look at the id: what belongs to somebody else is not found either."


class Conflict(KassaError):
    """The world has moved; look again."""

    code = "conflict"
    advice = "Look again, then decide: the world moved."


class Refused(KassaError):
    """A rule of business says no."""

    code = "refused"
    advice = "Ask for something else: the same request will be refused again."


class Busy(KassaError):
    """Not now; try again later."""

    code = "busy"
    advice = "Send the same request again after `Retry-After` seconds."
    retry_after: int = 1
    """Whole seconds after which it is worth trying again."""


class Unknown(KassaError):
    """The outcome of an outside act is not known."""

    code = "unknown"
    advice = "Look whether it happened, or repeat it under the same `Idempotency-Key`; without one, look first."
