"""The languages of the pages: which one a caller reads, and the words in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import Any

from babel.core import Locale

from kassa.api.call import header
from kassa.api.options import Scope
from kassa.kit.languages import LANGUAGES, is_language, preferred

COOKIE = "kassa_language"


@dataclass(frozen=True, slots=True)
class Speech:
    """A language as a page speaks it."""

    code: str

    @property
    def locale(self) -> Locale:
        """How numbers, money and times are written."""
        return Locale.parse(self.code)

    def say(self, key: str, /, **values: Any) -> str:
        """The words under `key`, with `values` put in at `{name}`; with `count` among them the plural that fits is taken.

        In English where this language has none. Raises `KeyError` for a key that English has not either.
        """
        found = _words(self.code).get(key) or _words("en")[key]
        if isinstance(found, Mapping):
            plural = self.locale.plural_form(values["count"])
            found = found.get(plural, found["other"])
        return str(found).format_map(values) if values else str(found)


def speech_of(scope: Scope) -> Speech:
    """The caller's choice (a cookie), else what the browser prefers, else English."""
    return Speech(_chosen(scope) or preferred(header(scope, b"accept-language")))


def _chosen(scope: Scope) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(header(scope, b"cookie") or "")
    except CookieError:
        return None
    found = cookies[COOKIE].value if COOKIE in cookies else ""
    return found if is_language(found) else None


@cache
def _words(code: str) -> Mapping[str, Any]:
    """Flat: `cart.empty` → words, or a table of plurals."""
    text = (resources.files("kassa.pages") / "words" / f"{code}.toml").read_text("utf-8")
    return {f"{room}.{key}": words for room, entries in tomllib.loads(text).items() for key, words in entries.items()}


__all__ = ["COOKIE", "LANGUAGES", "Speech", "is_language", "speech_of"]
