"""The request bodies of webhooks (contract, section 2). Members that nobody knows are ignored, as are `secret` and `status`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from kassa.api.fields import storable
from kassa.api.payments.models import OpenBody
from kassa.events.catalogue import STATUS_CHANGES, is_pattern
from kassa.kit import addresses
from kassa.webhooks.model import LONGEST_OVERLAP_S, OVERLAP_S

_MOST_PATTERNS = 20
_LONGEST_DESCRIPTION = 500


def _no(kind: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{problem}", {"problem": message})


def _url(text: str) -> str:
    if not addresses.is_url(text):
        raise _no("url", f"must be a URL of at most {addresses.LONGEST} characters, without spaces")
    return text


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise _no("event_type", "must be a type of event such as payment.paid, a family such as payment.*, or *")
    return text


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _once_each(patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(patterns))


def _storable(text: str | None) -> str | None:
    if text is not None and not storable(text):
        raise _no("characters", "must not have characters that cannot be stored")
    return text


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    found = None
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
    if found is None or found.tzinfo is None:
        raise _no("time", "must be an RFC 3339 time such as 2026-01-01T00:00:00Z")
    return found


Url = Annotated[str, AfterValidator(_url), Field(max_length=addresses.LONGEST, description="Where events are posted.")]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern)], ...],
    BeforeValidator(_tuple),
    Field(min_length=1, max_length=_MOST_PATTERNS, description="Types (`payment.paid`), families (`payment.*`), or `*`."),
    AfterValidator(_once_each),
]
Description = Annotated[str | None, Field(max_length=_LONGEST_DESCRIPTION), AfterValidator(_storable)]
Time = Annotated[
    Any, AfterValidator(_time), WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]})
]


class CreateEndpoint(OpenBody):
    """A new endpoint. What is not said of events: the status changes of payments."""

    url: Url
    events: Patterns = STATUS_CHANGES
    format: Literal["payment", "event"] = "payment"
    ordered: bool = True
    description: Description = None


def _without_defaults(schema: dict[str, Any]) -> None:
    for member in schema["properties"].values():
        member.pop("default", None)


class ChangeEndpoint(OpenBody):
    """What is to be changed. `format` is fixed at creation."""

    # A member that is absent is left alone, so what stands here for it is no default that anybody should read.
    model_config = ConfigDict(json_schema_extra=_without_defaults)

    url: Url = ""
    events: Patterns = ()
    ordered: bool = True
    description: Description = None


class RotateSecret(OpenBody):
    """For how long the old secret signs, too."""

    overlap_s: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_S)] = OVERLAP_S


class ReplayRange(OpenBody):
    """Which deliveries are sent again; the times are those of the events."""

    status: Literal["failed", "success"] = "failed"
    since: Time = None
    until: Time = None
