"""Invariant 3: a purchase is whole. Checkout, order, payment and stock tell the same end, and no money belongs nowhere."""

from __future__ import annotations

from kassa.verify.model import CHECKOUTS, ORDERS, PAYMENTS, STOCK, Question, values
from kassa.verify.stock import came_back

_KNOWN = {"parked", "paid", "declined", "expired", "cancelled", "refunding", "refunded", "reversed"}
"""Nothing that a buyer may still pay."""

_PAYMENT_OF = {
    "started": {"opened"},
    "reserved": {"opened"},  # cash on delivery
    "paying": {"opened", "waiting", "unknown"},
    "paid": {"paid"},
    "completed": {"paid", "refunding", "refunded", "reversed", "opened", "cancelled"},  # the last two: cash, see below
    "undoing": _KNOWN | {"unknown"},
    "undone": _KNOWN - {"paid"} | {"unknown"},
    "returning": {"paid", "refunding", "refunded", "reversed"},
    "parked": _KNOWN | {"unknown"},
}
"""What a payment may be, by the status of its checkout."""

_PAYMENTS = Question(
    3,
    "A checkout and its payment contradict each other",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('checkout %s (%s), payment %s, order %s', c.status, c.method, coalesce(p.status, 'missing'), o.status)
      FROM checkouts c
      LEFT JOIN payments p ON p.merchant_id = c.merchant_id AND p.payment_id = c.payment_id
      LEFT JOIN orders o ON o.merchant_id = c.merchant_id AND o.order_id = c.order_id
     WHERE c.payment_id IS NOT NULL AND @(c.merchant_id, c.checkout_id)
       -- A free order has no money to return when it is cancelled.
       AND NOT coalesce(p.amount_minor = 0 AND p.status = 'paid' AND c.status IN ('completed', 'undone'), false)
       AND ((c.status, coalesce(p.status, 'missing')) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
            OR (c.status = 'completed' AND CASE p.status
                WHEN 'opened' THEN c.method <> 'cash_on_delivery' OR o.status NOT IN ('processing', 'shipped')
                WHEN 'cancelled' THEN c.method <> 'cash_on_delivery' OR o.status <> 'cancelled'
                WHEN 'paid' THEN o.status = 'cancelled'
                ELSE false END))
    """,
    values((checkout, payment) for checkout, payments in _PAYMENT_OF.items() for payment in payments),
    walk=CHECKOUTS,
)

_ORDERS = Question(
    3,
    "A checkout has not its one order",
    """
    SELECT coalesce(c.merchant_id, o.merchant_id), 'checkout:' || coalesce(c.checkout_id, o.checkout_id),
           CASE WHEN o.order_id IS NULL THEN 'it names order:' || c.order_id || ', which is not there'
                WHEN c.checkout_id IS NULL THEN 'it is not there, but order:' || o.order_id || ' names it'
                ELSE 'it names order:' || coalesce(c.order_id::text, 'none') || ' of payment:'
                     || coalesce(c.payment_id::text, 'none') || ', order:' || o.order_id || ' names payment:' || o.payment_id END
      FROM (SELECT * FROM checkouts WHERE @(merchant_id, checkout_id)) c
      FULL JOIN (SELECT * FROM orders WHERE @(merchant_id, checkout_id)) o
        ON o.merchant_id = c.merchant_id AND o.checkout_id = c.checkout_id
     WHERE o.order_id IS DISTINCT FROM c.order_id OR o.payment_id IS DISTINCT FROM c.payment_id
        OR (o.order_id IS NOT NULL AND (o.channel, o.buyer_id) IS DISTINCT FROM (c.channel, c.buyer_id))
    """,
    walk=CHECKOUTS,
)

_REFERENCES = Question(
    3,
    "An order and its payment do not name each other",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           CASE WHEN o.order_id IS NULL THEN 'it is for order:' || left(p.ref, 36) || ', which is not there'
                ELSE 'it is for order:' || o.order_id || ', which names payment:' || o.payment_id END
      FROM payments p
      LEFT JOIN orders o ON o.merchant_id = p.merchant_id
           AND o.order_id = CASE WHEN p.ref ~ '^[0-9a-f-]{36}$' THEN p.ref::uuid END
     WHERE p.ref_kind = 'order' AND o.payment_id IS DISTINCT FROM p.payment_id AND @(p.merchant_id, p.payment_id)
    """,
    walk=PAYMENTS,
)

