"""Looks at every commit: what may never be seen, not even for a moment, and which moves no table allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from kassa.checkout import model as checkouts
from kassa.orders import model as orders
from kassa.payments import model as payments

Values = dict[str, Any]
_MOVING = {"checkouts": "checkout", "orders": "order", "payments": "payment", "refunds": "refund"}
_TWICE = ("paid", "undoing")
"""A transaction that does both halves of such a pair of moves writes only where it ends."""


class Watch:
    """Is shown each row that a commit makes another, and remembers what was wrong."""

    def __init__(self, count: Counter[str]) -> None:
        self.wrong: list[str] = []
        self._count = count

    def __call__(self, table: str, before: Values | None, after: Values | None) -> None:
        if before is not None and after is not None and table in _MOVING and before["status"] != after["status"]:
            self._count[f"{_MOVING[table]} {before['status']} → {after['status']}"] += 1
        look = _LOOKS.get(table)
        if look is not None and (found := look(before, after)):
            self.wrong.append(f"{table}: {found}")


def _checkout(before: Values | None, after: Values | None) -> str | None:
    if before is None or after is None:
        return None if after is not None else "deleted"
    a, b = before["status"], after["status"]
    through = any(checkouts.MOVES.allows(a, between) and checkouts.MOVES.allows(between, b) for between in _TWICE)
    if a != b and not through and not checkouts.MOVES.allows(a, b):
        return f"I6: moved from {a} to {b}"
    return "I6: lease_version went back" if after["lease_version"] < before["lease_version"] else None


def _payment(before: Values | None, after: Values | None) -> str | None:
    if after is None:
        return "deleted"
    if (
        after["refunded_minor"] + after["refunding_minor"] > after["captured_minor"]
        or after["captured_minor"] > after["amount_minor"]
    ):
        return "I2: more given back than captured, or captured than asked for"
    a, b = (before or {}).get("status", _first(after)), after["status"]
    known = a == b or any(at == a and to == b for (at, _), to in payments.MOVES.table.items())
    # A local provider gives back in the transaction that begins the refund.
    return None if known or (a, b) == ("paid", "refunded") else f"I6: moved from {a} to {b}"


def _first(after: Values) -> str:
    """The status of a row that is new."""
    return str(after["status"])


def _order(before: Values | None, after: Values | None) -> str | None:
    if before is None or after is None:
        return None if after is not None else "deleted"
    if after["version"] < before["version"]:
        return "I6: version went back"
    a, b = before["status"], after["status"]
    return None if a == b or orders.MOVES.allows(a, b) else f"I6: moved from {a} to {b}"


def _never_changed(before: Values | None, _after: Values | None) -> str | None:
    return None if before is None else "I1: changed or deleted"


def _key(before: Values | None, after: Values | None) -> str | None:
    if before is None or before["state"] != "done":
        return None
    if after is None or (before["status"], before["answer"]) != (after["status"], after["answer"]):
        return "I8: a kept answer was changed"
    return None


def _level(_before: Values | None, after: Values | None) -> str | None:
    return None if after is not None and after["available"] >= 0 else f"I4: {after}"


def _reservation(before: Values | None, after: Values | None) -> str | None:
    if before is None or after is None:
        return None
    return None if before["state"] in {"held", after["state"]} else f"I4: {before['state']} became {after['state']}"


_LOOKS: dict[str, Callable[[Values | None, Values | None], str | None]] = {
    "checkouts": _checkout,
    "payments": _payment,
    "orders": _order,
    "ledger_entries": _never_changed,
    "ledger_postings": _never_changed,
    "order_timeline": _never_changed,
    "stock_journal": _never_changed,
    "idempotency_keys": _key,
    "stock_levels": _level,
    "reservations": _reservation,
}
