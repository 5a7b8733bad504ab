"""What Payme's stand-in keeps in the sandbox's book: its transactions, and every call that it made with the answer.

An attempt is written before its first call leaves, so that a click after a crash goes on with the same id and time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.book import moment, now_us
from kassa.sandbox.model import Tx
from kassa.sandbox.payme.link import Bill
from kassa.sandbox.payme.wire import Heard, new_payme_id, now_ms

OPEN = ("begun", "created")
_MOST_SHOWN = 20
_FROM = {
    "created": ("begun", "refused"),
    "performed": ("begun", "refused", "created"),
    "cancelled": ("begun", "refused", "created"),
    "returned": ("begun", "refused", "created", "performed"),
    "refused": ("begun",),
}
"""The states from which an attempt comes to another one."""
_ATTEMPT = "payme_id, order_id, amount, account, time_ms, state"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction of Payme's. `state`: begun, created, performed, cancelled, returned, or refused (it never came to be)."""

    payme_id: str
    order_id: str
    amount: int
    account: Mapping[str, Any]
    time_ms: int
    state: str


@dataclass(frozen=True, slots=True)
class Said:
    """One call, and what was answered: JSON text, or why there was none."""

    method: str
    answer: str
    note: str
    took_ms: int


def begin(tx: Tx, bill: Bill) -> tuple[Attempt, bool]:
    """The attempt that a click goes on with, and whether it is new. One that is paid or under way is taken as it is."""
    last = last_attempt(tx, bill.order_id)
    if last is not None and last.state in {*OPEN, "performed", "returned"}:
        return last, False
    made = Attempt(new_payme_id(), bill.order_id, bill.amount, bill.account, now_ms(), "begun")
    tx.execute(
        f"INSERT INTO payme_attempts ({_ATTEMPT}) VALUES (?,?,?,?,?,?)",
        (made.payme_id, made.order_id, made.amount, exact.dumps(dict(made.account)).decode(), made.time_ms, made.state),
    )
    return made, True


def last_attempt(tx: Tx, order_id: str) -> Attempt | None:
    """The newest attempt at an order."""
    row = tx.execute(
        f"SELECT {_ATTEMPT} FROM payme_attempts WHERE order_id = ? ORDER BY place DESC LIMIT 1", (order_id,)
    ).fetchone()
    return None if row is None else Attempt(row[0], row[1], row[2], exact.loads(row[3].encode()), row[4], row[5])


def move(tx: Tx, payme_id: str, state: str) -> None:
    """What Payme now believes of an attempt. Of two clicks at once the slower one does not take back what the other has reached."""
    tx.execute(
        "UPDATE payme_attempts SET state = ?1 WHERE payme_id = ?2 AND state IN (SELECT value FROM json_each(?3))",
        (state, payme_id, exact.dumps(_FROM[state]).decode()),
    )


def note_call(tx: Tx, attempt: Attempt, method: str, heard: Heard, note: str) -> None:
    """One call and its answer."""
    answer = exact.dumps(heard.answer).decode() if heard.answer is not None else heard.fault or f"HTTP {heard.status}"
    tx.execute(
        "INSERT INTO payme_calls (order_id, payme_id, method, answer, note, took_ms, sent_us) VALUES (?,?,?,?,?,?,?)",
        (attempt.order_id, attempt.payme_id, method, answer, note, round(heard.took_ms), now_us()),
    )


def calls_of(tx: Tx, order_id: str) -> list[Said]:
    """The latest calls about an order, oldest first."""
    rows = tx.execute(
        "SELECT method, answer, note, took_ms FROM payme_calls WHERE order_id = ? ORDER BY id DESC LIMIT ?", (order_id, _MOST_SHOWN)
    ).fetchall()
    return [Said(*row) for row in reversed(rows)]


def as_json(text: str) -> Any:
    """A kept answer as the value that it was; what was none stays text."""
    try:
        return exact.loads(text.encode())
    except ValueError:
        return text


def told(tx: Tx) -> dict[str, list[dict[str, Any]]]:
    """Everything, for the tester's desk. Amounts in tiyin, `time` in milliseconds."""
    attempts = tx.execute(f"SELECT {_ATTEMPT} FROM payme_attempts ORDER BY place").fetchall()
    calls = tx.execute("SELECT order_id, payme_id, method, answer, note, took_ms, sent_us FROM payme_calls ORDER BY id").fetchall()
    return {
        "payme": [
            {"payme_id": row[0], "order_id": row[1], "amount": row[2], "account": exact.loads(row[3].encode())}
            | {"time": row[4], "state": row[5]}
            for row in attempts
        ],
        "payme_calls": [
            {"order_id": row[0], "payme_id": row[1], "method": row[2], "answer": as_json(row[3]), "note": row[4], "took_ms": row[5]}
            | {"sent_at": moment(row[6])}
            for row in calls
        ],
    }
