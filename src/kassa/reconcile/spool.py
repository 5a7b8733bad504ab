"""A statement on disk while it is compared: a temporary SQLite file, so that its size does not matter.

The very same row is kept once, with how often it came. Rows are found by payment once their payment is known.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from kassa.reconcile.model import Row

_AT_ONCE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA = """
CREATE TABLE rows (name TEXT NOT NULL, kind TEXT NOT NULL, refund_id TEXT NOT NULL, amount TEXT NOT NULL, currency TEXT NOT NULL,
  at_us INTEGER NOT NULL, provider_key TEXT NOT NULL, provider_ref TEXT NOT NULL, line INTEGER NOT NULL, times INTEGER NOT NULL,
  UNIQUE (name, kind, refund_id, amount, currency, at_us, provider_key, provider_ref));
CREATE TABLE names (name TEXT PRIMARY KEY, payment TEXT) WITHOUT ROWID;
CREATE INDEX names_of_payment ON names (payment, name);
"""
_COLUMNS = "r.name, r.kind, r.refund_id, r.amount, r.currency, r.at_us, r.provider_key, r.provider_ref, r.line, r.times"


class Spool:
    """The rows of one statement. Used as a context manager; the file is gone afterwards."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kassa-reconcile-"))
        self._file = sqlite3.connect(self._folder / "rows.db")
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def fill(self, rows: Iterable[Row]) -> Iterator[int]:
        """Take all rows in; yields how many there are so far, now and then. What `rows` raises goes through."""
        source, count = iter(rows), 0
        while batch := list(islice(source, _AT_ONCE)):
            with self._file:
                self._file.executemany(
                    "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?,?,1) ON CONFLICT DO UPDATE SET times = times + 1", map(_values, batch)
                )
                self._file.executemany("INSERT OR IGNORE INTO names (name) VALUES (?)", [(row.name,) for row in batch])
            count += len(batch)
            yield count

    def times(self) -> tuple[datetime, datetime] | None:
        """When the first and the last row happened; None without any."""
        first, last = self._file.execute("SELECT min(at_us), max(at_us) FROM rows").fetchone()
        return None if first is None else (_moment(first), _moment(last))

    def names(self, after: str, limit: int = _AT_ONCE) -> list[str]:
        """Names whose payment is not known (yet), in their order, from a place on."""
        found = self._file.execute(
            "SELECT name FROM names WHERE payment IS NULL AND name > ? ORDER BY name LIMIT ?", (after, limit)
        )
        return [name for (name,) in found]

    def unknown(self) -> int:
        """How many names have no payment, other than by an id of ours that nobody has."""
        count: int = self._file.execute("SELECT count(*) FROM names WHERE payment IS NULL AND name NOT LIKE 'id:%'").fetchone()[0]
        return count

    def resolve(self, known: Sequence[tuple[str, uuid.UUID]]) -> int:
        """Note whose payment a name is; names that no row has are left out. Returns how many were new."""
        before = self._file.total_changes
        with self._file:
            self._file.executemany(
                "UPDATE names SET payment = ? WHERE name = ? AND payment IS NULL", [(str(payment), name) for name, payment in known]
            )
        return self._file.total_changes - before

    def payments(self, after: str, limit: int) -> list[uuid.UUID]:
        """Payments that rows are about, in the order of their ids, from a place on."""
        found = self._file.execute(
            "SELECT DISTINCT payment FROM names WHERE payment > ? ORDER BY payment LIMIT ?", (after, limit)
        ).fetchall()
        return [uuid.UUID(payment) for (payment,) in found]

    def seen(self, payments: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Those of some payments that rows are about."""
        return {
            payment
            for payment in payments
            if self._file.execute("SELECT 1 FROM names WHERE payment = ? LIMIT 1", (str(payment),)).fetchone()
        }

    def rows_of(self, payment: uuid.UUID) -> list[Row]:
        """The rows about a payment, in the order of the statement: the first thousand different ones."""
        return self._rows("JOIN names n USING (name) WHERE n.payment = ? ORDER BY r.line LIMIT 1000", str(payment))

    def rows_named(self, name: str) -> list[Row]:
        """The rows under a name, as many."""
        return self._rows("WHERE r.name = ? ORDER BY r.line LIMIT 1000", name)

    def _rows(self, where: str, value: str) -> list[Row]:
        return [_row(*found) for found in self._file.execute(f"SELECT {_COLUMNS} FROM rows r {where}", (value,))]


def _values(row: Row) -> tuple[object, ...]:
    amount = "" if row.amount is None else format(row.amount, "f")
    at_us = (row.occurred_at - _EPOCH) // timedelta(microseconds=1)
    return (
        row.name, row.kind, row.refund_id or "", amount, row.currency or "", at_us, row.provider_key or "", row.provider_ref or "",
        row.line,
    )  # fmt: skip


def _row(
    name: str, kind: str, refund_id: str, amount: str, currency: str, at_us: int, key: str, ref: str, line: int, times: int
) -> Row:
    return Row(
        line=line,
        kind=kind,
        amount=Decimal(amount) if amount else None,
        currency=currency or None,
        occurred_at=_moment(at_us),
        payment_id=uuid.UUID(name.removeprefix("id:")) if name.startswith("id:") else None,
        provider_key=key or None,
        provider_ref=ref or None,
        refund_id=refund_id or None,
        times=times,
    )


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
