"""Invariant 7: events of a subject are numbered 1, 2, 3 … without a gap, and each fact has its event."""

from __future__ import annotations

from kassa.verify.model import Question

_NUMBERS = Question(
    7,
    "Events of a subject are not numbered from 1 without a gap up to their counter",
    """
    SELECT coalesce(c.merchant_id, e.merchant_id), coalesce(c.subject, e.subject),
           format('counter %s; %s events from %s to %s', c.last, coalesce(e.events, 0), e.first, e.last)
      FROM event_counters c
      FULL JOIN (SELECT merchant_id, subject, count(*) AS events, min(sequence) AS first, max(sequence) AS last
                   FROM events GROUP BY merchant_id, subject) e
        ON e.merchant_id = c.merchant_id AND e.subject = c.subject
     WHERE c.last IS DISTINCT FROM e.events OR c.last IS DISTINCT FROM e.last OR e.first IS DISTINCT FROM 1
    """,
)

_BEGINNINGS = Question(
    7,
    "Something exists whose first event does not",
    """
    SELECT f.merchant_id, f.subject, format('event 1 is %s, not %s', coalesce(e.type, 'missing'), f.type)
      FROM (SELECT merchant_id, 'order:' || order_id, 'order.created' FROM orders
            UNION ALL SELECT merchant_id, 'payment:' || payment_id, 'payment.created' FROM payments
            UNION ALL SELECT merchant_id, 'checkout:' || checkout_id, 'checkout.started' FROM checkouts WHERE order_id IS NOT NULL
           ) f (merchant_id, subject, type)
      LEFT JOIN events e ON e.merchant_id = f.merchant_id AND e.subject = f.subject AND e.sequence = 1
     WHERE e.type IS DISTINCT FROM f.type
    """,
)

_ENDS = Question(
    7,
    "A checkout ended, and its events tell it otherwise",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id,
           format('%s; told completed %s times, undone %s times', c.status,
                  count(e.type) FILTER (WHERE e.type = 'checkout.completed'),
                  count(e.type) FILTER (WHERE e.type = 'checkout.undone'))
      FROM checkouts c
      LEFT JOIN events e ON e.merchant_id = c.merchant_id AND e.subject = 'checkout:' || c.checkout_id
     WHERE c.order_id IS NOT NULL
     GROUP BY c.merchant_id, c.checkout_id
    HAVING count(e.type) FILTER (WHERE e.type = 'checkout.completed') <> CASE c.status WHEN 'completed' THEN 1 ELSE 0 END
        OR (c.status = 'undone' AND count(e.type) FILTER (WHERE e.type = 'checkout.undone') = 0)
        OR (c.status = 'completed' AND count(e.type) FILTER (WHERE e.type = 'checkout.undone') > 0)
    """,
)

_PAID = Question(
    7,
    "Money moved, and no event tells it",
    """
    SELECT p.merchant_id, 'payment:' || p.payment_id,
           format('%s; told paid %s times, refunds succeeded %s, told %s', p.status,
                  count(e.type) FILTER (WHERE e.type = 'payment.paid'), coalesce(r.given, 0),
                  count(e.type) FILTER (WHERE e.type = 'refund.succeeded'))
      FROM payments p
      LEFT JOIN (SELECT merchant_id, payment_id, count(*) AS given FROM refunds WHERE status = 'succeeded' GROUP BY 1, 2) r
        USING (merchant_id, payment_id)
      LEFT JOIN events e ON e.merchant_id = p.merchant_id AND e.subject = 'payment:' || p.payment_id
     GROUP BY p.merchant_id, p.payment_id, r.given
    HAVING count(e.type) FILTER (WHERE e.type = 'payment.paid')
           <> CASE WHEN p.status IN ('paid', 'refunding', 'refunded', 'reversed') THEN 1 ELSE 0 END
        OR count(e.type) FILTER (WHERE e.type = 'refund.succeeded') <> coalesce(r.given, 0)
    """,
)

_NOTICES = Question(
    7,
    "A buyer was told of an order out of turn, or of nothing that happened",
    """
    SELECT n.merchant_id, 'order:' || n.order_id,
           format('%s is %s, an earlier one waits: %s, its event: %s', n.type, n.status, n.behind, coalesce(e.type, 'missing'))
      FROM (SELECT merchant_id, order_id, event_id, type, status, coalesce(bool_or(status = 'pending') OVER (
                       PARTITION BY merchant_id, order_id ORDER BY created_at, place
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS behind FROM notices) n
      LEFT JOIN events e ON e.merchant_id = n.merchant_id AND e.event_id = n.event_id
     WHERE (n.status <> 'pending' AND n.behind) OR e.type IS NULL
    """,
)

QUESTIONS = (_NUMBERS, _BEGINNINGS, _ENDS, _PAID, _NOTICES)
