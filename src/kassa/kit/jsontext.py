"""JSON read strictly: numbers exactly, no member twice, no endless nesting, no NaN."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from kassa.kit.errors import Invalid

MAX_DEPTH = 20
_LONG = 40


class BadJson(Invalid):
    """The body is not a JSON object."""

    code = "malformed_json"


def parse(raw: bytes) -> dict[str, Any]:
    """Read a JSON object from UTF-8 bytes.

    Numbers with a point or exponent become `Decimal`, the others `int`. Raises `BadJson` for anything that is
    not one object, for a member named twice and for nesting deeper than 20 levels.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError, InvalidOperation):
        raise BadJson from None
    # Only what has so many brackets can be nested so deep.
    if not isinstance(value, dict) or (raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH)):
        raise BadJson
    return value


def write(value: Any) -> str:
    """JSON in ASCII of what `parse` gave: a `Decimal` is written as a number with exactly its digits."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{write(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def _decimal(text: str) -> Decimal:
    return Decimal(text)


def _whole(text: str) -> int | Decimal:
    # Python refuses to read a number of thousands of digits; as a Decimal it is read and refused by its range.
    return int(text) if len(text) < _LONG else Decimal(text)


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


_DECODER = json.JSONDecoder(parse_float=_decimal, parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_once_each)


def _deeper_than(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_deeper_than(each, levels - 1) for each in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_deeper_than(each, levels - 1) for each in value)
    return False
