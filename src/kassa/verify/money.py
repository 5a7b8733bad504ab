"""Invariants 1 and 2: the books balance, and payments, refunds and orders say what the books say."""

from __future__ import annotations

from kassa.verify.model import ENTRIES, ORDERS, PAYMENTS, Question

PAID = "('paid', 'refunding', 'refunded', 'reversed')"
"""The statuses of a payment whose money was captured."""

_UNBALANCED = Question(
    1,
    "A ledger entry does not sum to zero",
    """
    SELECT merchant_id, 'entry:' || entry_id, sum(amount_minor) || ' ' || currency
      FROM ledger_lines WHERE @(merchant_id, entry_id)
     GROUP BY merchant_id, entry_id, currency HAVING sum(amount_minor) <> 0
    """,
    walk=ENTRIES,
)

_EMPTY = Question(
    1,
    "A ledger entry has no postings",
    """
    SELECT e.merchant_id, 'entry:' || e.entry_id, e.kind || ' of payment:' || e.payment_id
      FROM ledger_entries e LEFT JOIN ledger_postings p USING (merchant_id, entry_id)
     WHERE p.entry_id IS NULL AND @(e.merchant_id, e.entry_id)
    """,
    walk=ENTRIES,
)

_CAPTURES = Question(
    1,
    "A paid payment has not exactly one capture of its amount",
    f"""
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('%s of %s %s in %s entries', coalesce(sum(g.amount_minor), 0), p.amount_minor, p.currency,
                  count(DISTINCT e.entry_id))
      FROM payments p
      LEFT JOIN ledger_entries e ON e.merchant_id = p.merchant_id AND e.payment_id = p.payment_id AND e.kind = 'capture'
      LEFT JOIN ledger_postings g ON g.merchant_id = e.merchant_id AND g.entry_id = e.entry_id
           AND g.debit = 'provider:' || coalesce(p.routed_to, p.provider) AND g.credit = 'merchant:' || p.merchant_id
           AND g.currency = p.currency
     WHERE p.status IN {PAID} AND p.amount_minor > 0 AND @(p.merchant_id, p.payment_id)
     GROUP BY p.merchant_id, p.payment_id
    HAVING count(DISTINCT e.entry_id) <> 1 OR coalesce(sum(g.amount_minor), 0) <> p.amount_minor
    """,
    walk=PAYMENTS,
)

_STRAY_CAPTURES = Question(
    1,
    "A capture is booked for a payment that is not paid",
    f"""
    SELECT e.merchant_id, 'payment:' || e.payment_id, coalesce('the payment is ' || p.status, 'there is no such payment')
      FROM ledger_entries e LEFT JOIN payments p USING (merchant_id, payment_id)
     WHERE e.kind = 'capture' AND coalesce(p.status, '') NOT IN {PAID} AND @(e.merchant_id, e.payment_id)
    """,
    walk=PAYMENTS,
)

_REFUND_ENTRIES = Question(
    1,
    "A refund that succeeded has not exactly one entry of its amount",
    """
    SELECT r.merchant_id, 'refund:' || r.refund_id,
           format('%s of %s %s in %s entries', coalesce(sum(g.amount_minor), 0), r.amount_minor, r.currency,
                  count(DISTINCT e.entry_id))
      FROM refunds r
      LEFT JOIN ledger_entries e ON e.merchant_id = r.merchant_id AND e.payment_id = r.payment_id AND e.kind = 'refund'
           AND e.reference = r.refund_id::text
      LEFT JOIN ledger_postings g ON g.merchant_id = e.merchant_id AND g.entry_id = e.entry_id
           AND g.debit = 'merchant:' || r.merchant_id AND g.credit LIKE 'provider:%' AND g.currency = r.currency
     WHERE r.status = 'succeeded' AND @(r.merchant_id, r.payment_id)
     GROUP BY r.merchant_id, r.refund_id
    HAVING count(DISTINCT e.entry_id) <> 1 OR coalesce(sum(g.amount_minor), 0) <> r.amount_minor
    """,
    walk=PAYMENTS,
)

_STRAY_REFUNDS = Question(
    1,
    "A refund is booked that did not succeed",
    """
    SELECT e.merchant_id, 'payment:' || e.payment_id,
           coalesce('refund:' || r.refund_id || ' is ' || r.status, 'there is no refund ' || left(e.reference, 36))
      FROM ledger_entries e
      LEFT JOIN refunds r ON r.merchant_id = e.merchant_id AND r.payment_id = e.payment_id AND r.refund_id::text = e.reference
     WHERE e.kind = 'refund' AND r.status IS DISTINCT FROM 'succeeded' AND @(e.merchant_id, e.payment_id)
    """,
    walk=PAYMENTS,
)

