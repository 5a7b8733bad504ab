"""What can go wrong at the door, before a use case is asked or in place of it. Each dialect says it in its own shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kassa.kit.errors import Busy, Invalid, KassaError, NotAllowed, NotFound, Unknown


class UnknownPath(NotFound):
    """There is nothing at this address."""

    code = "not_found"
    advice = "Look at the address."


class NotHere(NotFound):
    """There is no such thing."""

    code = "not_found"


class WrongVerb(Invalid):
    """This address does not take this method."""

    code = "method_not_allowed"
    advice = "Use a method that `Allow` names."

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class TooLarge(Invalid):
    """The body is larger than 64 KiB."""

    code = "too_large"
    advice = "Send less than 64 KiB."


class Unauthorized(NotAllowed):
    """A valid bearer token is needed."""

    code = "unauthorized"
    advice = "Sign in anew: send `Authorization: Bearer` with a token that is good."

    def __init__(self, why: str = "Not authenticated") -> None:
        super().__init__()
        self.why = why
        """Why, for the contract that tells it: never a part of the token."""


class Forbidden(NotAllowed):
    """This is not for you to do."""

    code = "forbidden"
    advice = "Leave it to the shop's staff."


class RateLimited(Busy):
    """Too many requests; slow down."""

    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class NotInTime(Busy):
    """This could not be answered in time; try again."""

    code = "unavailable"


class TookTooLong(Unknown):
    """The request took too long, and it is not known whether it happened: look, or repeat it with the same Idempotency-Key."""

    code = "commit_unknown"


class InvalidTag(Invalid):
    """If-Match must be one cart version in quotes, or *."""

    code = "invalid_if_match"


class InternalError(KassaError):
    """Something went wrong on our side; it has been noted."""

    code = "internal_error"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one member: where it is, what it should be, and a stable word. Never what was sent."""

    path: tuple[str | int, ...]
    problem: str
    kind: str


class InvalidInput(Invalid):
    """The request has members that are missing or wrong."""

    code = "invalid_input"

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__()
        self.problems = tuple(problems)

    @classmethod
    def at(cls, *path: str | int, problem: str, kind: str = "value_error") -> InvalidInput:
        """One problem at one place."""
        return cls([FieldProblem(path, problem, kind)])


class CallerGone(Exception):
    """The caller left, or stopped sending, before the whole body was here: nobody is left to be answered."""
