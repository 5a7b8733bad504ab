"""Every question that payments ask the database."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from kassa.kit.database import Database, Reader, Row, Tx
from kassa.kit.errors import NotFound
from kassa.payments.model import HOLDS, Payment, Refund, RefundVerdict, Verdict

if TYPE_CHECKING:
    from kassa.payments.open import Opening

_COLUMNS = """merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor, captured_minor,
    refunded_minor, refunding_minor, provider_key, provider_ref, pay_url, reason, message, card_last4, sends, last_sent_at,
    asks, unanswerable, next_ask_at, unknown_since, expires_at, created_at, kassa_now() AS read_at"""

_REFUND = """merchant_id, refund_id, payment_id, amount_minor, currency, status, owed, reason, provider_key, message, sends,
    first_sent_at, next_at, lease_version, created_at, kassa_now() AS read_at"""


class PaymentMissing(NotFound):
    """There is no such payment."""

    code = "payment_not_found"


def _payment(row: Row) -> Payment:
    return Payment(**dict(row.items()))


def _refund(row: Row) -> Refund:
    return Refund(**dict(row.items()))


async def insert(tx: Tx, opening: Opening) -> Payment:
    """Write a new payment; a sending one counts as sent once, now, and is asked about if nobody notes an answer."""
    card = opening.card
    row = await tx.row(
        f"""
        INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor,
                              provider_key, card_brand, card_first6, card_last4, card_fingerprint, sends, last_sent_at,
                              expires_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'opened', $8, $9, $10, $11, $12, $13, $14, $15,
                CASE WHEN $15 > 0 THEN kassa_now() END, kassa_now() + $16::interval, kassa_now(), kassa_now())
        RETURNING {_COLUMNS}
        """,
        opening.merchant_id, opening.payment_id, opening.ref_kind, opening.ref, opening.provider, opening.method,
        opening.script, opening.amount.currency, opening.amount.minor, opening.provider_key,
        card.brand, card.first6, card.last4, card.fingerprint, 1 if opening.sending else 0, opening.expires_in,
    )  # fmt: skip
    assert row is not None
    return _payment(row)


async def find(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> Payment | None:
    """One payment, or None."""
    row = await reader.row(f"SELECT {_COLUMNS} FROM payments WHERE merchant_id = $1 AND payment_id = $2", merchant_id, payment_id)
    return _payment(row) if row else None


async def find_anywhere(reader: Reader, payment_id: uuid.UUID) -> Payment | None:
    """One payment by its id alone: a plain read for inbound reports; whatever follows names the merchant."""
    row = await reader.row(f"SELECT {_COLUMNS} FROM payments WHERE payment_id = $1", payment_id)
    return _payment(row) if row else None


async def lock(tx: Tx, merchant_id: str, payment_id: uuid.UUID) -> Payment:
    """One payment under its row lock. Raises `PaymentMissing`."""
    row = await tx.row(
        f"SELECT {_COLUMNS} FROM payments WHERE merchant_id = $1 AND payment_id = $2 FOR UPDATE", merchant_id, payment_id
    )
    if row is None:
        raise PaymentMissing
    return _payment(row)


async def write_verdict(tx: Tx, payment: Payment, after: str, verdict: Verdict) -> Payment | None:
    """Move a payment from the status it was read in; None when it has another status by now."""
    row = await tx.row(
        f"""
        UPDATE payments SET
               status = $4,
               captured_minor = CASE WHEN $4 = 'paid' THEN amount_minor ELSE captured_minor END,
               provider_ref = coalesce($5, provider_ref),
               reason = CASE WHEN $4 = 'paid' THEN NULL ELSE coalesce($6, reason) END,
               message = coalesce($7, message),
               pay_url = coalesce($8, pay_url),
               holds_reference = $4 = ANY ($9),
               asks = CASE WHEN status = 'unknown' AND $4 = 'unknown' THEN asks + 1 ELSE 0 END,
               unanswerable = unanswerable + $11,
               next_ask_at = kassa_now() + make_interval(secs => $10::float8),
               unknown_since = CASE WHEN $4 IN ('unknown', 'parked') THEN coalesce(unknown_since, kassa_now()) END,
               updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND status = $3
        RETURNING {_COLUMNS}
        """,
        payment.merchant_id, payment.payment_id, payment.status, after, verdict.ref, verdict.code, verdict.message,
        verdict.url, sorted(HOLDS), verdict.ask_in_s, int(verdict.unanswerable),
    )  # fmt: skip
    return _payment(row) if row else None


async def note_sending(tx: Tx, payment: Payment) -> Payment:
    """One more sending under the same key, now."""
    row = await tx.row(
        f"""
        UPDATE payments SET sends = sends + 1, last_sent_at = kassa_now(), updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND status = $3
        RETURNING {_COLUMNS}
        """,
        payment.merchant_id, payment.payment_id, payment.status,
    )  # fmt: skip
    if row is None:
        raise PaymentMissing
    return _payment(row)


async def note_late_look(tx: Tx, payment: Payment, ask_in_s: float | None) -> Payment:
    """Note that a given-up payment was looked at, and when it is looked at again; the payment as it is then."""
    row = await tx.row(
        f"""
        UPDATE payments SET asks = asks + 1, next_ask_at = kassa_now() + make_interval(secs => $4::float8)
         WHERE merchant_id = $1 AND payment_id = $2 AND status = 'declined' AND asks = $3
        RETURNING {_COLUMNS}
        """,
        payment.merchant_id, payment.payment_id, payment.asks, ask_in_s,
    )  # fmt: skip
    return _payment(row) if row else await lock(tx, payment.merchant_id, payment.payment_id)


async def insert_refund(
    tx: Tx, payment: Payment, refund_id: uuid.UUID, amount_minor: int, provider_key: str, *, owed: bool, reason: str | None
) -> tuple[Payment, Refund]:
    """Write a pending refund and take its sum from what can be given back (the payment's row is locked)."""
    row = await tx.row(
        f"""
        INSERT INTO refunds (merchant_id, refund_id, payment_id, amount_minor, currency, status, owed, reason, provider_key,
                             next_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, kassa_now(), kassa_now(), kassa_now())
        RETURNING {_REFUND}
        """,
        payment.merchant_id, refund_id, payment.payment_id, amount_minor, payment.currency, owed, reason, provider_key,
    )  # fmt: skip
    paid = await tx.row(
        f"""
        UPDATE payments SET refunding_minor = refunding_minor + $3, updated_at = kassa_now(),
               status = CASE WHEN refunded_minor + refunding_minor + $3 = captured_minor THEN 'refunding' ELSE status END
         WHERE merchant_id = $1 AND payment_id = $2
        RETURNING {_COLUMNS}
        """,
        payment.merchant_id, payment.payment_id, amount_minor,
    )  # fmt: skip
    assert row is not None
    assert paid is not None
    return _payment(paid), _refund(row)


async def claim_refund(db: Database, refund: Refund, lease_s: float) -> Refund | None:
    """Take the lease of a refund that is still to be sent, and count the sending; None when somebody has it."""
    row = await db.row(
        f"""
        UPDATE refunds SET lease_until = now() + make_interval(secs => $3), lease_version = lease_version + 1,
               sends = sends + 1, first_sent_at = coalesce(first_sent_at, kassa_now()), updated_at = kassa_now()
         WHERE merchant_id = $1 AND refund_id = $2 AND status IN ('pending', 'parked') AND next_at IS NOT NULL
           AND (lease_until IS NULL OR lease_until < now())
        RETURNING {_REFUND}
        """,
        refund.merchant_id, refund.refund_id, lease_s,
    )  # fmt: skip
    return _refund(row) if row else None


async def renew_refund(db: Database, refund: Refund, lease_s: float) -> None:
    """Hold the lease of a refund for longer, if it is still ours."""
    await db.execute(
        """
        UPDATE refunds SET lease_until = now() + make_interval(secs => $4)
         WHERE merchant_id = $1 AND refund_id = $2 AND lease_version = $3
        """,
        refund.merchant_id, refund.refund_id, refund.lease_version, lease_s,
    )  # fmt: skip


async def write_refund_verdict(tx: Tx, refund: Refund, after: str, verdict: RefundVerdict, wait_s: float | None) -> Refund | None:
    """Note an answer about a refund unless it is decided already."""
    row = await tx.row(
        f"""
        UPDATE refunds SET status = $3, provider_ref = coalesce($4, provider_ref), message = coalesce($5, message),
               next_at = kassa_now() + make_interval(secs => $6::float8), lease_until = NULL, updated_at = kassa_now()
         WHERE merchant_id = $1 AND refund_id = $2 AND status IN ('pending', 'parked')
        RETURNING {_REFUND}
        """,
        refund.merchant_id, refund.refund_id, after, verdict.ref, verdict.message, wait_s,
    )  # fmt: skip
    return _refund(row) if row else None


async def apply_refund(tx: Tx, payment: Payment, refund: Refund) -> Payment:
    """Book a decided refund on its payment: its sum leaves `refunding` and, if it succeeded, is `refunded`."""
    given = refund.amount_minor if refund.status == "succeeded" else 0
    taken = refund.amount_minor if refund.status in {"succeeded", "failed"} else 0
    row = await tx.row(
        f"""
        UPDATE payments SET refunding_minor = refunding_minor - $3, refunded_minor = refunded_minor + $4,
               status = CASE WHEN refunded_minor + $4 = captured_minor THEN 'refunded'
                             WHEN $3 > 0 AND $4 = 0 AND status = 'refunding' THEN 'paid' ELSE status END,
               holds_reference = holds_reference AND refunded_minor + $4 <> captured_minor,
               updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2
        RETURNING {_COLUMNS}
        """,
        payment.merchant_id, payment.payment_id, taken, given,
    )  # fmt: skip
    if row is None:
        raise PaymentMissing
    return _payment(row)


async def refunds_of(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Refund]:
    """The refunds of a payment, oldest first."""
    rows = await reader.rows(
        f"SELECT {_REFUND} FROM refunds WHERE merchant_id = $1 AND payment_id = $2 ORDER BY created_at, refund_id",
        merchant_id, payment_id,
    )  # fmt: skip
    return [_refund(row) for row in rows]


async def due_refunds(reader: Reader, limit: int) -> list[Refund]:
    """Refunds that are due and that nobody is sending, oldest first, across merchants."""
    rows = await reader.rows(
        f"""
        SELECT {_REFUND} FROM refunds
         WHERE next_at <= kassa_now() AND (lease_until IS NULL OR lease_until < now()) ORDER BY next_at LIMIT $1
        """,
        limit,
    )
    return [_refund(row) for row in rows]
