"""Every question that approvals ask the database."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

import orjson

from kassa.approvals.model import WAITS, Approval, Wish
from kassa.kit.database import Reader, Row, Tx
from kassa.kit.ids import new_id

_APPROVAL = """merchant_id, approval_id, act, subject, asked::text AS asked, amount_minor, currency, why,
    CASE WHEN status = 'pending' AND expires_at <= kassa_now() THEN 'expired' ELSE status END AS status,
    asked_by, asked_at, expires_at, decided_by, decided_why, decided_at, outcome"""
_WRITTEN = re.sub(r"CASE .* END AS status", "status", _APPROVAL)
"""The same of a row that is written by this very statement: what it says of itself holds at this moment."""


async def insert(tx: Tx, merchant_id: str, wish: Wish) -> Approval | None:
    """Keep an act for a second person; None when its form was sent before."""
    row = await tx.row(
        f"""
        INSERT INTO approvals (merchant_id, approval_id, act, subject, asked, amount_minor, currency, why, once_key,
                               asked_by, asked_at, expires_at)
        VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9, $10, kassa_now(), kassa_now() + $11::interval)
        ON CONFLICT (merchant_id, asked_by, once_key) DO NOTHING RETURNING {_WRITTEN}
        """,
        merchant_id, new_id(), wish.act, wish.subject, orjson.dumps(dict(wish.asked)).decode(), wish.amount.minor,
        wish.amount.currency, wish.why, wish.once_key, wish.asked_by, WAITS,
    )  # fmt: skip
    return _approval(row) if row else None


async def find_asked(reader: Reader, merchant_id: str, asked_by: str, once_key: str) -> Approval | None:
    """The approval that was asked for with this form, if it was."""
    row = await reader.row(
        f"SELECT {_APPROVAL} FROM approvals WHERE merchant_id = $1 AND asked_by = $2 AND once_key = $3",
        merchant_id, asked_by, once_key,
    )  # fmt: skip
    return _approval(row) if row else None


async def find(reader: Reader, merchant_id: str | None, approval_id: uuid.UUID) -> Approval | None:
    """One approval, of a merchant or (for an admin) of any; whatever follows names the merchant."""
    row = await reader.row(
        f"SELECT {_APPROVAL} FROM approvals WHERE approval_id = $2 AND ($1::text IS NULL OR merchant_id = $1)",
        merchant_id, approval_id,
    )  # fmt: skip
    return _approval(row) if row else None


async def open_ones(reader: Reader, merchant_id: str | None, limit: int) -> list[Approval]:
    """What waits for a second person, or was approved and not done yet; oldest first, of one merchant or of all."""
    rows = await reader.rows(
        f"""
        SELECT {_APPROVAL} FROM approvals
         WHERE status IN ('pending', 'approved') AND (status = 'approved' OR expires_at > kassa_now())
           AND ($1::text IS NULL OR merchant_id = $1)
         ORDER BY approval_id LIMIT $2
        """,
        merchant_id, limit,
    )  # fmt: skip
    return [_approval(row) for row in rows]


async def newest(reader: Reader, merchant_id: str | None, before: uuid.UUID | None, limit: int) -> list[Approval]:
    """All approvals, newest first, older than `before`; of one merchant or of all."""
    rows = await reader.rows(
        f"""
        SELECT {_APPROVAL} FROM approvals
         WHERE approval_id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND ($1::text IS NULL OR merchant_id = $1)
         ORDER BY approval_id DESC LIMIT $3
        """,
        merchant_id, before, limit,
    )  # fmt: skip
    return [_approval(row) for row in rows]


async def write_decision(tx: Tx, found: Approval, status: str, by: str, why: str) -> Approval | None:
    """Move a pending approval on by another person's word; None when somebody was first, its time is over, or it is their own."""
    row = await tx.row(
        f"""
        UPDATE approvals SET status = $3, decided_by = $4, decided_why = $5, decided_at = kassa_now()
         WHERE merchant_id = $1 AND approval_id = $2 AND status = 'pending' AND expires_at > kassa_now() AND asked_by <> $4
        RETURNING {_WRITTEN}
        """,
        found.merchant_id, found.approval_id, status, by, why,
    )  # fmt: skip
    return _approval(row) if row else None


async def write_outcome(tx: Tx, found: Approval, status: str, outcome: str) -> Approval | None:
    """Note what came of an approved act; None when it is noted already."""
    row = await tx.row(
        f"""
        UPDATE approvals SET status = $3, outcome = $4
         WHERE merchant_id = $1 AND approval_id = $2 AND status = 'approved' RETURNING {_WRITTEN}
        """,
        found.merchant_id, found.approval_id, status, outcome,
    )  # fmt: skip
    return _approval(row) if row else None


async def forget(tx: Tx, merchant_id: str, subjects: Sequence[str]) -> int:
    """Erase the notes to buyers in approvals about these subjects; returns how many had one."""
    return await tx.execute(
        "UPDATE approvals SET asked = asked - 'note' WHERE merchant_id = $1 AND subject = ANY ($2) AND asked ? 'note'",
        merchant_id, list(subjects),
    )  # fmt: skip


def _approval(row: Row) -> Approval:
    return Approval(**{**dict(row.items()), "asked": orjson.loads(row["asked"])})
