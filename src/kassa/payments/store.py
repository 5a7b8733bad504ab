"""Every question that payments ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kassa.kit.database import Database, Reader, Row, Tx, placeholders
from kassa.kit.errors import Conflict, NotFound
from kassa.kit.writes import Write
from kassa.payments.model import HOLDS, Payment, Refund, RefundLine, RefundVerdict, Verdict

if TYPE_CHECKING:
    from kassa.payments.open import Opening

COLUMNS = """merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor, captured_minor,
    refunded_minor, refunding_minor, provider_key, provider_ref, pay_url, reason, message, card_last4, sends, last_sent_at,
    asks, unanswerable, next_ask_at, unknown_since, expires_at, created_at, quantity, ref_is_number, routed_to, held_by,
    kassa_now() AS read_at"""
WRITTEN = COLUMNS.replace("kassa_now()", "updated_at")
"""The same of a row whose `updated_at` this very statement has set: its moment."""

_REFUND = """merchant_id, refund_id, payment_id, amount_minor, currency, status, owed, reason, provider_key, message, sends,
    first_sent_at, next_at, lease_version, created_at, kassa_now() AS read_at,
    (SELECT array_agg(ROW (l.line_id, l.quantity, l.amount_minor, l.restock) ORDER BY l.line_id COLLATE "C")
       FROM refund_lines l WHERE l.merchant_id = r.merchant_id AND l.refund_id = r.refund_id) AS lines"""
_REFUND_WRITTEN = _REFUND.replace("l.merchant_id = r.merchant_id", "l.merchant_id = $1")
"""The same of a row that a statement about merchant `$1` has written."""


class PaymentMissing(NotFound):
    """There is no such payment."""

    code = "payment_not_found"


class PaymentMoved(Conflict):
    """Somebody moved this payment first; look again."""

    code = "payment_moved"


def payment_of(row: Row) -> Payment:
    """A row of `COLUMNS` as a payment."""
    return Payment(**dict(row.items()))


def _refund(row: Row) -> Refund:
    return Refund(**{**dict(row.items()), "lines": tuple(RefundLine(*each) for each in row["lines"] or ())})


_INSERT = Write(
    "payment_opened",
    """
    payment_opened AS (
        INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor,
                              provider_key, card_brand, card_first6, card_last4, card_fingerprint, sends, last_sent_at,
                              expires_at, created_at, updated_at, routed_to, pay_url)
        VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $20::text IS NULL THEN 'opened' ELSE 'waiting' END, $8, $9, $10, $11, $12,
                $13, $14, $15, $16, $17, $18, $18, $19, $20)
        RETURNING 1)
    """,
)


async def insert(tx: Tx, opening: Opening, at: datetime) -> Payment:
    """Write a new payment, later: `waiting` where the buyer's link is known, else `opened`.

    A sending one counts as sent once, now, and is asked about if nobody notes an answer.
    """
    card, amount = opening.card, opening.amount
    sends, sent_at = (1, at) if opening.sending else (0, None)
    expires_at = at + opening.expires_in if opening.expires_in is not None else None
    await tx.later(
        _INSERT,
        opening.merchant_id, opening.payment_id, opening.ref_kind, opening.ref, opening.provider, opening.method,
        opening.script, amount.currency, amount.minor, opening.provider_key, card.brand, card.first6, card.last4,
        card.fingerprint, sends, sent_at, expires_at, at, opening.routed_to, opening.url,
    )  # fmt: skip
    return Payment(
        merchant_id=opening.merchant_id, payment_id=opening.payment_id, ref_kind=opening.ref_kind, ref=opening.ref,
        provider=opening.provider, method=opening.method, script=opening.script,
        status="waiting" if opening.url else "opened", currency=amount.currency,
        amount_minor=amount.minor, captured_minor=0, refunded_minor=0, refunding_minor=0, provider_key=opening.provider_key,
        provider_ref=None, pay_url=opening.url, reason=None, message=None, card_last4=card.last4, sends=sends, last_sent_at=sent_at,
        asks=0, unanswerable=0, next_ask_at=None, unknown_since=None, expires_at=expires_at, created_at=at, quantity="1",
        ref_is_number=False, routed_to=opening.routed_to, held_by=None, read_at=at,
    )  # fmt: skip


async def find(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> Payment | None:
    """One payment, or None."""
    row = await reader.row(f"SELECT {COLUMNS} FROM payments WHERE merchant_id = $1 AND payment_id = $2", merchant_id, payment_id)
    return payment_of(row) if row else None


async def find_anywhere(reader: Reader, payment_id: uuid.UUID) -> Payment | None:
    """One payment by its id alone: a plain read for inbound reports; whatever follows names the merchant."""
    row = await reader.row(f"SELECT {COLUMNS} FROM payments WHERE payment_id = $1", payment_id)
    return payment_of(row) if row else None


async def lock(tx: Tx, merchant_id: str, payment_id: uuid.UUID) -> Payment:
    """One payment under its row lock. Raises `PaymentMissing`."""
    row = await tx.row(
        f"SELECT {COLUMNS} FROM payments WHERE merchant_id = $1 AND payment_id = $2 FOR UPDATE", merchant_id, payment_id
    )
    if row is None:
        raise PaymentMissing
    return payment_of(row)


async def lock_reference(tx: Tx, payment: Payment) -> list[tuple[Payment, bool]]:
    """All payments of a payment's reference under their row locks, taken in the order of ids, and whether each holds it."""
    rows = await tx.rows(
        f"""
        SELECT {COLUMNS}, holds_reference FROM payments
         WHERE merchant_id = $1 AND ref = $2 AND ref_kind = $3 ORDER BY payment_id FOR UPDATE
        """,
        payment.merchant_id, payment.ref, payment.ref_kind,
    )  # fmt: skip
    found = [dict(row.items()) for row in rows]
    return [(Payment(**{name: row[name] for name in row if name != "holds_reference"}), row["holds_reference"]) for row in found]


