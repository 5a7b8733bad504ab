"""Invariant 9: the provider's own book against ours, key by key, once nothing moves any more.

Compared are the payments of provider `card`. A payment that was touched after the book was read, that nobody knows the end of
yet, or whose refund is still under way is left out: it is not at rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from kassa.kit.database import Reader, Row
from kassa.kit.errors import Unknown
from kassa.kit.jsontext import BadJson, parse
from kassa.kit.money import InvalidMoney, from_major, major_text
from kassa.kit.neighbour import new_session
from kassa.verify.model import SHOWN, Breach, and_more

INVARIANT = 9
_PROVIDER = "card"
_SERVICE = "payment"
_AT_ONCE = 1000


class BookUnreadable(Unknown):
    """The provider's book could not be read."""

    code = "book_unreadable"


@dataclass(frozen=True, slots=True)
class Booked:
    """What the provider has under one key: how many charges, and what is left of them in major units."""

    key: str
    charges: int
    net: Decimal


Book = Callable[[], Awaitable[Sequence[Booked]]]
"""How a provider's book is read: an HTTP summary, or an imported statement."""


def summary_of(url: str) -> Book:
    """The book behind a sandbox's summary (`…/sandbox/control/summary`). Reading it raises `BookUnreadable`."""

    async def read() -> list[Booked]:
        try:
            async with new_session() as session, session.get(url, allow_redirects=False) as answer:
                body = parse(await answer.read())
        except (OSError, TimeoutError, BadJson) as error:
            raise BookUnreadable from error
        return [_booked(row) for row in body.get("keys", []) if isinstance(row, dict) and row.get("service") == _SERVICE]

    return read


async def compare(reader: Reader, booked: Sequence[Booked], quiet_since: datetime) -> list[Breach]:
    """The differences between the book and our payments that have been at rest since `quiet_since`."""
    theirs = {row.key: row for row in booked}
    breaches: list[Breach] = []
    after = ("", uuid.UUID(int=0))
    while rows := await _payments_after(reader, *after):
        for row in rows:
            difference = _difference(row, theirs.pop(row["provider_key"], None), quiet_since)
            if difference is not None:
                breaches.append(Breach(INVARIANT, row["merchant_id"], f"payment:{row['payment_id']}", difference))
        after = (rows[-1]["merchant_id"], rows[-1]["payment_id"])
    breaches += [
        Breach(INVARIANT, "-", f"key:{row.key[:80]}", f"The provider has {row.net} under a key that no payment of ours has")
        for row in theirs.values()
        if row.net
    ]
    return breaches[:SHOWN] + and_more(INVARIANT, "The provider's book differs from ours", len(breaches))


def _difference(ours: Row, theirs: Booked | None, quiet_since: datetime) -> str | None:
    if theirs is not None and theirs.charges > 1:
        return f"The provider charged {theirs.charges} times under one key"
    moving = ours["updated_at"] > quiet_since or ours["refunding_minor"] or ours["next_ask_at"] is not None
    if moving or ours["status"] in {"opened", "unknown", "parked"}:
        return None
    we_say = ours["captured_minor"] - ours["refunded_minor"]
    try:
        they_say = from_major(theirs.net, ours["currency"]).minor if theirs is not None else 0
    except InvalidMoney:
        they_say = -1
    if we_say == they_say:
        return None
    shown = major_text(we_say, ours["currency"])
    return f"The payment is {ours['status']} with {shown} {ours['currency']}, the provider has {theirs.net if theirs else 0}"


async def _payments_after(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Row]:
    return await reader.rows(
        """
        SELECT merchant_id, payment_id, provider_key, status, currency, captured_minor, refunded_minor, refunding_minor,
               next_ask_at, updated_at
          FROM payments WHERE provider = $1 AND (merchant_id, payment_id) > ($2, $3)
         ORDER BY merchant_id, payment_id LIMIT $4
        """,
        _PROVIDER, merchant_id, payment_id, _AT_ONCE,
    )  # fmt: skip


def _booked(row: Mapping[str, Any]) -> Booked:
    try:
        return Booked(str(row.get("key")), int(row["charges"]), Decimal(row["net"]))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise BookUnreadable from error
