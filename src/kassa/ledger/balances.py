"""What the books say: the lines of a payment and what a provider still holds of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from kassa.kit.database import Reader


@dataclass(frozen=True, slots=True)
class Line:
    """One side of a posting: debits are positive, credits negative (`amount_minor` of `currency`)."""

    entry_id: uuid.UUID
    kind: str
    occurred_at: datetime
    account: str
    currency: str
    amount_minor: int


async def lines_of_payment(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Line]:
    """All lines of a payment, oldest entry first, debits before credits."""
    rows = await reader.rows(
        """
        SELECT e.entry_id, e.kind, e.occurred_at, l.account, l.currency, l.amount_minor
          FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
         WHERE e.merchant_id = $1 AND e.payment_id = $2
         ORDER BY e.occurred_at, e.entry_id, l.line_no, l.amount_minor DESC
        """,
        merchant_id, payment_id,
    )  # fmt: skip
    return [Line(**dict(row)) for row in rows]


async def payment_balance(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> int:
    """Captured minus refunded in minor units: the sum of the payment's `provider:` lines."""
    balance: int = await reader.value(
        """
        SELECT coalesce(sum(l.amount_minor), 0)::bigint
          FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
         WHERE e.merchant_id = $1 AND e.payment_id = $2 AND l.account LIKE 'provider:%'
        """,
        merchant_id, payment_id,
    )  # fmt: skip
    return balance
