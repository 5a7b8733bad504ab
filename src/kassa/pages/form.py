"""What a form sends: closed, short, and from our own page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from kassa.api.call import Call, header
from kassa.api.errors import InvalidInput
from kassa.kit.errors import Conflict, NotAllowed

_LONGEST = 4000
_FIELDS = 200
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
MARK = "mark"
"""The field with the mark of the session."""


class Foreign(NotAllowed):
    """This form was not sent from our own page; open the page again and send it from there."""

    code = "foreign_form"


class Stale(Conflict):
    """This page has been open for too long; load it again."""

    code = "stale_form"


async def read(call: Call) -> Mapping[str, str]:
    """The fields of a form by name, each once, trimmed. Lists are written as `quantity[prod_001]`.

    Raises `Foreign` when a browser says that another site sent it, and `InvalidInput` for what no form of ours sends.
    """
    refuse_foreign(call)
    kind = (header(call.scope, b"content-type") or "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidInput.at("body", problem="must be a form", kind="type")
    try:
        pairs = parse_qsl((await call.read()).decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError:
        raise InvalidInput.at("body", problem="is not a form", kind="type") from None
    found = {name: value.strip() for name, value in pairs}
    if len(found) != len(pairs):
        raise InvalidInput.at("body", problem="names something twice", kind="twice")
    for name, value in found.items():
        if len(name) > 100 or len(value) > _LONGEST or _UNPRINTABLE.search(value):
            raise InvalidInput.at("body", problem="has a field that is too long or not text", kind="length")
    return found


def refuse_foreign(call: Call) -> None:
    """Raise `Foreign` for a request that a browser sends for another site. Callers that are no browsers say nothing of it."""
    site = header(call.scope, b"sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        raise Foreign
    origin = header(call.scope, b"origin")
    if origin is not None and urlsplit(origin).netloc != (header(call.scope, b"host") or ""):
        raise Foreign
