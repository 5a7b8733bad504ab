"""The one list of what waits for a person: money in doubt, and what else does not go on by itself.

Most of it is found by indexes that hold nothing but what waits, so the list costs what it shows. `reach` is the merchant whose
rows are meant; None: those of all, for an operator, with what concerns no merchant in particular.
"""

from __future__ import annotations

from datetime import datetime

from kassa.desk.model import Count, Waiting
from kassa.kit.database import Reader

_STANDS_STILL = "interval '10 minutes'"
"""After so long past its time a purchase does not move by itself any more, or something keeps it."""
_UNDOING_TAKES = "interval '1 minute'"
_REFUND_TAKES = "interval '1 hour'"

_DUE = "CASE WHEN c.status IN ('undoing', 'returning') THEN c.updated_at ELSE coalesce(c.deadline, c.updated_at) END"
"""When a purchase should have gone on: one that waits for its buyer has a deadline, one that is undone has none."""

_PAYMENTS = """
    SELECT p.merchant_id, 'payment', p.status, 'payment:' || p.payment_id,
           CASE p.ref_kind WHEN 'order' THEN 'order:' || p.ref END, NULL::uuid,
           p.amount_minor, p.currency, coalesce(p.routed_to, p.provider) || coalesce(': ' || p.message, ''), p.unknown_since
      FROM payments p
     WHERE p.unknown_since IS NOT NULL AND p.status IN ('unknown', 'parked') AND ($1::text IS NULL OR p.merchant_id = $1)
"""
_REFUNDS = f"""
    SELECT r.merchant_id, 'refund', r.status, 'refund:' || r.refund_id, 'payment:' || r.payment_id, NULL::uuid,
           r.amount_minor, r.currency, r.message, r.created_at
      FROM refunds r WHERE r.status = 'parked' AND ($1::text IS NULL OR r.merchant_id = $1)
    UNION ALL
    SELECT r.merchant_id, 'refund', r.status, 'refund:' || r.refund_id, 'payment:' || r.payment_id, NULL::uuid,
           r.amount_minor, r.currency, r.message, r.created_at
      FROM refunds r WHERE r.next_at IS NOT NULL AND r.status = 'pending' AND r.created_at < kassa_now() - {_REFUND_TAKES}
       AND ($1::text IS NULL OR r.merchant_id = $1)
"""
_HELD = f"""
    SELECT c.merchant_id, 'held', c.status, 'payment:' || c.payment_id, 'order:' || c.order_id, NULL::uuid,
           p.captured_minor - p.refunded_minor, p.currency, c.error, c.updated_at
      FROM checkouts c JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
     WHERE c.next_at IS NOT NULL AND c.status IN ('undoing', 'returning') AND c.updated_at < kassa_now() - {_UNDOING_TAKES}
       AND p.captured_minor > p.refunded_minor AND p.refunding_minor = 0 AND ($1::text IS NULL OR c.merchant_id = $1)
"""
# A payment in doubt has its own line, an attempt at Payme its own time, money that is held too.
_CHECKOUTS = f"""
    SELECT c.merchant_id, 'checkout', c.status, 'checkout:' || c.checkout_id, 'order:' || c.order_id, NULL::uuid,
           c.total_minor, c.currency, c.error, {_DUE}
      FROM checkouts c LEFT JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
     WHERE c.next_at IS NOT NULL AND c.status NOT IN ('completed', 'undone', 'parked')
       AND {_DUE} < kassa_now() - {_STANDS_STILL} AND c.updated_at < kassa_now() - {_UNDOING_TAKES}
       AND p.unknown_since IS NULL AND p.held_by IS NULL
       AND NOT (c.status IN ('undoing', 'returning') AND coalesce(p.captured_minor > p.refunded_minor, false))
       AND ($1::text IS NULL OR c.merchant_id = $1)
"""
_WEBHOOKS = """
    SELECT e.merchant_id, 'webhook', CASE e.status WHEN 'disabled' THEN 'endpoint_disabled' ELSE 'dead_letters' END,
           'endpoint:' || e.endpoint_id, NULL, NULL::uuid, NULL::bigint, NULL,
           CASE WHEN d.dead > 0 THEN d.dead || ' events were given up' ELSE 'its events wait until it is enabled' END
               || coalesce(' (' || e.disabled_reason || ')', ''), coalesce(d.since, e.updated_at)
      FROM endpoints e CROSS JOIN LATERAL (
           SELECT count(*) AS dead, min(x.ended_at) AS since FROM deliveries x
            WHERE x.merchant_id = e.merchant_id AND x.endpoint_id = e.endpoint_id AND x.status = 'failed') d
     WHERE e.deleted_at IS NULL AND (d.dead > 0 OR e.disabled_reason IN ('gone', 'failing'))
       AND ($1::text IS NULL OR e.merchant_id = $1)
"""
# A parked refund and a payment in doubt are listed as what they are; their cases would say the same once more.
_CASES = """
    SELECT k.merchant_id,
           CASE WHEN k.kind = 'invariant_broken' THEN 'breach' WHEN starts_with(k.kind, 'reconcile_') THEN 'reconcile'
                ELSE 'case' END,
           k.kind, k.subject, nullif(k.act, ''), k.case_id, k.amount_minor, k.currency, k.last_answer, k.opened_at
      FROM cases k
     WHERE k.closed_at IS NULL AND ($1::text IS NULL OR k.merchant_id = $1)
       AND NOT EXISTS (SELECT FROM refunds r
                        WHERE k.kind = 'refund_parked' AND r.merchant_id = k.merchant_id AND r.status = 'parked'
                          AND r.refund_id = CASE WHEN starts_with(k.subject, 'refund:')
                                                 THEN split_part(k.subject, ':', 2)::uuid END)
       AND NOT EXISTS (SELECT FROM checkouts c JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
                        WHERE k.kind = 'payment_unknown' AND c.merchant_id = k.merchant_id AND p.unknown_since IS NOT NULL
                          AND c.checkout_id = CASE WHEN starts_with(k.subject, 'checkout:')
                                                   THEN split_part(k.subject, ':', 2)::uuid END)
"""
_REPORTS = """
    SELECT '-', 'report', u.status, 'payment:' || u.payment_id, NULL, NULL::uuid, NULL::bigint, NULL,
           'it is looked for until 72 hours are over', u.received_at
      FROM inbox_unmatched u WHERE u.next_at IS NOT NULL AND $1::text IS NULL
"""
# What the watch found is a case until somebody closes it; closed and still broken it is listed all the same.
_BREACHES = """
    SELECT '-', 'breach', 'invariant_broken', 'invariant:' || f.invariant, NULL, NULL::uuid, NULL::bigint, NULL,
           f.breaches || ' found', coalesce(f.since, now())
      FROM verify_found f
     WHERE f.breaches > 0 AND $1::text IS NULL
       AND NOT EXISTS (SELECT FROM merchants m JOIN cases k USING (merchant_id)
                        WHERE k.closed_at IS NULL AND k.kind = 'invariant_broken' AND k.subject = 'invariant:' || f.invariant)
"""
_SORTS = (_PAYMENTS, _REFUNDS, _HELD, _CHECKOUTS, _WEBHOOKS, _CASES, _REPORTS, _BREACHES)
_ALL = " UNION ALL ".join(_SORTS)
_COLUMNS = "merchant_id, sort, kind, subject, about, case_id, amount_minor, currency, why, since"
_WAITING = f"WITH waiting ({_COLUMNS}) AS ({_ALL})"


