"""A breach, the question that finds it, and the asking. A question names what is wrong in one sentence.

A question about millions of rows is asked window by window: its SQL says `@(p.merchant_id, p.payment_id)` wherever a table must be
held to the keys of the window. Each window is one statement, so it sees one moment; and it holds all that is needed to answer for
its keys, so nothing that two moments tell is ever compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kassa.kit.database import Reader

SHOWN = 50
"""Breaches of one question that are listed; of the others only their number is told."""

_HELD = re.compile(r"@\(([^()]+)\)")


@dataclass(frozen=True, slots=True)
class Walk:
    """An order in which keys are gone through: those of `table`. Other tables are held to the same keys.

    The windows leave no gap between them, so that a row is found whose key `table` does not have.
    """

    name: str
    table: str
    key: tuple[str, ...]
    types: tuple[str, ...]


ENTRIES = Walk("entries", "ledger_entries", ("merchant_id", "entry_id"), ("text", "uuid"))
PAYMENTS = Walk("payments", "payments", ("merchant_id", "payment_id"), ("text", "uuid"))
ORDERS = Walk("orders", "orders", ("merchant_id", "order_id"), ("text", "uuid"))
CHECKOUTS = Walk("checkouts", "checkouts", ("merchant_id", "checkout_id"), ("text", "uuid"))
STOCK = Walk(
    "stock journal", "stock_journal", ("merchant_id", "channel", "product_id", "kind", "reference"), ("text",) * 5
)  # fmt: skip
SUBJECTS = Walk("subjects", "event_counters", ("merchant_id", "subject"), ("text", "text"))
EVENTS = Walk("events", "events", ("merchant_id", "event_id"), ("text", "uuid"))
NOTICES = Walk("notices", "notices", ("merchant_id", "notice_id"), ("text", "uuid"))
KEYS = Walk("keys", "idempotency_keys", ("merchant_id", "caller", "operation", "key"), ("text",) * 4)
AUDIT = Walk("audit log", "audit_log", ("merchant_id", "place"), ("text", "bigint"))
WALKS = (ENTRIES, PAYMENTS, ORDERS, CHECKOUTS, STOCK, SUBJECTS, EVENTS, NOTICES, KEYS, AUDIT)


@dataclass(frozen=True, slots=True)
class Window:
    """Keys beyond `after`, up to and with `upto`; None is the beginning or the end. Or only those listed in `keys`."""

    after: tuple[Any, ...] | None = None
    upto: tuple[Any, ...] | None = None
    keys: tuple[tuple[Any, ...], ...] | None = None


ALL = Window()


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that must never be: `invariant` is its number, `subject` what it is about (`payment:<id>`)."""

    invariant: int
    merchant_id: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """`sql` finds what is wrong (columns merchant_id, subject, detail); `says` is the sentence about each row.

    Without a `walk` it is asked once, of whole tables: it looks at few rows, or its sums have few rows.
    """

    invariant: int
    says: str
    sql: str
    args: tuple[Any, ...] = ()
    walk: Walk | None = None


async def ask(reader: Reader, question: Question, window: Window = ALL) -> tuple[list[Breach], int]:
    """The breaches that `question` finds in `window`: the first 50, and how many there are in all."""
    sql, args = held(question, window)
    rows = await reader.rows(
        f"""
        WITH wrong (merchant_id, subject, detail) AS MATERIALIZED ({sql})
        SELECT merchant_id, subject, detail, count(*) OVER () AS found FROM wrong
         ORDER BY merchant_id, subject, detail LIMIT {SHOWN}
        """,
        *args,
    )
    shown = [Breach(question.invariant, row["merchant_id"], row["subject"], f"{question.says}: {row['detail']}") for row in rows]
    return shown, rows[0]["found"] if rows else 0


def held(question: Question, window: Window) -> tuple[str, list[Any]]:
    """The SQL of a question, held to a window, with its parameters."""
    if question.walk is None:
        return question.sql, list(question.args)
    walk, args = question.walk, list(question.args)
    first = len(args) + 1
    if window.keys is not None:
        args += [[key[place] for key in window.keys] for place in range(len(walk.key))]
        columns = ", ".join(f"${first + place}::{kind}[]" for place, kind in enumerate(walk.types))
        return _HELD.sub(lambda said: f"({said[1]}) IN (SELECT * FROM unnest({columns}))", question.sql), args
    parts = []
    for sign, bound in ((">", window.after), ("<=", window.upto)):
        if bound is not None:
            places = ", ".join(f"${len(args) + 1 + place}::{kind}" for place, kind in enumerate(walk.types))
            parts.append(f"(%s) {sign} ({places})")
            args += bound
    return _HELD.sub(lambda said: " AND ".join(part % said[1] for part in parts) or "true", question.sql), args


async def next_bound(reader: Reader, walk: Walk, after: Sequence[Any] | None, at_once: int) -> tuple[Any, ...] | None:
    """The last key of the window of `at_once` keys that begins beyond `after`; None when it is the last window."""
    columns = ", ".join(walk.key)
    places = ", ".join(f"${place + 1}::{kind}" for place, kind in enumerate(walk.types))
    row = await reader.row(
        f"SELECT {columns} FROM {walk.table} {f'WHERE ({columns}) > ({places})' if after else ''}"
        f" ORDER BY {columns} LIMIT 1 OFFSET {at_once - 1}",
        *(after or ()),
    )
    return tuple(row) if row else None


def and_more(invariant: int, says: str, found: int) -> list[Breach]:
    """One breach that stands for those beyond the first 50, or nothing."""
    return [Breach(invariant, "*", f"{found - SHOWN} more", says)] if found > SHOWN else []


def values(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Pairs as two columns, for `unnest($1::text[], $2::text[])`."""
    found = sorted(pairs)
    return [one for one, _ in found], [other for _, other in found]
