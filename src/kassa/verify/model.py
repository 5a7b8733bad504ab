"""A breach, the question that finds it, and the asking. A question names what is wrong in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kassa.kit.database import Reader

SHOWN = 50
"""Breaches of one question that are listed; of the others only their number is told."""


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that must never be: `invariant` is its number, `subject` what it is about (`payment:<id>`)."""

    invariant: int
    merchant_id: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """`sql` finds what is wrong (columns merchant_id, subject, detail); `says` is the sentence about each row."""

    invariant: int
    says: str
    sql: str
    args: tuple[Any, ...] = ()


async def ask(reader: Reader, question: Question) -> list[Breach]:
    """The breaches that `question` finds: the first 50, and one more that counts the rest."""
    rows = await reader.rows(
        f"""
        WITH wrong (merchant_id, subject, detail) AS MATERIALIZED ({question.sql})
        SELECT merchant_id, subject, detail, count(*) OVER () AS found FROM wrong
         ORDER BY merchant_id, subject, detail LIMIT {SHOWN}
        """,
        *question.args,
    )
    shown = [Breach(question.invariant, row["merchant_id"], row["subject"], f"{question.says}: {row['detail']}") for row in rows]
    return shown + and_more(question.invariant, question.says, rows[0]["found"] if rows else 0)


def and_more(invariant: int, says: str, found: int) -> list[Breach]:
    """One breach that stands for those beyond the first 50, or nothing."""
    return [Breach(invariant, "*", f"{found - SHOWN} more", says)] if found > SHOWN else []


def values(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Pairs as two columns, for `unnest($1::text[], $2::text[])`."""
    found = sorted(pairs)
    return [one for one, _ in found], [other for _, other in found]
