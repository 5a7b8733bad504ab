"""Every question that the audit log asks the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson

from kassa.audit.model import BEGIN, Head, Line, Page
from kassa.kit.database import Reader, Row, Tx
from kassa.kit.writes import Write

_LINE = "merchant_id, place, who_kind, who_name, act, subject, why, what, request_id, at, previous, hash"

_APPENDED = Write(
    "audit_line_written",
    """
    audit_line_written AS (
        INSERT INTO audit_log (merchant_id, place, who_kind, who_name, act, subject, why, what, request_id, at, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11, $12)
        RETURNING 1
    ), audit_head_moved AS (
        UPDATE audit_heads SET last = $2, hash = $12 WHERE merchant_id = $1 RETURNING 1)
    """,
)


async def lock_head(tx: Tx, merchant_id: str) -> tuple[Head, datetime]:
    """The end of a merchant's chain under its row lock, and the time by the one clock; the row is made when it is missing."""
    row = await _locked(tx, merchant_id)
    if row is None:
        await tx.execute(
            "INSERT INTO audit_heads (merchant_id, last, hash) VALUES ($1, 0, $2) ON CONFLICT (merchant_id) DO NOTHING",
            merchant_id, BEGIN,
        )  # fmt: skip
        row = await _locked(tx, merchant_id)
    assert row is not None
    return Head(row["last"], bytes(row["hash"])), row["now"]


async def _locked(tx: Tx, merchant_id: str) -> Row | None:
    return await tx.row("SELECT last, hash, kassa_now() AS now FROM audit_heads WHERE merchant_id = $1 FOR UPDATE", merchant_id)


async def append(tx: Tx, lines: Sequence[Line]) -> None:
    """Write lines behind the head, whose row the transaction has locked."""
    for line in lines:
        await tx.later(
            _APPENDED,
            line.merchant_id, line.place, line.who_kind, line.who_name, line.act, line.subject, line.why,
            orjson.dumps(line.what).decode(), line.request_id, line.at, line.previous, line.hash,
        )  # fmt: skip


async def find_lines(reader: Reader, page: Page) -> list[Line]:
    """Lines, newest first: of one merchant by place or, for an operator, of all by time. `who` is a kind, a name, or `staff:7`."""
    order = "at DESC, merchant_id DESC, place DESC" if page.merchant_id is None else "place DESC"
    rows = await reader.rows(
        f"""
        SELECT {_LINE} FROM audit_log
         WHERE ($1::text IS NULL OR merchant_id = $1)
           AND ($2::text IS NULL OR who_kind = $2 OR who_name = $2 OR who_kind || ':' || who_name = $2)
           AND ($3::text IS NULL OR act = $3 OR starts_with(act, $3 || '.'))
           AND ($4::text IS NULL OR subject = $4 OR split_part(subject, ':', 2) = $4)
           AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
           AND ($7::bigint IS NULL OR place < $7)
         ORDER BY {order} LIMIT $8
        """,
        page.merchant_id, page.who, page.act, page.subject, page.since, page.until, page.before, page.limit,
    )  # fmt: skip
    return [_line(row) for row in rows]


async def chains(reader: Reader) -> list[str]:
    """Merchants who have a chain: a head, or lines."""
    rows = await reader.rows(
        """
        SELECT merchant_id FROM audit_log GROUP BY merchant_id UNION SELECT merchant_id FROM audit_heads ORDER BY 1
        """
    )
    return [row["merchant_id"] for row in rows]


async def head_of(reader: Reader, merchant_id: str) -> Head | None:
    """What the head row says, or None without one."""
    row = await reader.row("SELECT last, hash FROM audit_heads WHERE merchant_id = $1", merchant_id)
    return Head(row["last"], bytes(row["hash"])) if row else None


async def lines_behind(reader: Reader, merchant_id: str, place: int, limit: int) -> list[Line]:
    """The next lines of a chain, in their order."""
    rows = await reader.rows(
        f"SELECT {_LINE} FROM audit_log WHERE merchant_id = $1 AND place > $2 ORDER BY place LIMIT $3", merchant_id, place, limit
    )
    return [_line(row) for row in rows]


def _line(row: Row) -> Line:
    return Line(**{**dict(row.items()), "previous": bytes(row["previous"]), "hash": bytes(row["hash"])})
