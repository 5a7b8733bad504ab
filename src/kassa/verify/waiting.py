"""Invariant 5: nothing is left lying. Deadlines are the product's, with half an hour's grace; exceptions are ruling 12's."""

from __future__ import annotations

from kassa.verify.model import CHECKOUTS, PAYMENTS, Question

_SLACK = "interval '30 minutes'"
_ASKED_FOR = "interval '73 hours'"
"""72 h, and the hourly question that notices that they are over."""
_TRIED_FOR = "interval '24 hours 30 minutes'"

_CHECKOUTS = Question(
    5,
    "A checkout is unfinished 30 minutes past its deadline",
    f"""
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('%s since %s, deadline %s', c.status, date_trunc('second', c.updated_at),
                  coalesce(date_trunc('second', c.deadline)::text, 'none'))
      FROM checkouts c
      LEFT JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
     WHERE c.status IN ('started', 'reserved', 'paying', 'paid') AND @(c.merchant_id, c.checkout_id)
       AND coalesce(c.deadline, c.created_at) < kassa_now() - {_SLACK}
       AND p.status IS DISTINCT FROM 'unknown' AND p.held_by IS NULL
    """,
    walk=CHECKOUTS,
)

_UNDOING = Question(
    5,
    "An undo has not come to its end",
    f"""
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('%s since %s, undone since %s', c.status, date_trunc('second', c.updated_at),
                  coalesce(date_trunc('second', s.since)::text, 'never'))
      FROM checkouts c
      LEFT JOIN LATERAL (
           SELECT min(undo_since) AS since FROM checkout_steps x
            WHERE x.merchant_id = c.merchant_id AND x.checkout_id = c.checkout_id AND x.status = 'undoing') s ON true
     WHERE @(c.merchant_id, c.checkout_id)
       AND ((c.status IN ('undoing', 'returning')
            AND greatest(c.deadline, c.updated_at) < kassa_now() - {_SLACK}
            AND coalesce(s.since, '-infinity') < kassa_now() - {_TRIED_FOR})
        OR (c.status = 'completed' AND s.since < kassa_now() - {_TRIED_FOR}
            AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.merchant_id = c.merchant_id AND k.closed_at IS NULL
                               AND k.subject = 'checkout:' || c.checkout_id)))
    """,
    walk=CHECKOUTS,
)

_UNKNOWN = Question(
    5,
    "A payment is unknown beyond 72 h without being parked",
    f"""
    SELECT merchant_id, 'payment:' || payment_id,
           format('unknown since %s, asked %s times', date_trunc('second', unknown_since), asks)
      FROM payments
     WHERE status = 'unknown' AND coalesce(unknown_since, created_at) < kassa_now() - {_ASKED_FOR} AND @(merchant_id, payment_id)
    """,
    walk=PAYMENTS,
)

_REFUNDS = Question(
    5,
    "A refund has been pending for longer than its plan without a person",
    f"""
    SELECT r.merchant_id, 'refund:' || r.refund_id,
           format('pending since %s, sent %s times', date_trunc('second', r.created_at), r.sends)
      FROM refunds r JOIN payments p ON p.merchant_id = r.merchant_id AND p.payment_id = r.payment_id
     WHERE @(r.merchant_id, r.payment_id) AND r.status = 'pending' AND coalesce(r.first_sent_at, r.created_at)
         < kassa_now() - CASE WHEN p.provider IN ('link', 'external') THEN {_ASKED_FOR} ELSE {_TRIED_FOR} END
    """,
    walk=PAYMENTS,
)

_REQUESTED = Question(
    5,
    "A payment of no order is pending 30 minutes past its end",
    f"""
    SELECT merchant_id, 'payment:' || payment_id, format('%s, to be closed at %s', status, date_trunc('second', expires_at))
      FROM payments
     WHERE ref_kind <> 'order' AND status IN ('opened', 'waiting') AND held_by IS NULL
       AND expires_at < kassa_now() - {_SLACK} AND @(merchant_id, payment_id)
    """,
    walk=PAYMENTS,
)

_HELD = Question(
    5,
    "Stock is held 30 minutes past its time for a payment that is not known",
    f"""
    SELECT r.merchant_id, 'checkout:' || r.checkout_id,
           format('%s of %s until %s, checkout %s, payment %s', r.quantity, r.product_id, date_trunc('second', r.held_until),
                  c.status, p.status)
      FROM reservations r
      JOIN checkouts c USING (merchant_id, checkout_id)
      JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
     WHERE @(r.merchant_id, r.checkout_id)
       AND r.state = 'held' AND r.held_until < kassa_now() - {_SLACK} AND c.status IN ('paying', 'parked')
       AND p.status IN ('unknown', 'parked')
    """,
    walk=CHECKOUTS,
)

QUESTIONS = (_CHECKOUTS, _UNDOING, _UNKNOWN, _REFUNDS, _REQUESTED, _HELD)
