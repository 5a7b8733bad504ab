"""Errors as pages: what went wrong, in a sentence, and the way on."""

from __future__ import annotations

from http import HTTPStatus

from kassa.api.answers import Answer
from kassa.api.errors import InternalError
from kassa.api.problems import STATUS, headers_of, status_of
from kassa.kit.errors import Busy, KassaError, NotAllowed
from kassa.pages.frame import bare_page, see_other


class SeeOther(NotAllowed):
    """There is something to do at `address` first; the browser is sent there."""

    code = "see_other"

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


class Refusals:
    """The dialect of all pages."""

    def refuse(self, error: KassaError) -> Answer:
        """See `Dialect.refuse`. In English: what was asked in which language is not known here."""
        if isinstance(error, SeeOther):
            return see_other(error.address)
        status = status_of(error, STATUS)
        told = error if status < 500 or isinstance(error, Busy) else InternalError()
        answer = bare_page("refused.html", status=status, title=HTTPStatus(status).phrase, message=told.message, code=told.code)
        return answer.with_headers(*headers_of(error))
