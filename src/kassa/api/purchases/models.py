"""The one request body of the purchases contract, and its stand-in in the query of a DELETE (sections 4 and 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field

from kassa.api.errors import InvalidInput
from kassa.api.fields import Body

HIGHEST = 2**63 - 1
_WHOLE = re.compile(r"[1-9][0-9]{0,18}")


class NamedAmbassador(Body):
    """The ambassador that is meant. Further members are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    ambassador_id: Annotated[int, Field(ge=1, le=HIGHEST, examples=[1])]


def named_in(query: Mapping[str, str]) -> int:
    """The `ambassador_id` of a query. Raises `InvalidInput`."""
    text = query.get("ambassador_id")
    if text is None:
        raise InvalidInput.at("ambassador_id", problem="is required", kind="missing")
    if _WHOLE.fullmatch(text) is None or int(text) > HIGHEST:
        raise InvalidInput.at("ambassador_id", problem=f"must be a whole number from 1 to {HIGHEST}", kind="range")
    return int(text)