# The moment stands in no CASE, as in checkouts (decision 0046).
_VERDICT = Write(
    "payment_moved",
    """
    payment_moved AS (
        UPDATE payments SET
               status = $4,
               captured_minor = CASE WHEN $4 = 'paid' THEN amount_minor ELSE captured_minor END,
               provider_ref = coalesce($5, provider_ref),
               reason = CASE WHEN $4 = 'paid' THEN NULL ELSE coalesce($6, reason) END,
               message = coalesce($7, message),
               pay_url = coalesce($8, pay_url),
               holds_reference = $9 AND ref_kind <> 'grpc',
               asks = CASE WHEN status = 'unknown' AND $4 = 'unknown' THEN asks + 1 ELSE 0 END,
               unanswerable = unanswerable + $11,
               next_ask_at = kassa_now() + make_interval(secs => $10::float8),
               unknown_since = least(CASE WHEN $4 IN ('unknown', 'parked') THEN unknown_since END,
                                     kassa_now() + make_interval(secs => CASE WHEN $4 IN ('unknown', 'parked') THEN 0 END)),
               held_by = NULL,
               updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND status = $3 AND (held_by IS NULL OR $4 = 'paid')
        RETURNING *)
    """,
    expects="1",
    unmet=PaymentMoved,
)
_VERDICT_NOW = _VERDICT.selecting(COLUMNS)


async def write_verdict(tx: Tx, payment: Payment, after: str, verdict: Verdict, *, holds: bool = True) -> Payment | None:
    """Move a payment from the status it was read in; None when it has another status by now.

    `holds` False: money that came beside another payment's must not hold the reference.
    """
    row = await tx.row(_VERDICT_NOW, *_told(payment, after, verdict, holds=holds))
    return payment_of(row) if row else None


async def write_yes(tx: Tx, payment: Payment, verdict: Verdict) -> Payment:
    """Move a payment to `paid` later; the payment as it is then. `PaymentMoved` if it has another status by then."""
    await tx.later(_VERDICT, *_told(payment, "paid", verdict, holds=True))
    return replace(
        payment,
        status="paid",
        captured_minor=payment.amount_minor,
        provider_ref=verdict.ref if verdict.ref is not None else payment.provider_ref,
        reason=None,
        message=verdict.message if verdict.message is not None else payment.message,
        pay_url=verdict.url if verdict.url is not None else payment.pay_url,
        asks=0,
        unanswerable=payment.unanswerable + verdict.unanswerable,
        next_ask_at=None,
        unknown_since=None,
        held_by=None,
    )


def _told(payment: Payment, after: str, verdict: Verdict, *, holds: bool) -> tuple[Any, ...]:
    return (
        payment.merchant_id, payment.payment_id, payment.status, after, verdict.ref, verdict.code, verdict.message,
        verdict.url, holds and after in HOLDS, verdict.ask_in_s, int(verdict.unanswerable),
    )  # fmt: skip


