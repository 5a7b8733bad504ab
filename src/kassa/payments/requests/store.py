"""Every question about payments that somebody else's system asked for: by a reference or a key of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kassa.events import announce_first, first_event
from kassa.kit import trace
from kassa.kit.database import Database, Reader, Tx
from kassa.payments.model import Asked, Details, Filter, Payment, Place
from kassa.payments.routing import Choice, Rule
from kassa.payments.store import COLUMNS, WRITTEN, PaymentMissing, payment_of

if TYPE_CHECKING:
    from kassa.payments.open import Opening


_INSERT = """
    INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, holds_reference, provider, method, script, status, currency,
                          amount_minor, provider_key, sends, last_sent_at, expires_at, created_at, updated_at, next_ask_at,
                          quantity, ref_is_number, event_ref, client_key, metadata, routed_to, routing)
    VALUES ($1, $2, $3, $4, $3 <> 'grpc', $5, $6, $7, 'opened', $8, $9, $10, $11, CASE WHEN $11 > 0 THEN kassa_now() END,
            kassa_now() + $12::interval, kassa_now(), kassa_now(), kassa_now() + $13::interval, $14, $15, $16, $17, $18, $19,
            $20)
    ON CONFLICT DO NOTHING
"""
_MADE_AND_TOLD = f"""
    WITH made AS ({_INSERT} RETURNING created_at), told AS (
        SELECT $21::uuid AS event_id, $22::text AS subject, 'payment.created' AS type, $23::json AS data, $24::text AS traceparent
          FROM made
    )
