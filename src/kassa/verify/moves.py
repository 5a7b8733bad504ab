"""Invariant 6: only moves that the tables allow, versions without gaps, one story told by order, payment and checkout."""

from __future__ import annotations

from kassa import orders, payments
from kassa.payments.model import HOLDS
from kassa.verify.model import CHECKOUTS, ORDERS, PAYMENTS, SUBJECTS, Question, values

_ORDER_WALK = Question(
    6,
    "An order's timeline has a move that is not allowed, or a gap",
    """
    SELECT merchant_id, 'order:' || order_id,
           format('line %s after line %s: %s after %s', sequence, coalesce(place, 0), status, coalesce(before, 'nothing'))
      FROM (SELECT merchant_id, order_id, sequence, status, moved, lag(status) OVER line AS before, lag(sequence) OVER line AS place
              FROM order_timeline WHERE @(merchant_id, order_id)
            WINDOW line AS (PARTITION BY merchant_id, order_id ORDER BY sequence)) walk
     WHERE sequence <> coalesce(place, 0) + 1
        OR moved <> (status IS DISTINCT FROM before)
        OR CASE WHEN before IS NULL THEN status <> $3
                WHEN before <> status THEN (before, status) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
                ELSE false END
    """,
    (*values((at, after) for (at, _), after in orders.MOVES.table.items()), orders.MOVES.start),
    walk=ORDERS,
)

_ORDER_END = Question(
    6,
    "An order is not where its timeline and its events end",
    """
    SELECT o.merchant_id, 'order:' || o.order_id,
           format('version %s %s/%s, last line %s %s/%s, events %s', o.version, o.status, o.payment_status, t.sequence, t.status,
                  t.payment_status, coalesce(e.last, 0))
      FROM orders o
      LEFT JOIN LATERAL (SELECT * FROM order_timeline l WHERE l.merchant_id = o.merchant_id AND l.order_id = o.order_id
                          ORDER BY l.sequence DESC LIMIT 1) t ON true
      LEFT JOIN event_counters e ON e.merchant_id = o.merchant_id AND e.subject = 'order:' || o.order_id
     WHERE @(o.merchant_id, o.order_id)
       AND ((o.version, o.status, o.payment_status, o.tracking_number, o.carrier)
            IS DISTINCT FROM (t.sequence, t.status, t.payment_status, t.tracking_number, t.carrier)
            OR e.last IS DISTINCT FROM o.version)
    """,
    walk=ORDERS,
)

_ORDER_EVENTS = Question(
    6,
    "An order's timeline and its events tell different things",
    """
    SELECT t.merchant_id, 'order:' || t.order_id,
           format('line %s is %s, event %s is %s', t.sequence, t.status, t.sequence, coalesce(e.type, 'missing'))
      FROM order_timeline t
      LEFT JOIN events e ON e.merchant_id = t.merchant_id AND e.subject = 'order:' || t.order_id AND e.sequence = t.sequence
     WHERE @(t.merchant_id, t.order_id)
       AND (e.type IS DISTINCT FROM CASE WHEN t.sequence = 1 THEN 'order.created'
                                         WHEN t.moved THEN 'order.' || t.status ELSE 'order.updated' END
            OR (e.data->>'status', e.data->>'payment_status') IS DISTINCT FROM (t.status, t.payment_status))
    """,
    walk=ORDERS,
)


def _told_moves() -> set[tuple[str, str]]:
    """From status to status as events tell it: every move of the table, and those through the untold `parked`."""
    steps = {(at, after) for (at, _), after in payments.MOVES.table.items()}
    return steps | {(at, end) for at, middle in steps for start, end in steps if middle == start == "parked"}


_PAYMENT_WALK = Question(
    6,
    "A payment made a move that is not allowed",
    """
    SELECT merchant_id, subject, format('event %s: %s after %s', sequence, state, coalesce(before, 'nothing'))
      FROM (SELECT merchant_id, subject, sequence, data->>'state' AS state,
                   lag(data->>'state') OVER (PARTITION BY merchant_id, subject ORDER BY sequence) AS before
              FROM events WHERE subject LIKE 'payment:%' AND @(merchant_id, subject)) walk
     WHERE CASE WHEN before IS NULL THEN state IS DISTINCT FROM $3
                ELSE before <> state AND (before, state) NOT IN (SELECT * FROM unnest($1::text[], $2::text[])) END
    """,
    (*values(_told_moves()), payments.MOVES.start),
    walk=SUBJECTS,
)

