"""List a case, find what is open, close it with the decision that was made.

`kind` says what is wrong (`payment_unknown`, `refund_parked`, `amount_mismatch` …), `subject` what it is about (`payment:<id>`),
`act` tells two cases of one subject apart. Amounts are minor units of `currency`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kassa.kit.database import Reader, Row
from kassa.kit.ids import new_id

_COLUMNS = "merchant_id, case_id, kind, subject, act, amount_minor, currency, last_answer, opened_at, closed_at, decision"


@dataclass(frozen=True, slots=True)
class Case:
    """Something that needs a person; open until `closed_at`."""

    merchant_id: str
    case_id: uuid.UUID
    kind: str
    subject: str
    act: str
    amount_minor: int | None
    currency: str | None
    last_answer: str | None
    opened_at: datetime
    closed_at: datetime | None
    decision: str | None


def _case(row: Row) -> Case:
    return Case(**dict(row.items()))


async def open_case(
    reader: Reader,
    merchant_id: str,
    kind: str,
    subject: str,
    *,
    act: str = "",
    last_answer: str | None = None,
    amount_minor: int | None = None,
    currency: str | None = None,
) -> None:
    """List something for a person. While it is open it is listed once; opened again, it gets the newer `last_answer`."""
    await reader.execute(
        """
        INSERT INTO cases (merchant_id, case_id, kind, subject, act, amount_minor, currency, last_answer, opened_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, kassa_now())
        ON CONFLICT (merchant_id, kind, subject, act) WHERE closed_at IS NULL DO UPDATE SET last_answer = excluded.last_answer
        """,
        merchant_id, new_id(), kind, subject, act, amount_minor, currency, last_answer,
    )  # fmt: skip


async def close_cases(reader: Reader, merchant_id: str, subject: str, decision: str, *, kinds: tuple[str, ...] = ()) -> int:
    """Close what is open about a subject (of these kinds, if any are given) with `decision`; returns how many that were."""
    return await reader.execute(
        """
        UPDATE cases SET closed_at = kassa_now(), decision = $3
         WHERE merchant_id = $1 AND subject = $2 AND closed_at IS NULL AND (cardinality($4::text[]) = 0 OR kind = ANY ($4))
        """,
        merchant_id, subject, decision, list(kinds),
    )  # fmt: skip


async def close_case(reader: Reader, merchant_id: str, case_id: uuid.UUID, decision: str) -> Case | None:
    """Close one case by a person's word; None when there is no such open case."""
    row = await reader.row(
        f"""
        UPDATE cases SET closed_at = kassa_now(), decision = $3
         WHERE merchant_id = $1 AND case_id = $2 AND closed_at IS NULL RETURNING {_COLUMNS}
        """,
        merchant_id, case_id, decision,
    )  # fmt: skip
    return _case(row) if row else None


async def find_cases(
    reader: Reader, *, merchant_id: str | None = None, open_only: bool = True, kinds: tuple[str, ...] = (), limit: int = 100
) -> list[Case]:
    """Cases, oldest first, at most `limit`: of one merchant, or of all for an operator."""
    rows = await reader.rows(
        f"""
        SELECT {_COLUMNS} FROM cases
         WHERE ($1::text IS NULL OR merchant_id = $1) AND (NOT $2 OR closed_at IS NULL)
           AND (cardinality($3::text[]) = 0 OR kind = ANY ($3))
         ORDER BY opened_at, case_id LIMIT $4
        """,
        merchant_id, open_only, list(kinds), limit,
    )  # fmt: skip
    return [_case(row) for row in rows]


async def cases_about(
    reader: Reader, merchant_ids: Sequence[str], subjects: Sequence[str], kinds: Sequence[str] = (), *, open_only: bool
) -> list[Case]:
    """The cases about these subjects (of these kinds, if any are given), newest first: those that are open, or closed ones too."""
    rows = await reader.rows(
        f"""
        SELECT {_COLUMNS} FROM cases
         WHERE merchant_id = ANY ($1) AND (cardinality($2::text[]) = 0 OR kind = ANY ($2)) AND subject = ANY ($3)
           AND (closed_at IS NULL OR NOT $4)
         ORDER BY opened_at DESC, case_id DESC
        """,
        list(merchant_ids), list(kinds), list(subjects), open_only,
    )  # fmt: skip
    return [_case(row) for row in rows]


async def find_case(reader: Reader, case_id: uuid.UUID) -> Case | None:
    """One case by its id alone, for an operator; whatever follows names the merchant."""
    row = await reader.row(f"SELECT {_COLUMNS} FROM cases WHERE case_id = $1", case_id)
    return _case(row) if row else None


async def forget(reader: Reader, merchant_id: str, subjects: Sequence[str]) -> int:
    """Erase the free text of closed cases about these subjects: what was answered and decided. Returns how many had any.

    Those of a reconciliation speak of sums, and the next run goes by their words: they stay.
    """
    return await reader.execute(
        """
        UPDATE cases SET last_answer = NULL, decision = CASE WHEN decision IS NOT NULL THEN '' END
         WHERE merchant_id = $1 AND subject = ANY ($2) AND closed_at IS NOT NULL
           AND (last_answer IS NOT NULL OR decision <> '') AND NOT starts_with(kind, 'reconcile_')
        """,
        merchant_id, list(subjects),
    )  # fmt: skip