"""


async def insert_requested(tx: Tx, opening: Opening, asked: Asked) -> Payment | None:
    """Write a payment that a merchant asked for; None when another one holds its reference or has its key."""
    row = await tx.row(f"{_INSERT} RETURNING {WRITTEN}", *_values(opening, asked))
    return payment_of(row) if row else None


async def insert_and_tell(
    db: Database,
    name: str,
    opening: Opening,
    asked: Asked,
    event_id: uuid.UUID,
    data: Mapping[str, Any],
    patience_s: float,
) -> datetime | None:
    """The same and its first event in one statement, as a transaction called `name`; when it was made, or None."""
    subject = f"payment:{opening.payment_id}"
    sql = f"{_MADE_AND_TOLD}, {first_event(db)} SELECT created_at FROM made"
    row = await db.at_once(name, sql, *_values(opening, asked), event_id, subject, data, trace.kept(), patience_s=patience_s)
    if row is None:
        return None
    announce_first(db, "payment.created", subject)
    made_at: datetime = row["created_at"]
    return made_at


def _values(opening: Opening, asked: Asked) -> tuple[object, ...]:
    route = asked.route
    return (
        opening.merchant_id, opening.payment_id, opening.ref_kind, opening.ref, opening.provider, opening.method, opening.script,
        opening.amount.currency, opening.amount.minor, opening.provider_key, 1 if opening.sending else 0, opening.expires_in,
        asked.look_in, asked.quantity, asked.ref_is_number, asked.event_ref, asked.client_key, asked.metadata,
        route.provider if route else None, [{"provider": route.provider, "why": route.why}] if route else None,
    )  # fmt: skip


async def holder(reader: Reader, merchant_id: str, ref_kind: str, ref: str) -> Payment | None:
    """The one live or paid payment of a reference."""
    row = await reader.row(
        f"SELECT {COLUMNS} FROM payments WHERE merchant_id = $1 AND ref = $2 AND ref_kind = $3 AND holds_reference",
        merchant_id, ref, ref_kind,
    )  # fmt: skip
    return payment_of(row) if row else None


async def by_client_key(reader: Reader, merchant_id: str, client_key: str) -> Payment | None:
    """The payment that was asked for under a key."""
    row = await reader.row(f"SELECT {COLUMNS} FROM payments WHERE merchant_id = $1 AND client_key = $2", merchant_id, client_key)
    return payment_of(row) if row else None


async def details(reader: Reader, merchant_id: str, payment_id: uuid.UUID) -> Details:
    """What is seldom asked for of a payment. Raises `PaymentMissing`."""
    row = await reader.row(
        """
        SELECT event_ref, client_key, metadata, routing, token_plan, updated_at FROM payments
         WHERE merchant_id = $1 AND payment_id = $2
        """,
        merchant_id, payment_id,
    )  # fmt: skip
    if row is None:
        raise PaymentMissing
    return Details(**dict(row.items()))


async def note_token(tx: Tx, payment: Payment, plan_id: str) -> None:
    """Remember whose token a payment spent."""
    await tx.execute(
        "UPDATE payments SET token_plan = $3 WHERE merchant_id = $1 AND payment_id = $2",
        payment.merchant_id, payment.payment_id, plan_id,
    )  # fmt: skip


async def forget_token(tx: Tx, merchant_id: str, payment_id: uuid.UUID) -> str | None:
    """The plan whose token a payment spent, and none from now on."""
    plan: str | None = await tx.value(
        """
        WITH spent AS (SELECT token_plan FROM payments WHERE merchant_id = $1 AND payment_id = $2 FOR UPDATE)
        UPDATE payments p SET token_plan = NULL FROM spent
         WHERE p.merchant_id = $1 AND p.payment_id = $2 AND p.token_plan IS NOT NULL
        RETURNING spent.token_plan
        """,
        merchant_id, payment_id,
    )  # fmt: skip
    return plan


async def note_url(tx: Tx, payment: Payment, url: str) -> None:
    """Keep a link that came after the payment had moved on already."""
    await tx.execute(
        "UPDATE payments SET pay_url = coalesce(pay_url, $3) WHERE merchant_id = $1 AND payment_id = $2",
        payment.merchant_id, payment.payment_id, url,
    )  # fmt: skip


async def write_route(tx: Tx, payment: Payment, choice: Choice, outcome: str) -> Payment | None:
    """Note where a payment goes now, and what became of where it went before; None when it has another status by now."""
    row = await tx.row(
        f"""
        UPDATE payments
           SET routing = jsonb_set(routing, '{{-1,outcome}}', to_jsonb($4::text))
                      || jsonb_build_object('provider', $5::text, 'why', $6::text),
               routed_to = $5, sends = sends + 1, last_sent_at = kassa_now(), updated_at = kassa_now()
         WHERE merchant_id = $1 AND payment_id = $2 AND status = $3
        RETURNING {WRITTEN}
        """,
        payment.merchant_id, payment.payment_id, payment.status, outcome, choice.provider, choice.why,
    )  # fmt: skip
    return payment_of(row) if row else None


async def routes(reader: Reader, merchant_id: str, alias: str) -> list[Rule]:
    """The rules of an alias that count for a merchant: its own, or those for all; in their order."""
    rows = await reader.rows(
        """
        SELECT merchant_id, position, provider, currency, min_minor, max_minor, share FROM routes
         WHERE merchant_id IN ($1, '*') AND alias = $2 AND enabled ORDER BY position
        """,
        merchant_id, alias,
    )  # fmt: skip
    own = [row for row in rows if row["merchant_id"] != "*"] or rows
    return [Rule(**{name: value for name, value in row.items() if name != "merchant_id"}) for row in own]


async def add_route(tx: Tx, merchant_id: str, alias: str, rule: Rule) -> bool:
    """Add a rule to an alias; False, and nothing changes, when there is one at that position."""
    return bool(
        await tx.execute(
            """
            INSERT INTO routes (merchant_id, alias, position, provider, currency, min_minor, max_minor, share)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
            """,
            merchant_id, alias, rule.position, rule.provider, rule.currency, rule.min_minor, rule.max_minor, rule.share,
        )
    )  # fmt: skip


_FITS = """merchant_id = $1 AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::text IS NULL OR ref = $3)
    AND ($4::text IS NULL OR $4 = CASE WHEN position(':' IN method) > 0 THEN split_part(method, ':', 2) ELSE provider END)
    AND ($5::timestamptz IS NULL OR created_at >= $5) AND ($6::timestamptz IS NULL OR created_at <= $6)"""


def _wanted(merchant_id: str, wanted: Filter) -> tuple[object, ...]:
    statuses = None if wanted.statuses is None else list(wanted.statuses)
    return merchant_id, statuses, wanted.ref, wanted.alias, wanted.created_from, wanted.created_to


async def page(reader: Reader, merchant_id: str, wanted: Filter, offset: int, limit: int) -> list[Payment]:
    """So many payments from a place on, newest first."""
    rows = await reader.rows(
        f"SELECT {COLUMNS} FROM payments WHERE {_FITS} ORDER BY created_at DESC, payment_id DESC OFFSET $7 LIMIT $8",
        *_wanted(merchant_id, wanted), offset, limit,
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def page_after(reader: Reader, merchant_id: str, wanted: Filter, after: Place, limit: int) -> list[Payment]:
    """So many payments older than a place, newest first: as fast far down as at the top."""
    rows = await reader.rows(
        f"""
        SELECT {COLUMNS} FROM payments WHERE {_FITS} AND (created_at, payment_id) < ($7, $8)
         ORDER BY created_at DESC, payment_id DESC LIMIT $9
        """,
        *_wanted(merchant_id, wanted), after.created_at, after.payment_id, limit,
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def count(reader: Reader, merchant_id: str, wanted: Filter) -> int:
    """How many payments fit."""
    found: int = await reader.value(f"SELECT count(*) FROM payments WHERE {_FITS}", *_wanted(merchant_id, wanted))
    return found


async def due(reader: Reader, limit: int) -> list[Payment]:
    """Payments of no order that somebody should look at now, oldest first, across merchants: a plain read."""
    rows = await reader.rows(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE next_ask_at <= kassa_now() AND ref_kind <> 'order' ORDER BY next_ask_at LIMIT $1
        """,
        limit,
    )
    return [payment_of(row) for row in rows]


async def lock_due(tx: Tx, merchant_id: str, payment_ids: Sequence[uuid.UUID]) -> list[Payment]:
    """Those of a merchant's due payments that nobody else looks at, under their locks."""
    rows = await tx.rows(
        f"""
        SELECT {COLUMNS} FROM payments
         WHERE merchant_id = $1 AND payment_id = ANY ($2) AND next_ask_at <= kassa_now() ORDER BY payment_id FOR UPDATE SKIP LOCKED
        """,
        merchant_id, list(payment_ids),
    )  # fmt: skip
    return [payment_of(row) for row in rows]


async def look_again_in(tx: Tx, merchant_id: str, payment_ids: Sequence[uuid.UUID], wait_s: float) -> None:
    """Leave payments to nobody else for so many seconds."""
    await tx.execute(
        """
        UPDATE payments SET next_ask_at = kassa_now() + make_interval(secs => $3)
         WHERE merchant_id = $1 AND payment_id = ANY ($2) AND next_ask_at IS NOT NULL
        """,
        merchant_id, list(payment_ids), wait_s,
    )  # fmt: skip


async def disable_route(tx: Tx, merchant_id: str, alias: str, position: int) -> bool:
    """Switch a rule off; False when there is none at that position that is on."""
    return bool(
        await tx.execute(
            "UPDATE routes SET enabled = false WHERE merchant_id = $1 AND alias = $2 AND position = $3 AND enabled",
            merchant_id, alias, position,
        )
    )  # fmt: skip
