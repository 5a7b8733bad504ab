"""What the stand-in of the Subscribe API keeps in the sandbox's book: receipts, and cards without their numbers.

A receipt that is paid is one of Payme's attempts, too, under the same id (`payme/book.py`); an attempt that a buyer paid on the
page becomes a receipt when it is asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.model import Tx
from kassa.sandbox.payme.book import Attempt
from kassa.sandbox.payme.wire import new_payme_id, now_ms

NEW, CREATING, DEBITED, PAID, QUEUED, CLOSING, CANCELLED = 0, 1, 2, 4, 21, 30, 50
"""States of a receipt (12.4); `CLOSING`: the merchant did not answer Perform, and is told again when the receipt is asked about."""
_RECEIPT = "receipt_id, amount, account, state, made_ms, paid_ms, cancelled_ms, card"


class No(Exception):
    """A call is refused: an error member with this code."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt; `account` as it was sent, `card` the masked number that paid."""

    receipt_id: str
    amount: int
    account: Mapping[str, Any]
    state: int
    made_ms: int
    paid_ms: int
    cancelled_ms: int
    card: str | None

    def shown(self) -> dict[str, Any]:
        """As it stands in a result (12.3)."""
        members = [
            {"name": name, "title": name, "value": value, "main": not place}
            for place, (name, value) in enumerate(self.account.items())
        ]
        return {
            "_id": self.receipt_id,
            "create_time": self.made_ms,
            "pay_time": self.paid_ms,
            "cancel_time": self.cancelled_ms,
            "state": self.state,
            "type": 1,
            "amount": self.amount,
            "currency": 860,
            "commission": 0,
            "card": {"number": self.card} if self.card else None,
            "account": members,
        }

    @property
    def attempt(self) -> Attempt:
        """The transaction that the merchant hears of."""
        values = [value for value in self.account.values() if isinstance(value, str)]
        return Attempt(self.receipt_id, values[0] if values else "", self.amount, self.account, self.made_ms, "created")


def make_receipt(tx: Tx, amount: int, account: Mapping[str, Any]) -> Receipt:
    """A new receipt; twice, two."""
    receipt_id = new_payme_id()
    tx.execute(
        "INSERT INTO payme_receipts (receipt_id, amount, account, state, made_ms) VALUES (?,?,?,?,?)",
        (receipt_id, amount, exact.dumps(dict(account)).decode(), NEW, now_ms()),
    )
    return find_receipt(tx, receipt_id)


def find_receipt(tx: Tx, receipt_id: str) -> Receipt:
    """A receipt, also one that a buyer paid on the page. Raises `No`."""
    tx.execute(
        "INSERT OR IGNORE INTO payme_receipts (receipt_id, amount, account, state, made_ms, paid_ms)"
        " SELECT payme_id, amount, account, 4, time_ms, time_ms FROM payme_attempts WHERE payme_id = ? AND state = 'performed'",
        (receipt_id,),
    )
    row = tx.execute(f"SELECT {_RECEIPT} FROM payme_receipts WHERE receipt_id = ?", (receipt_id,)).fetchone()
    if row is None:
        raise No(-31602, "Receipt not found", "id")
    return Receipt(row[0], row[1], exact.loads(row[2].encode()), *row[3:])


def receipts_between(tx: Tx, from_ms: int, to_ms: int, offset: int, count: int) -> list[Receipt]:
    """Receipts made within a time, newest first."""
    rows = tx.execute(
        "SELECT receipt_id FROM payme_receipts WHERE made_ms BETWEEN ? AND ? ORDER BY place DESC LIMIT ? OFFSET ?",
        (from_ms, to_ms, count, offset),
    ).fetchall()
    return [find_receipt(tx, row[0]) for row in rows]


def move_receipt(tx: Tx, receipt_id: str, before: int, after: int, card: str | None = None) -> bool:
    """From one state to another; False when it had another state by now."""
    found = tx.execute(
        "UPDATE payme_receipts SET state = ?3, card = coalesce(?4, card),"
        " paid_ms = CASE WHEN ?3 = 4 AND paid_ms = 0 THEN ?5 ELSE paid_ms END,"
        " cancelled_ms = CASE WHEN ?3 = 50 THEN ?5 ELSE cancelled_ms END WHERE receipt_id = ?1 AND state = ?2",
        (receipt_id, before, after, card, now_ms()),
    )
    return found.rowcount == 1


def note_attempt(tx: Tx, receipt: Receipt) -> None:
    """The merchant holds the order for this receipt: the page knows it as an attempt now."""
    attempt = receipt.attempt
    tx.execute(
        "INSERT OR IGNORE INTO payme_attempts (payme_id, order_id, amount, account, time_ms, state) VALUES (?,?,?,?,?,'created')",
        (attempt.payme_id, attempt.order_id, attempt.amount, exact.dumps(dict(attempt.account)).decode(), attempt.time_ms),
    )


def make_card(tx: Tx, masked: str) -> str:
    """A token for a card of which only the masked number is kept."""
    token = secrets.token_urlsafe(48)
    tx.execute("INSERT INTO payme_cards (token, card) VALUES (?, ?)", (token, masked))
    return token


def find_card(tx: Tx, token: object) -> tuple[str, bool]:
    """The masked number behind a token, and whether it was verified. Raises `No`."""
    row = tx.execute(
        "SELECT card, verified FROM payme_cards WHERE token = ?", (token if isinstance(token, str) else "",)
    ).fetchone()
    if row is None:
        raise No(-31400, "Card not found", "token")
    return row[0], bool(row[1])


def verify_card(tx: Tx, token: object) -> str:
    """The code was right: the card can pay from now on. Its masked number."""
    masked, _ = find_card(tx, token)
    tx.execute("UPDATE payme_cards SET verified = 1 WHERE token = ?", (token,))
    return masked


def drop_card(tx: Tx, token: object) -> None:
    """Forget a card. Raises `No`."""
    find_card(tx, token)
    tx.execute("DELETE FROM payme_cards WHERE token = ?", (token,))


def told_receipts(tx: Tx) -> list[dict[str, Any]]:
    """All receipts, for the tester's desk."""
    rows = tx.execute(f"SELECT {_RECEIPT} FROM payme_receipts ORDER BY place").fetchall()
    return [Receipt(row[0], row[1], exact.loads(row[2].encode()), *row[3:]).shown() for row in rows]
