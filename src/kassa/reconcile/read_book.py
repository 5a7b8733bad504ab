"""Read the sandbox's own book as a statement: its SQLite file, opened for reading only.

The sandbox plays the payment service (`card`) and the provider of links, and writes down what it charged and gave back before it
answers. A charge that it books for a later moment counts from that moment on. A link that its buyer declined is a row, too.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kassa.kit.errors import Unknown
from kassa.kit.money import InvalidMoney, fixed_text, from_major
from kassa.reconcile.model import Row

SANDBOX = frozenset({"card", "link", "external"})
"""The ways of taking money whose provider the sandbox plays."""
_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS = """
SELECT b.id, b.kind, b.service, coalesce(c.key, b.key) AS key, b.key AS own_key, b.ref, b.of_ref, b.amount, b.facts, b.booked_us
  FROM bookings b LEFT JOIN bookings c ON b.kind = 'refund' AND c.kind = 'charge' AND c.service = b.service AND c.ref = b.of_ref
 WHERE b.kind IN ('charge', 'refund') AND b.service IN ('payment', 'link') AND b.booked_us <= ?
 ORDER BY b.id
"""
_DECLINED = "SELECT payment_id, decided_us FROM links WHERE state = 'failed' ORDER BY made_us"
_BEGAN = """
SELECT min(at) FROM (SELECT min(at_us) AS at FROM calls UNION ALL SELECT min(booked_us) FROM bookings
                     UNION ALL SELECT min(made_us) FROM links)
"""


class BookUnreadable(Unknown):
    """This is no sandbox's book of this version, or it cannot be read."""

    code = "book_unreadable"


def began(path: Path) -> datetime | None:
    """When the book was begun, or emptied last; None for an empty one. Raises `BookUnreadable`."""
    with closing(_open(path)) as book:
        found = _ask(book, _BEGAN).fetchone()[0]
    return None if found is None else _moment(found)


def read_book(path: Path) -> Iterator[Row]:
    """Everything that the sandbox charged and gave back, and what buyers declined; `line` is the number of a booking.

    Raises `BookUnreadable`.
    """
    with closing(_open(path)) as book:
        for row in _ask(book, _ROWS, (time.time_ns() // 1000,)):
            yield _booking(row)
        for payment_id, decided_us in _ask(book, _DECLINED):
            yield Row(0, "declined", None, None, _moment(decided_us or 0), _uuid(payment_id), None, str(payment_id))


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BookUnreadable("There is no book at this place.")
    try:
        book = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=30)
        version = book.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise BookUnreadable from error
    if version != _VERSION:
        book.close()
        raise BookUnreadable
    book.row_factory = sqlite3.Row
    return book


def _ask(book: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
    try:
        return book.execute(sql, values)
    except sqlite3.Error as error:
        raise BookUnreadable from error


def _booking(row: sqlite3.Row) -> Row:
    facts = json.loads(row["facts"])
    amount, currency = _money(row["amount"], facts)
    is_refund, of_link = row["kind"] == "refund", row["service"] == "link"
    charge = row["of_ref"] if is_refund else row["ref"]
    return Row(
        line=row["id"],
        kind=row["kind"],
        amount=amount,
        currency=currency,
        occurred_at=_moment(row["booked_us"]),
        payment_id=_uuid(charge) if of_link else None,
        provider_key=None if of_link or (is_refund and row["key"] == row["own_key"]) else row["key"],
        provider_ref=charge,
        refund_id=(row["ref"] if of_link else row["own_key"] or row["ref"]) if is_refund else None,
    )


def _money(text: str | None, facts: dict[str, Any]) -> tuple[Decimal | None, str | None]:
    """The sum as it would be written in its currency, where that was said: the payment service is told none."""
    said = facts.get("currency")
    currency = said if isinstance(said, str) else None
    if text is None or currency is None:
        return None if text is None else Decimal(text), currency
    try:
        return Decimal(fixed_text(from_major(Decimal(text), currency).minor, currency)), currency
    except InvalidMoney:
        return Decimal(text), currency


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