async def write_verdicts(tx: Tx, verdicts: Sequence[tuple[Payment, Verdict]], after: Sequence[str]) -> dict[uuid.UUID, Payment]:
    """Move many payments of one merchant from the statuses they were read in; those that had others by now are left out."""
    columns = placeholders(
        [
            (payment.payment_id, payment.status, status, verdict.ref, verdict.code, verdict.message, verdict.ask_in_s)
            for (payment, verdict), status in zip(verdicts, after, strict=True)
        ],
        7,
    )
    rows = await tx.rows(
        f"""
        UPDATE payments p SET
               status = v.after,
               captured_minor = CASE WHEN v.after = 'paid' THEN p.amount_minor ELSE p.captured_minor END,
               provider_ref = coalesce(v.ref, p.provider_ref),
               reason = CASE WHEN v.after = 'paid' THEN NULL ELSE coalesce(v.code, p.reason) END,
               message = coalesce(v.message, p.message),
               holds_reference = v.after = ANY ($9) AND p.ref_kind <> 'grpc',
               next_ask_at = v.ask_at,
               updated_at = kassa_now()
          FROM (SELECT id, before, after, ref, code, message, kassa_now() + make_interval(secs => ask_in) AS ask_at
                  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[])
                    AS v (id, before, after, ref, code, message, ask_in) OFFSET 0) AS v
         WHERE p.merchant_id = $1 AND p.payment_id = v.id AND p.status = v.before AND p.held_by IS NULL
        RETURNING {", ".join("p." + name.strip() for name in WRITTEN.split(","))}
        """,
        verdicts[0][0].merchant_id, *columns, sorted(HOLDS),
    )  # fmt: skip
    return {row["payment_id"]: payment_of(row) for row in rows}


async def note_sending(tx: Tx, payment: Payment) -> Payment:
    """One more sending under the same key, now."""
    row = await tx.row(
        f"""
        UPDATE payments SET sends = sends + 1, last_sent_at = kassa_now(), updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND status = $3
        RETURNING {WRITTEN}
        """,
        payment.merchant_id, payment.payment_id, payment.status,
    )  # fmt: skip
    if row is None:
        raise PaymentMissing
    return payment_of(row)


async def note_late_look(tx: Tx, payment: Payment, ask_in_s: float | None) -> Payment:
    """Note that a given-up payment was looked at, and when it is looked at again; the payment as it is then."""
    row = await tx.row(
        f"""
        WITH looked AS (
            UPDATE payments SET asks = asks + 1, next_ask_at = kassa_now() + make_interval(secs => $4::float8)
             WHERE merchant_id = $1 AND payment_id = $2 AND status = 'declined' AND asks = $3
            RETURNING *
        )
        SELECT {COLUMNS} FROM looked
        """,
        payment.merchant_id, payment.payment_id, payment.asks, ask_in_s,
    )  # fmt: skip
    return payment_of(row) if row else await lock(tx, payment.merchant_id, payment.payment_id)


async def insert_refund(
    tx: Tx, payment: Payment, refund_id: uuid.UUID, amount_minor: int, provider_key: str, *, owed: bool, reason: str | None
) -> tuple[Payment, Refund]:
    """Write a pending refund and take its sum from what can be given back (the payment's row is locked)."""
    row = await tx.row(
        f"""
        WITH r AS (
            INSERT INTO refunds (merchant_id, refund_id, payment_id, amount_minor, currency, status, owed, reason, provider_key,
                                 next_at, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, kassa_now(), kassa_now(), kassa_now())
            RETURNING *
        )
        SELECT {_REFUND_WRITTEN} FROM r
        """,
        payment.merchant_id, refund_id, payment.payment_id, amount_minor, payment.currency, owed, reason, provider_key,
    )  # fmt: skip
    paid = await tx.row(
        f"""
        UPDATE payments SET refunding_minor = refunding_minor + $3, updated_at = kassa_now(),
               status = CASE WHEN refunded_minor + refunding_minor + $3 = captured_minor THEN 'refunding' ELSE status END
         WHERE merchant_id = $1 AND payment_id = $2
        RETURNING {WRITTEN}
        """,
        payment.merchant_id, payment.payment_id, amount_minor,
    )  # fmt: skip
    assert row is not None
    assert paid is not None
    return payment_of(paid), _refund(row)


async def insert_refund_lines(tx: Tx, refund: Refund, lines: Sequence[RefundLine]) -> None:
    """Note which lines of an order a refund gives back."""
    columns = placeholders([(line.line_id, line.quantity, line.amount_minor, line.restock) for line in lines], 4)
    await tx.execute(
        """
        INSERT INTO refund_lines (merchant_id, refund_id, line_id, quantity, amount_minor, restock)
        SELECT $1, $2, * FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::boolean[])
        """,
        refund.merchant_id, refund.refund_id, *columns,
    )  # fmt: skip