_AMOUNTS = Question(
    2,
    "A payment's sums contradict each other",
    f"""
    SELECT merchant_id, 'payment:' || payment_id,
           format('%s: amount %s, captured %s, refunded %s, refunding %s', status, amount_minor, captured_minor,
                  refunded_minor, refunding_minor)
      FROM payments
     WHERE @(merchant_id, payment_id) AND (
           captured_minor > amount_minor OR refunded_minor + refunding_minor > captured_minor
        OR least(amount_minor, captured_minor, refunded_minor, refunding_minor) < 0
        OR captured_minor <> CASE WHEN status IN {PAID} THEN amount_minor ELSE 0 END
        OR (status = 'refunded' AND refunded_minor <> captured_minor)
        OR (status = 'refunding' AND refunded_minor + refunding_minor <> captured_minor)
        OR (status = 'paid' AND captured_minor > 0 AND refunded_minor + refunding_minor = captured_minor))
    """,
    walk=PAYMENTS,
)

_REFUNDS = Question(
    2,
    "A payment's refunds sum to something else than the payment says",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('refunded %s, by its refunds %s; refunding %s, by its refunds %s', p.refunded_minor,
                  coalesce(r.given, 0), p.refunding_minor, coalesce(r.under_way, 0))
      FROM payments p
      LEFT JOIN LATERAL (
           SELECT sum(amount_minor) FILTER (WHERE status = 'succeeded') AS given,
                  sum(amount_minor) FILTER (WHERE status IN ('pending', 'parked')) AS under_way,
                  min(currency) AS one, max(currency) AS other
             FROM refunds f WHERE f.merchant_id = p.merchant_id AND f.payment_id = p.payment_id) r ON true
     WHERE @(p.merchant_id, p.payment_id)
       AND (p.refunded_minor <> coalesce(r.given, 0) OR p.refunding_minor <> coalesce(r.under_way, 0)
            OR r.one <> p.currency OR r.other <> p.currency)
    """,
    walk=PAYMENTS,
)

_BALANCES = Question(
    2,
    "Captured minus refunded is not the payment's balance in the ledger",
    """
    SELECT coalesce(p.merchant_id, l.merchant_id), 'payment:' || coalesce(p.payment_id, l.payment_id),
           format('payment %s %s, ledger %s %s', p.captured_minor - p.refunded_minor, p.currency, coalesce(l.balance, 0),
                  l.currency)
      FROM (SELECT * FROM payments WHERE @(merchant_id, payment_id)) p
      FULL JOIN (
           SELECT e.merchant_id, e.payment_id, l.currency, sum(l.amount_minor) AS balance
             FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
            WHERE l.account LIKE 'provider:%' AND @(e.merchant_id, e.payment_id)
            GROUP BY e.merchant_id, e.payment_id, l.currency) l
        ON l.merchant_id = p.merchant_id AND l.payment_id = p.payment_id
     WHERE coalesce(p.captured_minor - p.refunded_minor, 0) <> coalesce(l.balance, 0)
        OR (l.balance <> 0 AND l.currency IS DISTINCT FROM p.currency)
    """,
    walk=PAYMENTS,
)

_LINES = Question(
    2,
    "An order's lines do not sum to its total",
    """
    SELECT o.merchant_id, 'order:' || o.order_id,
           format('%s lines of %s; lines %s + shipping %s + tax %s - discount %s, total %s', count(l.product_id),
                  coalesce(sum(l.total_minor), 0), o.lines_minor, o.shipping_minor, o.tax_minor, o.discount_minor,
                  o.total_minor)
      FROM orders o LEFT JOIN order_lines l USING (merchant_id, order_id)
     WHERE @(o.merchant_id, o.order_id)
     GROUP BY o.merchant_id, o.order_id
    HAVING count(l.product_id) = 0 OR sum(l.total_minor) <> o.lines_minor
        OR bool_or(l.total_minor <> l.price_minor * l.quantity)
        OR o.lines_minor + o.shipping_minor + o.tax_minor - o.discount_minor <> o.total_minor
    """,
    walk=ORDERS,
)

_TOTALS = Question(
    2,
    "An order, its payment and its checkout do not name the same sum",
    """
    SELECT o.merchant_id, 'order:' || o.order_id,
           format('order %s %s, payment %s %s, checkout %s %s', o.total_minor, o.currency, p.amount_minor, p.currency,
                  c.total_minor, c.currency)
      FROM orders o
      JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
      JOIN checkouts c ON c.merchant_id = o.merchant_id AND c.checkout_id = o.checkout_id
     WHERE @(o.merchant_id, o.order_id)
       AND ((p.amount_minor, p.currency) <> (o.total_minor, o.currency)
            OR (c.total_minor, c.currency) IS DISTINCT FROM (o.total_minor, o.currency))
    """,
    walk=ORDERS,
)

QUESTIONS = (
    _UNBALANCED, _EMPTY, _CAPTURES, _STRAY_CAPTURES, _REFUND_ENTRIES, _STRAY_REFUNDS, _AMOUNTS, _REFUNDS, _BALANCES, _LINES,
    _TOTALS,
)  # fmt: skip
