"""Ids: UUIDv7 made here, so that no business id needs a sequence and rows arrive in index order."""

from __future__ import annotations

import re
import secrets
import uuid

import uuid_utils

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


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
    number, letters = secrets.randbelow(36**length), []
    for _ in range(length):
        number, rest = divmod(number, 36)
        letters.append(_BASE36[rest])
    return "".join(letters)


def in_json(text: str) -> int | str:
    """An id that is text inside, as JSON shows it: an integer where its text is one (payments contract, section 1)."""
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
