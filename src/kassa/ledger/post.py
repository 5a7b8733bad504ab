"""Book an entry with its postings, once: the same capture or refund booked again is left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kassa.kit.database import Tx, placeholders
from kassa.kit.ids import new_id
from kassa.kit.writes import Write
from kassa.ledger.model import Entry

_WRITE = Write(
    "posting_written",
    """
    entry_written AS (
        INSERT INTO ledger_entries (merchant_id, entry_id, kind, payment_id, reference, occurred_at)
        SELECT $1, e.entry_id, e.kind, e.payment_id, e.reference, kassa_now()
          FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[]) AS e (entry_id, kind, payment_id, reference)
        ON CONFLICT (merchant_id, payment_id, kind, reference) DO NOTHING
        RETURNING entry_id
    ), posting_written AS (
        INSERT INTO ledger_postings (merchant_id, entry_id, line_no, debit, credit, currency, amount_minor)
        SELECT $1, p.entry_id, p.line_no, p.debit, p.credit, p.currency, p.amount_minor
          FROM unnest($6::uuid[], $7::integer[], $8::text[], $9::text[], $10::text[], $11::bigint[])
            AS p (entry_id, line_no, debit, credit, currency, amount_minor) JOIN entry_written USING (entry_id)
        RETURNING 1)
    """,
)


async def post(tx: Tx, entry: Entry) -> bool:
    """Write `entry` in the caller's transaction; False when it was in the books already."""
    return await post_all(tx, [entry]) > 0


async def post_later(tx: Tx, entry: Entry) -> None:
    """Write `entry` together with what else the caller's transaction leaves for later."""
    await tx.later(_WRITE, *_columns([entry]))


async def post_all(tx: Tx, entries: Sequence[Entry]) -> int:
    """Write entries of one merchant in the caller's transaction, in one statement; returns how many postings were new."""
    if not entries:
        return 0
    written: int = await tx.value(_WRITE.selecting("count(*)"), *_columns(entries))
    return written


def _columns(entries: Sequence[Entry]) -> list[Any]:
    entry_ids = [new_id() for _ in entries]
    lines = [
        (entry_id, line_no, posting.debit, posting.credit, posting.amount.currency, posting.amount.minor)
        for entry_id, entry in zip(entry_ids, entries, strict=True)
        for line_no, posting in enumerate(entry.postings, 1)
    ]
    return [
        entries[0].merchant_id, entry_ids, [entry.kind for entry in entries], [entry.payment_id for entry in entries],
        [entry.reference for entry in entries], *placeholders(lines, 6),
    ]  # fmt: skip
