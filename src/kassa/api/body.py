"""Read a body strictly: exact numbers, no member twice, nothing that nobody asked for; what is wrong is told without repeating it.

The framework's own reading is not used: it echoes the input in its errors, looks at `Content-Type` and reads before the caller is
known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import core_schema

from kassa.api.call import Call
from kassa.api.errors import FieldProblem, InvalidInput
from kassa.kit.jsontext import BadJson, parse

Model = TypeVar("Model", bound=BaseModel)

MOST_PROBLEMS = 50
"""More are not told: the first ones are enough to begin with."""

MOST_MEMBERS = 1000
"""Of all objects of a body together. Each one that is not known would be judged, and nobody has that many to say."""

_SHOWN_NAME = re.compile(r"[A-Za-z_]{1,40}")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

_SAID = {
    "missing": "is required",
    "extra_forbidden": "is not a known member",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "string_pattern_mismatch": "has the wrong form",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_SAID_WITH = {
    "string_too_long": ("must have at most {} characters", "max_length"),
    "greater_than_equal": ("must be {} or more", "ge"),
    "less_than_equal": ("must be {} or less", "le"),
    "too_long": ("must have at most {} entries", "max_length"),
    "too_short": ("must have at least {} entries", "min_length"),
    "literal_error": ("must be {}", "expected"),
}
_THEIRS = frozenset(get_args(core_schema.ErrorType))
"""Kinds whose sentences pydantic writes; all others are ours and say nothing of what was sent."""


async def read_json(call: Call) -> dict[str, Any]:
    """The body as one JSON object. Raises `BadJson`, `TooLarge`."""
    return json_of(await call.read())


def json_of(raw: bytes) -> dict[str, Any]:
    """A body that was read as one JSON object. Raises `BadJson`, `InvalidInput` when it has more members than anybody needs."""
    data = parse(raw)
    if raw.count(b":") > MOST_MEMBERS and _members(data) > MOST_MEMBERS:
        raise InvalidInput.at("body", problem=f"must have at most {MOST_MEMBERS} members in all", kind="too_many")
    if _HALF.search(raw) and not _is_text_throughout(data):
        raise BadJson
    return data


def fit(model: type[Model], data: Mapping[str, Any], *, currency: str | None = None) -> Model:
    """`data` as a `model`; amounts are read in `currency`. Raises `InvalidInput` with every problem, at most 50."""
    try:
        return model.model_validate(data, strict=True, context={"currency": currency})
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)[:MOST_PROBLEMS]
        raise InvalidInput([_problem(dict(each)) for each in problems]) from None


def _problem(found: Mapping[str, Any]) -> FieldProblem:
    kind: str = found["type"]
    return FieldProblem(tuple(map(_shown, found["loc"])), _sentence(kind, found), kind)


def _shown(part: str | int) -> str | int:
    return part if isinstance(part, int) or _SHOWN_NAME.fullmatch(part) else "?"


def _sentence(kind: str, found: Mapping[str, Any]) -> str:
    context = found.get("ctx") or {}
    if kind == "string_too_short":
        return "must not be empty" if context.get("min_length") == 1 else f"must have at least {context['min_length']} characters"
    if kind in _SAID_WITH:
        text, member = _SAID_WITH[kind]
        return text.format(context[member])
    if kind in _SAID:
        return _SAID[kind]
    return "is not valid" if kind in _THEIRS else str(found["msg"])


def _members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


def _is_text_throughout(value: Any) -> bool:
    """Whether every text in it, names too, is whole: half of a surrogate pair can be written in JSON but stored nowhere."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
    if isinstance(value, dict):
        return all(_is_text_throughout(name) and _is_text_throughout(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_is_text_throughout, value))
    return True
