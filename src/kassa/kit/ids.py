"""Ids: UUIDv7 made here, so that no business id needs a sequence and rows arrive in index order."""

from __future__ import annotations

import secrets
import uuid

import uuid_utils

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def new_id() -> uuid.UUID:
    """A new UUIDv7."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def parse(text: str) -> uuid.UUID | None:
    """The id that `text` writes in its one canonical form (lower case, 36 characters), else None."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def random_word(length: int) -> str:
    """`length` characters of 0-9 A-Z that nobody can guess."""
    return "".join(secrets.choice(_BASE36) for _ in range(length))