async def list_waiting(
    reader: Reader,
    reach: str | None,
    *,
    sort: str | None = None,
    largest: bool = False,
    after: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[Waiting]:
    """What waits for a person, of one sort or of all: the oldest first, from behind `after` (since, subject), or the largest."""
    order = "currency, amount_minor DESC NULLS LAST, since, subject" if largest else "since, subject"
    rows = await reader.rows(
        f"""
        {_WAITING}
        SELECT {_COLUMNS}, extract(epoch FROM kassa_now() - since)::float8 AS age_s FROM waiting
         WHERE ($2::text IS NULL OR sort = $2) AND ($3::timestamptz IS NULL OR (since, subject) > ($3, $4::text))
         ORDER BY {order} LIMIT $5
        """,
        reach, sort, *(after or (None, None)), limit,
    )  # fmt: skip
    return [Waiting(**dict(row.items())) for row in rows]


async def count_waiting(reader: Reader, reach: str | None) -> list[Count]:
    """How many of each sort wait, with their money by currency."""
    rows = await reader.rows(
        f"""
        {_WAITING}
        SELECT sort, currency, count(*) AS count, coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM waiting
         GROUP BY sort, currency ORDER BY sort, currency NULLS LAST
        """,
        reach,
    )
    return [Count(**dict(row.items())) for row in rows]
