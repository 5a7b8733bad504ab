"""Payme's attempts and the payments that they are about tell one story; buyers have what is paid (invariants 3 and 6)."""

from __future__ import annotations

from kassa.verify.model import ORDERS, PAYMENTS, Question

_CHARGED_FOR = "interval '24 hours 30 minutes'"
"""A day of asking, and half an hour's grace."""

_HOLDERS = Question(
    6,
    "A payment is held by an attempt that is over, or an attempt holds a payment that does not know",
    """
    SELECT coalesce(p.merchant_id, t.merchant_id), 'payment:' || coalesce(p.payment_id, t.payment_id),
           format('%s, held by %s, attempt in state 1: %s', coalesce(p.status, 'missing'), coalesce(p.held_by::text, 'none'),
                  coalesce(t.transaction_id::text, 'none'))
      FROM (SELECT * FROM payments WHERE held_by IS NOT NULL AND @(merchant_id, payment_id)) p
      FULL JOIN (SELECT * FROM payme_transactions WHERE state = 1 AND @(merchant_id, payment_id)) t
        ON t.merchant_id = p.merchant_id AND t.payment_id = p.payment_id AND t.transaction_id = p.held_by
     WHERE p.held_by IS NULL OR t.transaction_id IS NULL
    """,
    walk=PAYMENTS,
)

_PERFORMED = Question(
    3,
    "Payme has performed or returned what its payment does not show, or a payment is paid that Payme has not performed",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('%s, captured %s, refunded %s; performed %s, returned %s, of %s', p.status, p.captured_minor, p.refunded_minor,
                  coalesce(t.performed, 0), coalesce(t.returned, 0), p.amount_minor)
      FROM payments p
      LEFT JOIN LATERAL (
           SELECT count(*) FILTER (WHERE state IN (2, -2)) AS performed, count(*) FILTER (WHERE state = -2) AS returned
             FROM payme_transactions x WHERE x.merchant_id = p.merchant_id AND x.payment_id = p.payment_id) t ON true
     WHERE p.provider = 'payme' AND @(p.merchant_id, p.payment_id)
       AND ((p.captured_minor > 0) <> (coalesce(t.performed, 0) > 0) OR coalesce(t.performed, 0) > 1
            OR (coalesce(t.returned, 0) > 0 AND p.refunded_minor <> p.captured_minor))
       -- What a person says of a payment or a refund counts without Payme.
       AND coalesce(p.message, '') NOT LIKE 'By hand:%'
    """,
    walk=PAYMENTS,
)

_AMOUNTS = Question(
    6,
    "An attempt of Payme is for another sum or currency than its payment",
    """
    SELECT t.merchant_id, 'payment:' || t.payment_id, format('%s tiyin, payment %s %s', t.amount_minor, p.amount_minor, p.currency)
      FROM payme_transactions t JOIN payments p USING (merchant_id, payment_id)
     WHERE (t.amount_minor <> p.amount_minor OR p.currency <> 'UZS') AND @(t.merchant_id, t.payment_id)
    """,
    walk=PAYMENTS,
)

_BOUGHT = Question(
    3,
    "A buyer has not exactly the lines of a paid order of ambassadors",
    """
    SELECT o.merchant_id, 'order:' || o.order_id, format('%s: %s, bought %s', l.product_id, o.status, b.given_back_at IS NULL)
      FROM orders o
      JOIN order_lines l ON l.merchant_id = o.merchant_id AND l.order_id = o.order_id
      LEFT JOIN bought_lines b ON b.merchant_id = l.merchant_id AND b.order_id = l.order_id AND b.product_id = l.product_id
     WHERE o.channel = 'ambassadors' AND @(o.merchant_id, o.order_id)
       AND ((o.status NOT IN ('pending', 'cancelled')) <> (b.line_id IS NOT NULL AND b.given_back_at IS NULL)
            OR b.price_minor <> l.total_minor)
    """,
    walk=ORDERS,
)

_FORGOTTEN = Question(
    5,
    "An attempt of Payme is in state 1 30 minutes past its end",
    """
    SELECT merchant_id, 'payment:' || payment_id,
           format('attempt %s, over since %s', transaction_id, to_timestamp(deadline_ms / 1000))
      FROM payme_transactions
     WHERE state = 1 AND deadline_ms < extract(epoch FROM kassa_now() - interval '30 minutes') * 1000
    """,
)

_CHARGES = Question(
    3,
    "A charge of a card at Payme is called paid, and its payment has no money",
    """
    SELECT c.merchant_id, 'payment:' || c.payment_id, format('%s, captured %s', p.status, p.captured_minor)
      FROM payme_charges c JOIN payments p USING (merchant_id, payment_id)
     WHERE c.state = 'paid' AND p.captured_minor = 0 AND @(c.merchant_id, c.payment_id)
    """,
    walk=PAYMENTS,
)

_STRAY_CHARGES = Question(
    3,
    "A charge of a card at Payme belongs to no payment at Payme",
    """
    SELECT c.merchant_id, 'payment:' || c.payment_id, coalesce('its provider is ' || p.provider, 'it is not there')
      FROM payme_charges c LEFT JOIN payments p USING (merchant_id, payment_id)
     WHERE p.provider IS DISTINCT FROM 'payme' AND @(c.merchant_id, c.payment_id)
    """,
    walk=PAYMENTS,
)

_CHARGED = Question(
    5,
    "A charge of a card at Payme has not come to its end",
    f"""
    SELECT merchant_id, 'payment:' || payment_id,
           format('%s since %s, asked %s times', state, date_trunc('second', created_at), asks)
      FROM payme_charges
     WHERE state IN ('begun', 'paying') AND created_at < kassa_now() - {_CHARGED_FOR} AND @(merchant_id, payment_id)
    """,
    walk=PAYMENTS,
)

QUESTIONS = (_HOLDERS, _PERFORMED, _AMOUNTS, _BOUGHT, _FORGOTTEN, _CHARGES, _STRAY_CHARGES, _CHARGED)
