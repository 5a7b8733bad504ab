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


class NotAllowed(KassaError):
    """These credentials do not allow it."""

    code = "not_allowed"


class NotFound(KassaError):
    """There is no such thing."""

    code = "not_found"


class Conflict(KassaError):
    """The world has moved; look again."""

    code = "conflict"


class Refused(KassaError):
    """A rule of business says no."""

    code = "refused"


class Busy(KassaError):
    """Not now; try again later."""

    code = "busy"
    retry_after: int = 1
    """Whole seconds after which it is worth trying again."""


class Unknown(KassaError):
    """The outcome of an outside act is not known."""

    code = "unknown"
