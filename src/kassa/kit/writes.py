"""Writes that travel together: statements of several rooms, composed into one.

A store declares a `Write` once, as the parts of a `WITH` with parameters of their own; a verb leaves it with its transaction
(`tx.later`). The transaction numbers the parameters anew, puts the parts together in the order in which they were left, which is
the order of locks, and sends one statement: before the next question, or as the last thing before the commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

UNMET = "KA001"
"""The state of the error that `kassa_unmet` raises (migration 0014)."""


class Unmet(Exception):
    """A statement was ended by `kassa_unmet`, which said `what`: nothing of it has happened."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


_NUMBER = re.compile(r"\$(\d+)")
_WRITTEN = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+([a-z_]+)")
_READ = re.compile(r"\b(?:FROM|JOIN|USING)\s+([a-z_]+)")


class Write:
    """One room's write.

    `parts` are the parts of a `WITH`; the one called `name` gives a row for each row that was touched. `expects` says how many
    those must be: a number or a parameter. With any other number the whole statement fails and `unmet` is raised. `patience_s` is
    how long the write may wait for a lock; `unmet` is raised then too.

    `written` and `seen` are the tables it touches. Parts of one statement do not see what its other parts write, so a write that
    sees a table is never sent in one statement with another that writes it.
    """

    __slots__ = ("expects", "name", "parts", "patience_s", "seen", "unmet", "width", "written")

    def __init__(
        self,
        name: str,
        parts: str,
        *,
        expects: str | None = None,
        unmet: Callable[[], Exception] | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.name = name
        self.parts = parts
        self.expects = expects
        self.unmet = unmet
        self.patience_s = patience_s
        self.width = max(map(int, _NUMBER.findall(f"{parts} {expects or ''}")), default=0)
        self.written = frozenset(_WRITTEN.findall(parts))
        self.seen = self.written | frozenset(_READ.findall(parts))

    def selecting(self, columns: str) -> str:
        """The same as a statement of its own that answers with `columns` of what was touched."""
        return f"WITH {self.parts} SELECT {columns} FROM {self.name}"


@lru_cache(maxsize=256)
def compose(writes: tuple[Write, ...]) -> str:
    """One statement. The same writes give the same text, so that a connection prepares it once.

    The columns of the last SELECT are worked out from left to right, and each draws its write to the end before the next begins.
    """
    parts, columns, shift = [], [], 0
    for write in writes:
        parts.append(_shifted(write.parts, shift))
        drawn = f"(SELECT count(*) FROM {write.name})"
        if write.expects is not None:
            drawn = f"CASE WHEN {drawn} = {_shifted(write.expects, shift)} THEN true ELSE kassa_unmet('{write.name}') END"
        if write.patience_s is not None:
            drawn = f"{_lock_timeout(write.patience_s)}, {drawn}, {_lock_timeout(0)}"
        columns.append(drawn)
        shift += write.width
    return f"WITH {', '.join(parts)} SELECT {', '.join(columns)}"


def _shifted(sql: str, by: int) -> str:
    return _NUMBER.sub(lambda found: f"${int(found[1]) + by}", sql) if by else sql


def _lock_timeout(seconds: float) -> str:
    """Until the transaction ends: locks that come afterwards in the same statement are waited for by the setting of then."""
    return f"set_config('lock_timeout', '{round(seconds * 1000)}', true)"
