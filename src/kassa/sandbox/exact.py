"""JSON and money without binary floats: what was `349.70` on the wire is the decimal 349.7 here and on the way back."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

_PLAIN = re.compile(r"[0-9]{1,18}(\.[0-9]{1,8})?")
_MOST_DIGITS = 18
_MOST_DECIMALS = 8
_LONG = 40


def loads(raw: bytes) -> Any:
    """Read JSON. Numbers with a point or an exponent become `Decimal`. Raises `ValueError` for anything unreadable."""
    try:
        value = json.loads(raw, parse_float=Decimal, parse_int=_whole, parse_constant=_no_constant)
        if b"\\u" in raw:
            # Half a surrogate pair is legal JSON, and text that no database can keep.
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ArithmeticError, RecursionError, ValueError):
        raise ValueError("not JSON") from None
    return value


def dumps(value: Any) -> bytes:
    """Write JSON, a `Decimal` as a number with exactly its digits."""
    return _write(value).encode()


def amount(value: Any) -> Decimal | None:
    """Money in major units from a JSON number or text; `None` for what is none (negative, too long, another type)."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    found = Decimal(value)
    if not found.is_finite() or found < 0 or found.adjusted() >= _MOST_DIGITS:
        return None
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_LONG:
        return None
    plain = Decimal(text(found))
    return plain if _decimals(plain) <= _MOST_DECIMALS else None


def text(value: Decimal) -> str:
    """The shortest plain digits of a decimal: no exponent, no zeros at the end."""
    digits = format(value, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits in {"-0", ""} else digits


def _write(value: Any) -> str:
    if isinstance(value, Decimal):
        return text(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(name))}:{_write(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_write(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _whole(digits: str) -> int | Decimal:
    # Python refuses to read a number of thousands of digits; as a Decimal it is read and refused by its range.
    return int(digits) if len(digits) < _LONG else Decimal(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0
