"""Every question about Payme's attempts, cashboxes and fiscal receipts. A time is the clock's, in milliseconds."""

from __future__ import annotations

import uuid
from dataclasses import replace
from decimal import Decimal

from kassa.kit.database import Reader, Row, Tx
from kassa.kit.writes import Write
from kassa.payments.model import Payment
from kassa.payments.payme.model import Transaction
from kassa.payments.store import COLUMNS, PaymentMoved, payment_of

_COLUMNS = """merchant_id, transaction_id, payme_id, cashbox_id, payment_id, account::text AS account, amount_minor,
    time_ms, deadline_ms, create_ms, perform_ms, cancel_ms, state, reason"""
NOW_MS = "floor(extract(epoch FROM kassa_now()) * 1000)::bigint"
"""Whole milliseconds that have passed: what is judged and what is written is cut off in the same way."""


def _transaction(row: Row) -> Transaction:
    values = dict(row.items())
    reason: Decimal | None = values["reason"]
    return Transaction(**{**values, "reason": None if reason is None else int(reason)})


async def find(reader: Reader, merchant_id: str, payme_id: str) -> Transaction | None:
    """An attempt by Payme's id, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM payme_transactions WHERE merchant_id = $1 AND payme_id = $2", merchant_id, payme_id
    )
    return _transaction(row) if row else None


async def lock(tx: Tx, merchant_id: str, payme_id: str) -> Transaction | None:
    """The same under its row lock."""
    row = await tx.row(
        f"SELECT {_COLUMNS} FROM payme_transactions WHERE merchant_id = $1 AND payme_id = $2 FOR UPDATE", merchant_id, payme_id
    )
    return _transaction(row) if row else None


async def live(reader: Reader, payment: Payment) -> Transaction | None:
    """The attempt that holds a payment or has paid it, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS} FROM payme_transactions WHERE merchant_id = $1 AND payment_id = $2 AND state IN (1, 2)",
        payment.merchant_id, payment.payment_id,
    )  # fmt: skip
    return _transaction(row) if row else None


async def of_payment(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Transaction]:
    """All attempts to pay a payment, oldest first."""
    rows = await reader.rows(
        f"SELECT {_COLUMNS} FROM payme_transactions WHERE merchant_id = $1 AND payment_id = $2 ORDER BY create_ms, transaction_id",
        merchant_id, payment_id,
    )  # fmt: skip
    return [_transaction(row) for row in rows]


