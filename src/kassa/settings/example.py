"""`.env.example`, printed from the settings class: every name under its heading, with what it is for and its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, cast

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from kassa.settings.files import SUFFIX
from kassa.settings.read import Settings

_WIDTH = 140
_RULE = 79
_HEAD = (
    "Every setting of Kassa. `cp .env.example .env`, then take the `#` away where you want another value than the default shown.",
    "The environment wins over this file; an empty value counts as not set. `make run` needs none of them.",
    f"What is secret may stand in a file instead: JWT_SECRET{SUFFIX}=/run/secrets/jwt_secret, and so for each secret setting.",
    "Printed by scripts/env_example.py from src/kassa/settings/read.py.",
)


def printed() -> str:
    """The whole file."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (f"# {line}" for line in _HEAD)
    shown: set[str] = set()
    for field in Settings.model_fields.values():
        said = cast("dict[str, Any]", field.json_schema_extra)
        if said["section"]:
            yield from ("", f"# ── {said['section']} ──".ljust(_RULE, "─"))
        yield from textwrap.wrap(
            field.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        value = said["example"] or _default(field)
        for name in map(str, cast("AliasChoices", field.validation_alias).choices):
            if name not in shown:
                shown.add(name)
                yield f"#{name}={value}"
            value = ""  # the other names of one setting are only named


def _default(field: FieldInfo) -> str:
    match field.default:
        case None | b"":
            return ""
        case bool() as value:
            return str(value).lower()
        case tuple() as values:
            return ",".join(map(str, values))
        case value:
            return str(value)
