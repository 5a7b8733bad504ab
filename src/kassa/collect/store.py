"""Every question about reports of providers: the inbox, and what could not be matched to a payment yet."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from kassa.kit.database import Database, Reader, Tx
from kassa.kit.ids import new_id
from kassa.payments.model import Payment

if TYPE_CHECKING:
    from kassa.collect.report import Report

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LONGEST = 64
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Noted:
    """A row of the inbox."""

    status: str
    outcome: str
    received_at: datetime


async def note_report(tx: Tx, payment: Payment, report: Report, outcome: str) -> None:
    """Keep an accepted report and what became of it."""
    await tx.execute(
        """
        INSERT INTO inbox (merchant_id, message_id, payment_id, refund_id, status, outcome, received_at)
        VALUES ($1, $2, $3, $4, $5, $6, kassa_now())
        """,
        payment.merchant_id, new_id(), payment.payment_id, report.refund_id, _plain(report.status), outcome,
    )  # fmt: skip


async def contradictions(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Noted]:
    """The reports of a payment that were accepted and not applied though they said something new."""
    rows = await reader.rows(
        """
        SELECT status, outcome, received_at FROM inbox
         WHERE merchant_id = $1 AND payment_id = $2 AND refund_id IS NULL AND status NOT IN ('pending', 'processing')
           AND (outcome IN ('amount mismatch', 'other provider') OR (outcome = 'already processed' AND status <> 'finished'))
         ORDER BY received_at, message_id LIMIT 100
        """,
        merchant_id, payment_id,
    )  # fmt: skip
    return [Noted(**dict(row.items())) for row in rows]


async def keep_unmatched(db: Database, report: Report) -> None:
    """Keep the report of a payment that nobody knows; the same one is kept once."""
    await db.execute(
        """
        INSERT INTO inbox_unmatched (message_id, payment_id, refund_id, status, price, currency, received_at, next_at)
        SELECT $1, $2, $3, $4, $5, $6, kassa_now(), kassa_now() + interval '1 second'
         WHERE NOT EXISTS (SELECT 1 FROM inbox_unmatched
                            WHERE payment_id = $2 AND refund_id IS NOT DISTINCT FROM $3 AND status = $4
                              AND price IS NOT DISTINCT FROM $5 AND currency IS NOT DISTINCT FROM $6)
        """,
        new_id(), report.payment_id, report.refund_id, _plain(report.status), report.price, report.currency,
    )  # fmt: skip


async def unmatched_due(db: Database) -> list[tuple[uuid.UUID, Report, bool]]:
    """Kept reports whose time has come, each with its number and whether its 72 h are over; nobody else gets them for a second."""
    from kassa.collect.report import Report  # noqa: PLC0415 - its file asks this store

    rows = await db.rows(
        """
        UPDATE inbox_unmatched SET next_at = kassa_now() + interval '1 second'
         WHERE message_id IN (SELECT message_id FROM inbox_unmatched WHERE next_at <= kassa_now()
                               ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING message_id, payment_id, refund_id, status, price, currency,
                  received_at < kassa_now() - interval '72 hours' AS over
        """,
        _AT_ONCE,
    )
    return [
        (row["message_id"], Report(row["payment_id"], row["status"], row["refund_id"], row["price"], row["currency"]), row["over"])
        for row in rows
    ]


async def forget_unmatched(db: Database, message_id: uuid.UUID) -> None:
    """A kept report found its payment."""
    await db.execute("DELETE FROM inbox_unmatched WHERE message_id = $1", message_id)


async def give_up_unmatched(tx: Tx, message_id: uuid.UUID) -> None:
    """A kept report is not tried any more; the row stays for whoever works on its case."""
    await tx.execute("UPDATE inbox_unmatched SET next_at = NULL WHERE message_id = $1", message_id)


def _plain(status: str) -> str:
    return _UNPRINTABLE.sub("?", status)[:_LONGEST]