_PAID_BY = Question(
    3,
    "An order names a payment that is not for it",
    """
    SELECT o.merchant_id, 'order:' || o.order_id,
           coalesce('payment:' || p.payment_id || ' is for ' || p.ref_kind || ':' || left(p.ref, 36),
                    'payment:' || o.payment_id || ' is not there')
      FROM orders o LEFT JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
     WHERE (p.ref_kind, p.ref) IS DISTINCT FROM ('order', o.order_id::text) AND @(o.merchant_id, o.order_id)
    """,
    walk=ORDERS,
)

_TWICE_PAID = Question(
    3,
    "More than one payment was paid for one reference",
    """
    SELECT p.merchant_id, p.ref_kind || ':' || left(p.ref, 64), 'payment:' || p.payment_id || ' is paid, too'
      FROM payments p
     WHERE p.status = 'paid' AND p.ref_kind <> 'grpc' AND p.refunding_minor = 0 AND @(p.merchant_id, p.payment_id)
       AND EXISTS (SELECT 1 FROM payments x WHERE x.merchant_id = p.merchant_id AND x.ref = p.ref AND x.ref_kind = p.ref_kind
                      AND x.status = 'paid' AND x.refunding_minor = 0 AND x.payment_id < p.payment_id)
    """,
    walk=PAYMENTS,
)

_HOMELESS = Question(
    3,
    "Money was taken that belongs to nothing: no completed checkout, no outside reference, no refund under way, no open case",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('%s %s of order:%s, checkout %s', p.captured_minor - p.refunded_minor, p.currency, left(p.ref, 36),
                  coalesce(c.status, 'missing'))
      FROM payments p
      LEFT JOIN orders o ON o.merchant_id = p.merchant_id
           AND o.order_id = CASE WHEN p.ref ~ '^[0-9a-f-]{36}$' THEN p.ref::uuid END
      LEFT JOIN checkouts c ON c.merchant_id = o.merchant_id AND c.checkout_id = o.checkout_id
     WHERE @(p.merchant_id, p.payment_id) AND p.status = 'paid' AND p.ref_kind = 'order' AND p.captured_minor > p.refunded_minor
       AND NOT coalesce(c.status = 'completed' AND o.status <> 'cancelled', false)
       -- On its way forward or back; invariant 5 bounds how long.
       AND coalesce(c.status, '') NOT IN ('paid', 'undoing', 'returning')
       AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.merchant_id = p.merchant_id AND r.payment_id = p.payment_id
                          AND r.status IN ('pending', 'parked'))
       AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.merchant_id = p.merchant_id AND k.closed_at IS NULL
                          AND k.subject IN ('checkout:' || c.checkout_id, 'payment:' || p.payment_id, 'order:' || o.order_id))
    """,
    walk=PAYMENTS,
)

_UNLISTED = Question(
    3,
    "A parked checkout is on nobody's list",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, 'parked, without an open case'
      FROM checkouts c
     WHERE c.status = 'parked' AND @(c.merchant_id, c.checkout_id)
       AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.merchant_id = c.merchant_id AND k.closed_at IS NULL
                          AND k.subject IN ('checkout:' || c.checkout_id, 'payment:' || c.payment_id))
    """,
    walk=CHECKOUTS,
)

_FORGOTTEN = Question(
    3,
    "A refund that needs a person is on nobody's list",
    """
    SELECT r.merchant_id, 'refund:' || r.refund_id,
           format('%s %s, %s', r.amount_minor, r.currency, coalesce(r.message, 'no answer'))
      FROM refunds r
      JOIN payments p ON p.merchant_id = r.merchant_id AND p.payment_id = r.payment_id
      LEFT JOIN orders o ON o.merchant_id = p.merchant_id
           AND o.order_id = CASE WHEN p.ref_kind = 'order' AND p.ref ~ '^[0-9a-f-]{36}$' THEN p.ref::uuid END
      LEFT JOIN checkouts c ON c.merchant_id = o.merchant_id AND c.checkout_id = o.checkout_id
     WHERE r.status = 'parked' AND @(r.merchant_id, r.payment_id)
       AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.merchant_id = r.merchant_id AND k.closed_at IS NULL
                          AND k.subject IN ('checkout:' || c.checkout_id, 'payment:' || p.payment_id, 'refund:' || r.refund_id))
    """,
    walk=PAYMENTS,
)

