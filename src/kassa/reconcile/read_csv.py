"""Read a statement from a CSV file, row by row: the file may be larger than the memory.

The first line names the columns, in any order and letter case; columns that are not known are ignored. Needed are `kind`
(`charge` or `refund`), `amount` (major units, digits and a point), `currency` (ISO 4217), `occurred_at` (ISO 8601; UTC where no
zone is said) and one or more of `payment_id` (ours), `provider_key` (the key that we sent) and `provider_ref` (the provider's id
of the charge). `refund_id` may be ours or the provider's. UTF-8 with or without a byte order mark; separated by `,` or by `;`.
"""

from __future__ import annotations

import csv
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO

from kassa.kit.money import InvalidMoney, fixed_text, from_major
from kassa.reconcile.model import BadStatement, Row

_NEEDED = ("kind", "amount", "currency", "occurred_at")
_NAMES = ("payment_id", "provider_key", "provider_ref")
_KNOWN = frozenset({*_NEEDED, *_NAMES, "refund_id"})
_AMOUNT = re.compile(r"[0-9]{1,18}(\.[0-9]{1,8})?")
_REFERENCE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?")
_LONGEST = 64 * 1024
"""Bytes of one line."""


def read_csv(path: Path) -> Iterator[Row]:
    """The rows of a statement, one by one. Raises `BadStatement` at the first that is not right, `OSError` for the file."""
    with path.open("rb") as file:
        lines = _lines(file)
        first = next(lines, "")
        reader = csv.reader(_and(first, lines), delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
        try:
            columns = _columns(next(reader, []))
            for cells in reader:
                if cells:
                    yield _row(columns, cells, reader.line_num)
        except csv.Error:
            raise BadStatement(reader.line_num, "cannot be read as CSV") from None


def _lines(file: IO[bytes]) -> Iterator[str]:
    number = 0
    while raw := file.readline(_LONGEST + 1):
        number += 1
        if len(raw) > _LONGEST:
            raise BadStatement(number, f"is longer than {_LONGEST // 1024} KiB")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadStatement(number, "is not UTF-8") from None


def _and(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _columns(cells: Sequence[str]) -> tuple[int, dict[str, int]]:
    """How many columns there are, and where those stand that are read."""
    names = [cell.strip().lower() for cell in cells]
    places = {name: place for place, name in enumerate(names) if name in _KNOWN}
    if len(places) != sum(name in _KNOWN for name in names):
        raise BadStatement(1, "names a column twice")
    missing = [name for name in _NEEDED if name not in places]
    if missing:
        raise BadStatement(1, f"does not name the column {missing[0]}")
    if not any(name in places for name in _NAMES):
        raise BadStatement(1, "names none of the columns payment_id, provider_key and provider_ref")
    return len(names), places


def _row(columns: tuple[int, Mapping[str, int]], cells: Sequence[str], line: int) -> Row:
    width, places = columns
    if len(cells) != width:
        raise BadStatement(line, f"has {len(cells)} columns, and the first line has {width}")
    said = {name: cells[place].strip() for name, place in places.items()}
    kind = said["kind"].lower()
    if kind not in {"charge", "refund"}:
        raise BadStatement(line, "has a kind that is neither charge nor refund")
    amount, currency = _money(said, line)
    payment_id, in_place = _payment(said)
    row = Row(
        line=line,
        kind=kind,
        amount=amount,
        currency=currency,
        occurred_at=_time(said["occurred_at"], line),
        payment_id=payment_id,
        provider_key=_reference(said, "provider_key", line),
        provider_ref=_reference(said, in_place, line),
        refund_id=_id(_reference(said, "refund_id", line)) if kind == "refund" else None,
    )
    if row.payment_id is None and row.provider_key is None and row.provider_ref is None:
        raise BadStatement(line, "says of no payment: payment_id, provider_key and provider_ref are empty")
    return row


def _money(said: Mapping[str, str], line: int) -> tuple[Decimal, str]:
    currency = said["currency"].upper()
    if not _AMOUNT.fullmatch(said["amount"]):
        raise BadStatement(line, "has an amount that is not digits and a point, such as 349.70")
    try:
        money = from_major(Decimal(said["amount"]), currency)
    except InvalidMoney as error:
        problem = "a currency that is not known" if "not a currency" in error.message else "an amount that its currency cannot have"
        raise BadStatement(line, f"has {problem}") from None
    if not money.minor:
        raise BadStatement(line, "has an amount of zero")
    return Decimal(fixed_text(money.minor, currency)), currency


def _payment(said: Mapping[str, str]) -> tuple[uuid.UUID | None, str]:
    """Our id, and the column with the provider's. What is no id of ours, in the column for it, is somebody else's reference."""
    try:
        return uuid.UUID(said.get("payment_id", "")), "provider_ref"
    except ValueError:
        return None, "provider_ref" if said.get("provider_ref") else "payment_id"


def _reference(said: Mapping[str, str], name: str, line: int) -> str | None:
    text = said.get(name, "")
    if text and not _REFERENCE.fullmatch(text):
        raise BadStatement(line, f"has a {name} that is not 1 to 200 visible ASCII characters")
    return text or None


def _id(text: str | None) -> str | None:
    """An id of ours in its one form, whatever its letter case; any other text as it is."""
    try:
        return None if text is None else str(uuid.UUID(text))
    except ValueError:
        return text


def _time(text: str, line: int) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadStatement(line, "has an occurred_at that is not a time such as 2026-01-31T12:00:00Z") from None
