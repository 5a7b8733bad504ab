"""Raw messages of strangers as they may be shown: no card numbers, no tokens, no whole addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_EMAIL = re.compile(r"([A-Za-z0-9._%+-])[A-Za-z0-9._%+-]*@([A-Za-z0-9.-]+\.[A-Za-z]{2,})")
_HIDDEN = re.compile(r"(?i)token|secret|password|cvv|cvc|signature|authorization|(^|_)key$|phone")
_UZBEK = ([8, 6, 0, 0], [9, 8, 6, 0])
_LONGEST = 2000
_DEEPEST = 8


def masked(value: Any, depth: int = 0) -> Any:
    """JSON material with what must not be shown replaced. Twice: the same."""
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {name: "•••" if _HIDDEN.search(str(name)) else masked(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [masked(inner, depth + 1) for inner in value[:100]]
    if isinstance(value, int) and not isinstance(value, bool) and is_card(str(value)):
        return masked_text(str(value))
    return value


def masked_text(text: str) -> str:
    """Text without card numbers and with addresses of e-mail shortened, at most 2000 characters of it."""
    return _EMAIL.sub(r"\1•••@\2", _CARD.sub(_hide_card, text[:_LONGEST]))


def is_card(text: str) -> bool:
    """Whether the digits in `text` could be a whole card number: 14 to 19, as schemes begin theirs, with the right last one.

    Uzbek cards need not have that; milliseconds since 1970 begin with 1, as no card does.
    """
    digits = [int(each) for each in text if each in "0123456789"]
    if not 14 <= len(digits) <= 19 or digits[0] in {0, 1, 7}:
        return False
    if len(digits) == 16 and digits[:4] in _UZBEK:
        return True
    doubled = [each if place % 2 == 0 else (each * 2 - 9 if each > 4 else each * 2) for place, each in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _hide_card(found: re.Match[str]) -> str:
    digits = re.sub(r"[^0-9]", "", found[0])
    return f"•••• {digits[-4:]}" if is_card(digits) else found[0]