_DECREMENTS = Question(
    3,
    "A completed checkout did not take its own tracked stock once",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('%s: ordered %s, reservation %s of %s, sold %s', l.product_id, l.quantity, coalesce(r.state, 'none'),
                  coalesce(r.quantity, 0), coalesce(j.quantity, 0))
      FROM checkouts c
      JOIN order_lines l ON l.merchant_id = c.merchant_id AND l.order_id = c.order_id
      LEFT JOIN reservations r ON r.merchant_id = c.merchant_id AND r.checkout_id = c.checkout_id
           AND r.product_id = l.product_id AND r.source = 'own'
      LEFT JOIN stock_journal j ON j.merchant_id = c.merchant_id AND j.channel = c.channel AND j.product_id = l.product_id
           AND j.kind = 'sold' AND j.reference = c.checkout_id::text
     WHERE c.status = 'completed' AND @(c.merchant_id, c.checkout_id)
       AND (r.state IS DISTINCT FROM 'consumed' OR r.quantity <> l.quantity OR j.quantity IS DISTINCT FROM l.quantity)
       AND (r.state IS NOT NULL OR j.quantity IS NOT NULL
            -- Counted here and tracked at that time; an untracked product has no row in the journal.
            OR ('stock' = ANY (c.acts) AND NOT EXISTS (SELECT 1 FROM unnest(c.acts) AS act WHERE act LIKE 'take:%')
                AND EXISTS (SELECT 1 FROM stock_journal first
                             WHERE first.merchant_id = c.merchant_id AND first.channel = c.channel
                               AND first.product_id = l.product_id AND first.kind = 'initial' AND first.at <= c.created_at)))
    """,
    walk=CHECKOUTS,
)

_SALES = Question(
    3,
    "Stock was sold without a completed checkout",
    """
    SELECT j.merchant_id, 'checkout:' || left(j.reference, 36),
           format('%s of %s, checkout %s', j.quantity, j.product_id, coalesce(c.status, 'missing'))
      FROM stock_journal j
      LEFT JOIN checkouts c ON c.merchant_id = j.merchant_id
           AND c.checkout_id = CASE WHEN j.reference ~ '^[0-9a-f-]{36}$' THEN j.reference::uuid END
      LEFT JOIN order_lines l ON l.merchant_id = c.merchant_id AND l.order_id = c.order_id AND l.product_id = j.product_id
     WHERE j.kind = 'sold' AND (c.status IS DISTINCT FROM 'completed' OR l.product_id IS NULL)
       AND @(j.merchant_id, j.channel, j.product_id, j.kind, j.reference)
    """,
    walk=STOCK,
)

_RETURNS = Question(
    3,
    "Sold stock did not come back exactly where its order was cancelled, or a refund put it back",
    f"""
    SELECT s.merchant_id, 'order:' || o.order_id,
           format('%s: order %s, sold %s, returned %s', s.product_id, o.status, s.quantity, coalesce(b.quantity, 0))
      FROM checkouts c
      JOIN orders o ON o.merchant_id = c.merchant_id AND o.order_id = c.order_id
      JOIN order_lines n ON n.merchant_id = o.merchant_id AND n.order_id = o.order_id
      -- OFFSET 0 has the whole key looked up, and not all products of the journal gone through.
      JOIN LATERAL (
           SELECT * FROM stock_journal j
            WHERE j.merchant_id = c.merchant_id AND j.channel = c.channel AND j.product_id = n.product_id AND j.kind = 'sold'
              AND j.reference = c.checkout_id::text OFFSET 0) s ON true
      LEFT JOIN LATERAL (
           {came_back("s")}) b ON true
      LEFT JOIN LATERAL (
           SELECT sum(l.quantity) AS most, coalesce(sum(l.quantity) FILTER (WHERE r.status <> 'failed'), 0) AS least
             FROM refunds r JOIN refund_lines l ON l.merchant_id = r.merchant_id AND l.refund_id = r.refund_id
            WHERE r.merchant_id = c.merchant_id AND r.payment_id = c.payment_id AND l.line_id = s.product_id AND l.restock) g
        ON true
     WHERE @(c.merchant_id, c.checkout_id)
       -- What a refund that failed had put back stays on the shelf, and is not put back again by the next one.
       AND CASE WHEN o.status = 'cancelled' AND c.status = 'completed' THEN coalesce(b.quantity, 0) <> s.quantity
                ELSE coalesce(b.quantity, 0) NOT BETWEEN coalesce(g.least, 0) AND coalesce(g.most, 0) END
    """,
    walk=CHECKOUTS,
)

QUESTIONS = (
    _PAYMENTS, _ORDERS, _REFERENCES, _PAID_BY, _TWICE_PAID, _HOMELESS, _UNLISTED, _FORGOTTEN, _DECREMENTS, _SALES, _RETURNS,
)  # fmt: skip
