"""Ids: UUIDv7 made here, so that no business id needs a sequence and rows arrive in index order.

They are of the type that the driver reads from rows: a `uuid.UUID` in all but its making and its text, which take a fifth and
a seventh of the time. A JSON encoder knows neither, so an id is text before it gets there.
"""

from __future__ import annotations

import re
import secrets
import uuid

import uuid_utils
from asyncpg.pgproto.pgproto import UUID

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOW = (1 << 62) - 1
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def new_id() -> uuid.UUID:
    """A new UUIDv7."""
    return UUID(uuid_utils.uuid7().bytes)


def unguessable() -> uuid.UUID:
    """A new UUIDv7 whose 74 bits behind the time are all random: for what is opened by whoever knows its id.

    Ids of `new_id` ascend also within a millisecond, so who has one knows most of its neighbours.
    """
    chance = secrets.randbelow(1 << 74)
    time_and_version = uuid_utils.uuid7().int >> 76 << 76
    return UUID((time_and_version | chance >> 62 << 64 | 0b10 << 62 | chance & _LOW).to_bytes(16))


def parse(text: str) -> uuid.UUID | None:
    """The id that `text` writes in its one canonical form (lower case, 36 characters), else None."""
    try:
        found = UUID(text)
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
