"""The languages in which people are spoken to, and which of them somebody reads best."""

from __future__ import annotations

import re
from typing import Final

LANGUAGES: Final = {"en": "English", "ru": "Русский", "uz": "Oʻzbekcha"}  # noqa: RUF001 - the letter of the Uzbek alphabet
"""Each by its own name."""
ENGLISH: Final = "en"
"""What is spoken where nothing is known."""
_NAMED = re.compile(r"\s*([A-Za-z]{2,3})(?:[-_][A-Za-z0-9_-]*)?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
_ENDLESS = 200
"""No header of languages is longer."""


def is_language(code: str) -> bool:
    """Whether it is one of ours."""
    return code in LANGUAGES


def usable_language(code: str | None) -> str:
    """`code` if it is one of ours, else English."""
    return code if code is not None and is_language(code) else ENGLISH


def preferred(accepted: str | None) -> str:
    """What somebody whose browser sends this `Accept-Language` likes best of ours, the first of equals; else English."""
    found, most = ENGLISH, 0.0
    for part in (accepted or "")[:_ENDLESS].split(","):
        named = _NAMED.fullmatch(part)
        if named is not None and is_language(code := named[1].lower()) and (weight := float(named[2] or 1)) > most:
            found, most = code, weight
    return found
