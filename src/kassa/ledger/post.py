"""Book an entry with its postings, once: the same capture or refund booked again is left as it is."""

from __future__ import annotations

from kassa.kit.database import Tx
from kassa.kit.ids import new_id
from kassa.ledger.model import Entry


async def post(tx: Tx, entry: Entry) -> bool:
    """Write `entry` in the caller's transaction; False when it was in the books already."""
    written = await tx.value(
        """
        WITH entry AS (
            INSERT INTO ledger_entries (merchant_id, entry_id, kind, payment_id, reference, occurred_at)
            VALUES ($1, $2, $3, $4, $5, kassa_now())
            ON CONFLICT (merchant_id, payment_id, kind, reference) DO NOTHING
            RETURNING entry_id
        ), written AS (
            INSERT INTO ledger_postings (merchant_id, entry_id, line_no, debit, credit, currency, amount_minor)
            SELECT $1, entry.entry_id, p.line_no, p.debit, p.credit, p.currency, p.amount_minor
              FROM entry, unnest($6::text[], $7::text[], $8::text[], $9::bigint[]) WITH ORDINALITY
                AS p (debit, credit, currency, amount_minor, line_no)
            RETURNING 1
        )
        SELECT count(*) FROM written
        """,
        entry.merchant_id, new_id(), entry.kind, entry.payment_id, entry.reference,
        [p.debit for p in entry.postings], [p.credit for p in entry.postings],
        [p.amount.currency for p in entry.postings], [p.amount.minor for p in entry.postings],
    )  # fmt: skip
    return bool(written)