async def payment_for(reader: Reader, merchant_id: str, account: uuid.UUID) -> Payment | None:
    """The payment that an account stands for: that of an order opened for Payme, or an outside one by its own id."""
    row = await reader.row(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE merchant_id = $1 AND ref = $2::text AND ref_kind = 'order' AND provider = 'payme'
        UNION ALL
        SELECT {COLUMNS} FROM payments
         WHERE merchant_id = $1 AND payment_id = $3 AND ref_kind = 'outside' AND provider = 'payme'
        """,
        merchant_id, str(account), account,
    )  # fmt: skip
    return payment_of(row) if row else None


async def insert(tx: Tx, new: Transaction) -> None:
    """Write an attempt in state 1, and that it holds its payment. The payment is locked, and waits for its buyer."""
    await tx.execute(
        """
        WITH held AS (
            UPDATE payments SET held_by = $2, next_ask_at = NULL, updated_at = kassa_now()
             WHERE merchant_id = $1 AND payment_id = $5)
        INSERT INTO payme_transactions (merchant_id, transaction_id, payme_id, cashbox_id, payment_id, account, amount_minor,
                                        time_ms, deadline_ms, create_ms, state)
        VALUES ($1, $2, $3, $4, $5, $6::text::json, $7, $8, $9, $10, 1)
        """,
        new.merchant_id, new.transaction_id, new.payme_id, new.cashbox_id, new.payment_id, new.account, new.amount_minor,
        new.time_ms, new.deadline_ms, new.create_ms,
    )  # fmt: skip


_ENDED = Write(
    "attempt_ended",
    """
    attempt_ended AS (
        UPDATE payme_transactions SET state = $4, perform_ms = $5, cancel_ms = $6, reason = $7
         WHERE merchant_id = $1 AND transaction_id = $2 AND state = $3
        RETURNING 1)
    """,
    expects="1",
    unmet=PaymentMoved,
)


async def perform(tx: Tx, attempt: Transaction, now_ms: int) -> Transaction:
    """State 1 to 2, later, at `now_ms` of the clock; the attempt as it is then. It is locked."""
    return await _end(tx, attempt, replace(attempt, state=2, perform_ms=max(now_ms, attempt.create_ms)))


async def give_back(tx: Tx, attempt: Transaction, now_ms: int, reason: int) -> Transaction:
    """State 2 to -2, later, at `now_ms` of the clock; the attempt as it is then. It is locked."""
    return await _end(tx, attempt, replace(attempt, state=-2, cancel_ms=max(now_ms, attempt.perform_ms), reason=reason))


async def _end(tx: Tx, attempt: Transaction, after: Transaction) -> Transaction:
    reason = None if after.reason is None else Decimal(after.reason)
    await tx.later(
        _ENDED,
        attempt.merchant_id, attempt.transaction_id, attempt.state, after.state, after.perform_ms, after.cancel_ms, reason,
    )  # fmt: skip
    return after


async def cancel(tx: Tx, attempt: Transaction, reason: int) -> Transaction:
    """State 1 to -1, now, which lets go of the payment. The attempt and its payment are locked."""
    row = await tx.row(
        f"""
        WITH let_go AS (
            UPDATE payments SET held_by = NULL, updated_at = kassa_now(),
                   next_ask_at = CASE WHEN ref_kind = 'outside' AND status = 'waiting' THEN expires_at ELSE next_ask_at END
             WHERE merchant_id = $1 AND payment_id = $4 AND held_by = $2)
        UPDATE payme_transactions SET state = -1, reason = $3, cancel_ms = greatest({NOW_MS}, create_ms)
         WHERE merchant_id = $1 AND transaction_id = $2 AND state = 1
        RETURNING {_COLUMNS}
        """,
        attempt.merchant_id, attempt.transaction_id, Decimal(reason), attempt.payment_id,
    )  # fmt: skip
    assert row is not None, "it is locked, in state 1"
    return _transaction(row)


async def expired(reader: Reader, limit: int) -> list[tuple[str, str]]:
    """Merchant and Payme's id of attempts that are over by time, oldest first, across merchants: a plain read."""
    rows = await reader.rows(
        f"""
        SELECT merchant_id, payme_id FROM payme_transactions
         WHERE state = 1 AND deadline_ms < {NOW_MS} ORDER BY deadline_ms LIMIT $1
        """,
        limit,
    )
    return [(row["merchant_id"], row["payme_id"]) for row in rows]


async def statement(
    reader: Reader, merchant_id: str, cashbox_id: str, to_ms: int, after: tuple[int, int, str], limit: int
) -> list[Transaction]:
    """Attempts of a cashbox that follow `after` (Payme's time, ours, Payme's id), until `to_ms` of Payme's time, in that order."""
    rows = await reader.rows(
        f"""
        SELECT {_COLUMNS} FROM payme_transactions
         WHERE merchant_id = $1 AND cashbox_id = $2 AND (time_ms, create_ms, payme_id) > ($3, $4, $5) AND time_ms <= $6
         ORDER BY time_ms, create_ms, payme_id LIMIT $7
        """,
        merchant_id, cashbox_id, *after, to_ms, limit,
    )  # fmt: skip
    return [_transaction(row) for row in rows]


# ── cashboxes ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def write_cashbox(tx: Tx, merchant_id: str, cashbox_id: str, sealed: bytes, *, is_test: bool) -> None:
    """Give a merchant a cashbox, or another one in its place."""
    await tx.execute(
        """
        INSERT INTO payme_cashboxes (merchant_id, cashbox_id, key, is_test, created_at, updated_at)
        VALUES ($1, $2, $3, $4, kassa_now(), kassa_now())
        ON CONFLICT (merchant_id) DO UPDATE SET cashbox_id = $2, key = $3, is_test = $4, updated_at = excluded.updated_at
        """,
        merchant_id, cashbox_id, sealed, is_test,
    )  # fmt: skip


async def drop_cashbox(tx: Tx, merchant_id: str) -> bool:
    """Take a merchant's cashbox away; False when it had none."""
    return bool(await tx.execute("DELETE FROM payme_cashboxes WHERE merchant_id = $1", merchant_id))


async def read_cashbox(reader: Reader, merchant_id: str) -> Row | None:
    """A merchant's cashbox with its sealed key, or None."""
    return await reader.row("SELECT cashbox_id, key, is_test, updated_at FROM payme_cashboxes WHERE merchant_id = $1", merchant_id)


# ── fiscal receipts ──────────────────────────────────────────────────────────────────────────────────────────────────


async def write_receipt(tx: Tx, merchant_id: str, payme_id: str, kind: str, data: str) -> None:
    """Keep a fiscal receipt, JSON text, verbatim; one of the same kind is replaced."""
    await tx.execute(
        """
        INSERT INTO payme_receipts (merchant_id, payme_id, kind, data, received_at) VALUES ($1, $2, $3, $4::text::json, kassa_now())
        ON CONFLICT (merchant_id, payme_id, kind) DO UPDATE SET data = excluded.data, received_at = excluded.received_at
        """,
        merchant_id, payme_id, kind, data,
    )  # fmt: skip


async def receipts(reader: Reader, merchant_id: str, payme_id: str) -> dict[str, str]:
    """The fiscal receipts of an attempt by kind, as JSON text."""
    rows = await reader.rows(
        "SELECT kind, data::text AS data FROM payme_receipts WHERE merchant_id = $1 AND payme_id = $2 ORDER BY kind",
        merchant_id,
        payme_id,
    )
    return {row["kind"]: row["data"] for row in rows}
