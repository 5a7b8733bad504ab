"""Every question about payments that were begun with a card's token. Each is a statement, or a part of the caller's transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Reader, Row, Tx
from kassa.kit.writes import Write
from kassa.payments.model import Payment

_COLUMNS = "merchant_id, payment_id, receipt_id, state, message, asks, kassa_now() - created_at AS age"
_BEGUN_S = 60
"""Seconds after which a charge whose receipt is not noted was lost with its process: nothing was paid."""
_PAYING_S = 10
"""Seconds after which a receipt that may be paid is asked about, if nobody has noted an answer: longer than a call may last."""
_LOOK_S = 30
"""Seconds for which one that is being asked about is left alone by others."""


@dataclass(frozen=True, slots=True)
class Charge:
    """How far a payment with a token is: begun, paying (its receipt may have been paid), paid, declined or lost."""

    merchant_id: str
    payment_id: uuid.UUID
    receipt_id: str | None
    state: str
    message: str | None
    asks: int
    age: timedelta


def _charge(row: Row) -> Charge:
    return Charge(**dict(row.items()))


_BEGIN = Write(
    "charge_begun",
    """
    charge_begun AS (
        INSERT INTO payme_charges (merchant_id, payment_id, state, next_at, created_at, updated_at)
        VALUES ($1, $2, 'begun', kassa_now() + make_interval(secs => $3::float8), kassa_now(), kassa_now())
        RETURNING 1)
    """,
)


async def begin(tx: Tx, payment: Payment) -> None:
    """Write a new charge, later, with the payment itself."""
    await tx.later(_BEGIN, payment.merchant_id, payment.payment_id, _BEGUN_S)


async def find(reader: Reader, payment: Payment) -> Charge | None:
    """The charge of a payment, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM payme_charges WHERE merchant_id = $1 AND payment_id = $2", payment.merchant_id, payment.payment_id
    )
    return _charge(row) if row else None


async def note_receipt(reader: Reader, payment: Payment, receipt_id: str) -> bool:
    """The receipt that is about to be paid; False when there is another one, or it is over: then nothing may be paid."""
    return bool(
        await reader.execute(
            """
            UPDATE payme_charges SET receipt_id = $3, state = 'paying', updated_at = kassa_now(),
                   next_at = kassa_now() + make_interval(secs => $4::float8)
             WHERE merchant_id = $1 AND payment_id = $2 AND state = 'begun'
            """,
            payment.merchant_id, payment.payment_id, receipt_id, _PAYING_S,
        )
    )  # fmt: skip


async def end(reader: Reader, payment: Payment, state: str, message: str | None) -> None:
    """Note what became of a charge, once."""
    await reader.execute(
        """
        UPDATE payme_charges SET state = $3, message = $4, next_at = NULL, updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND state IN ('begun', 'paying')
        """,
        payment.merchant_id, payment.payment_id, state, message,
    )  # fmt: skip


async def ask_again(reader: Reader, charge: Charge | Payment, in_s: float) -> None:
    """Nothing is known yet: look again in so many seconds."""
    await reader.execute(
        """
        UPDATE payme_charges SET asks = asks + 1, next_at = kassa_now() + make_interval(secs => $3::float8)
         WHERE merchant_id = $1 AND payment_id = $2 AND state = 'paying'
        """,
        charge.merchant_id, charge.payment_id, in_s,
    )  # fmt: skip


async def claim_due(reader: Reader, limit: int) -> list[Charge]:
    """Charges that are due, oldest first, across merchants; nobody else gets them for a while."""
    due = await reader.rows(
        "SELECT merchant_id, payment_id FROM payme_charges WHERE next_at <= kassa_now() ORDER BY next_at LIMIT $1", limit
    )
    claimed: list[Charge] = []
    for merchant_id, found in by_merchant(due).items():
        rows = await reader.rows(
            f"""
            WITH free AS (
                SELECT payment_id FROM payme_charges
                 WHERE merchant_id = $1 AND payment_id = ANY ($2) AND next_at <= kassa_now() FOR UPDATE SKIP LOCKED
            ), claimed AS (
                UPDATE payme_charges c SET next_at = kassa_now() + make_interval(secs => $3::float8)
                  FROM free WHERE c.merchant_id = $1 AND c.payment_id = free.payment_id
                RETURNING c.*
            )
            SELECT {_COLUMNS} FROM claimed
            """,
            merchant_id, [row["payment_id"] for row in found], _LOOK_S,
        )  # fmt: skip
        claimed += [_charge(row) for row in rows]
    return claimed