_PAYMENT_END = Question(
    6,
    "A payment is not where its events end",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id, format('payment %s, last event %s', p.status, coalesce(e.state, 'none'))
      FROM payments p
      LEFT JOIN LATERAL (SELECT v.data->>'state' AS state FROM events v
                          WHERE v.merchant_id = p.merchant_id AND v.subject = 'payment:' || p.payment_id
                          ORDER BY v.sequence DESC LIMIT 1) e ON true
     WHERE p.status IS DISTINCT FROM e.state AND NOT coalesce(p.status = 'parked' AND e.state = 'unknown', false)
       AND @(p.merchant_id, p.payment_id)
    """,
    walk=PAYMENTS,
)

_HOLDERS = Question(
    6,
    "A payment holds its reference though it is over, or does not hold it though nobody else does",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('%s, %s %s', p.status, CASE WHEN p.holds_reference THEN 'holds' ELSE 'does not hold' END, p.ref_kind)
      FROM payments p
     WHERE @(p.merchant_id, p.payment_id)
       AND ((p.holds_reference AND p.status <> ALL ($1::text[]))
        OR (NOT p.holds_reference AND p.status = ANY ($1::text[]) AND p.ref_kind <> 'grpc'
            AND NOT EXISTS (SELECT 1 FROM payments h WHERE h.merchant_id = p.merchant_id AND h.ref_kind = p.ref_kind
                               AND h.ref = p.ref AND h.holds_reference)))
    """,
    (sorted(HOLDS),),
    walk=PAYMENTS,
)

_ORDER_OF = {
    "started": {"pending"},
    "reserved": {"pending"},
    "paying": {"pending"},
    "paid": {"pending"},
    "completed": {"paid", "processing", "shipped", "delivered", "cancelled"},
    "undoing": {"cancelled"},
    "undone": {"cancelled"},
    "returning": {"cancelled"},
    "parked": {"pending", "cancelled"},
}
"""What an order may be, by the status of its checkout."""

_STORIES = Question(
    6,
    "A checkout and its order contradict each other",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, format('checkout %s, order %s', c.status, o.status)
      FROM checkouts c JOIN orders o ON o.merchant_id = c.merchant_id AND o.order_id = c.order_id
     WHERE (c.status, o.status) NOT IN (SELECT * FROM unnest($1::text[], $2::text[])) AND @(c.merchant_id, c.checkout_id)
    """,
    values((checkout, order) for checkout, found in _ORDER_OF.items() for order in found),
    walk=CHECKOUTS,
)

_SHOWN = Question(
    6,
    "An order shows another payment status than its payment has",
    """
    SELECT o.merchant_id, 'order:' || o.order_id,
           format('order %s shows %s, payment is %s', o.status, o.payment_status, p.status)
      FROM orders o
      JOIN checkouts c ON c.merchant_id = o.merchant_id AND c.checkout_id = o.checkout_id
      JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
      JOIN unnest($1::text[], $2::text[]) AS shown (payment, status) ON shown.payment = p.status
     -- What is on its way back, or with a person, shows the step before for a moment.
     WHERE @(o.merchant_id, o.order_id)
       AND c.status NOT IN ('undoing', 'returning', 'parked') AND o.payment_status <> shown.status
       AND NOT (o.status = 'cancelled' AND p.status IN ('unknown', 'parked') AND o.payment_status = 'failed')
       AND NOT (o.status = 'cancelled' AND p.status = 'paid' AND p.amount_minor = 0)
    """,
    values((status, payments.shown_status(status)) for status in payments.MOVES.statuses()),
    walk=ORDERS,
)

_JOURNAL = Question(
    6,
    "A checkout has ended, and its journal has not",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('%s; acts %s; journal %s', c.status, array_to_string(c.acts, ' '),
                  coalesce(string_agg(s.step || '=' || s.status, ' ' ORDER BY s.position), 'empty'))
      FROM checkouts c
      JOIN orders o ON o.merchant_id = c.merchant_id AND o.order_id = c.order_id
      LEFT JOIN checkout_steps s ON s.merchant_id = c.merchant_id AND s.checkout_id = c.checkout_id
     WHERE c.status IN ('completed', 'undone') AND @(c.merchant_id, c.checkout_id)
     GROUP BY c.merchant_id, c.checkout_id, o.status
    HAVING bool_or(s.step <> ALL (c.acts))
        OR (c.status = 'completed' AND (count(s.step) <> cardinality(c.acts) OR bool_or(
               s.status <> 'done' AND NOT (o.status = 'cancelled' AND s.status IN ('undoing', 'undone', 'stuck')))))
        OR (c.status = 'undone' AND bool_or(
               s.status IN ('running', 'done', 'undoing') OR (s.status = 'unknown' AND s.step <> 'payment')))
    """,
    walk=CHECKOUTS,
)

_CARTS = Question(
    6,
    "A cart has not moved on from a version that became a checkout",
    """
    SELECT c.merchant_id, 'cart:' || c.cart_id, format('version %s, checkout:%s took %s', k.version, c.checkout_id, c.cart_version)
      FROM checkouts c LEFT JOIN carts k USING (merchant_id, cart_id)
     WHERE c.cart_id IS NOT NULL AND @(c.merchant_id, c.checkout_id)
       -- One that keeps its lines moves on when the purchase ends.
       AND coalesce(k.version, -1) + (c.surface = 'purchases' AND c.status = 'paying')::int <= c.cart_version
    """,
    walk=CHECKOUTS,
)

QUESTIONS = (
    _ORDER_WALK, _ORDER_END, _ORDER_EVENTS, _PAYMENT_WALK, _PAYMENT_END, _HOLDERS, _STORIES, _SHOWN, _JOURNAL, _CARTS,
)  # fmt: skip