async def find_refund(reader: Reader, merchant_id: str, refund_id: uuid.UUID) -> Refund | None:
    """One refund, or None."""
    row = await reader.row(f"SELECT {_REFUND} FROM refunds r WHERE merchant_id = $1 AND refund_id = $2", merchant_id, refund_id)
    return _refund(row) if row else None


async def claim_refund(db: Database, refund: Refund, lease_s: float) -> Refund | None:
    """Take the lease of a refund that is still to be sent, and count the sending; None when somebody has it."""
    row = await db.row(
        f"""
        WITH r AS (
            UPDATE refunds SET lease_until = now() + make_interval(secs => $3), lease_version = lease_version + 1,
                   sends = sends + 1, first_sent_at = least(first_sent_at, kassa_now()), updated_at = kassa_now()
             WHERE merchant_id = $1 AND refund_id = $2 AND status IN ('pending', 'parked') AND next_at IS NOT NULL
               AND (lease_until IS NULL OR lease_until < now())
            RETURNING *
        )
        SELECT {_REFUND_WRITTEN} FROM r
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
        WITH r AS (
            UPDATE refunds SET status = $3, provider_ref = coalesce($4, provider_ref), message = coalesce($5, message),
                   next_at = kassa_now() + make_interval(secs => $6::float8), lease_until = NULL, updated_at = kassa_now()
             WHERE merchant_id = $1 AND refund_id = $2 AND status IN ('pending', 'parked')
            RETURNING *
        )
        SELECT {_REFUND_WRITTEN} FROM r
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
        RETURNING {WRITTEN}
        """,
        payment.merchant_id, payment.payment_id, taken, given,
    )  # fmt: skip
    if row is None:
        raise PaymentMissing
    return payment_of(row)


async def refunds_of(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> list[Refund]:
    """The refunds of a payment, oldest first."""
    rows = await reader.rows(
        f"SELECT {_REFUND} FROM refunds r WHERE merchant_id = $1 AND payment_id = $2 ORDER BY created_at, refund_id",
        merchant_id, payment_id,
    )  # fmt: skip
    return [_refund(row) for row in rows]


async def due_refunds(reader: Reader, limit: int) -> list[Refund]:
    """Refunds that are due and that nobody is sending, oldest first, across merchants."""
    rows = await reader.rows(
        f"""
        SELECT {_REFUND} FROM refunds r
         WHERE next_at <= kassa_now() AND (lease_until IS NULL OR lease_until < now()) ORDER BY next_at LIMIT $1
        """,
        limit,
    )
    return [_refund(row) for row in rows]


async def in_doubt(reader: Reader, provider: str, limit: int) -> list[Payment]:
    """Payments of a provider that are `unknown`, the longest first, across merchants."""
    rows = await reader.rows(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE unknown_since IS NOT NULL AND status = 'unknown' AND provider = $1 ORDER BY unknown_since LIMIT $2
        """,
        provider, limit,
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def waiting_refunds(reader: Reader, provider: str, limit: int) -> list[Refund]:
    """Refunds that a provider was told of and that are to be told again, due or not, across merchants."""
    rows = await reader.rows(
        f"""
        SELECT {_REFUND} FROM refunds r
         WHERE next_at IS NOT NULL AND sends > 0 AND (lease_until IS NULL OR lease_until < now())
           AND EXISTS (SELECT 1 FROM payments p WHERE p.merchant_id = r.merchant_id
                          AND p.payment_id = r.payment_id AND p.provider = $1)
         ORDER BY next_at LIMIT $2
        """,
        provider, limit,
    )  # fmt: skip
    return [_refund(row) for row in rows]


async def forget(tx: Tx, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> int:
    """Erase what is left of cards, and the free text of providers and people, of payments and their refunds.

    Returns how many payments had any. Amounts, statuses, codes and providers' ids stay: the books and any dispute need them.
    """
    erased: int = await tx.value(
        """
        WITH paid AS (
            UPDATE payments SET card_brand = NULL, card_first6 = NULL, card_last4 = NULL, card_fingerprint = NULL, message = NULL
             WHERE merchant_id = $1 AND payment_id = ANY ($2)
               AND num_nonnulls(card_brand, card_first6, card_last4, card_fingerprint, message) > 0
            RETURNING payment_id
        ), returned AS (
            UPDATE refunds SET reason = CASE WHEN owed THEN reason END, message = NULL
             WHERE merchant_id = $1 AND payment_id = ANY ($2) AND (message IS NOT NULL OR (NOT owed AND reason IS NOT NULL))
            RETURNING payment_id
        )
        SELECT count(*) FROM (SELECT payment_id FROM paid UNION SELECT payment_id FROM returned) erased
        """,
        merchant_id, list(payment_ids),
    )  # fmt: skip
    return erased
