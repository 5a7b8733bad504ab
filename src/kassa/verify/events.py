"""Invariant 7: events of a subject are numbered 1, 2, 3 … without a gap, and each fact has its event."""

from __future__ import annotations

from kassa.verify.model import CHECKOUTS, NOTICES, ORDERS, PAYMENTS, SUBJECTS, Question, Walk

_NUMBERS = Question(
    7,
    "Events of a subject are not numbered from 1 without a gap up to their counter",
    """
    SELECT coalesce(c.merchant_id, e.merchant_id), coalesce(c.subject, e.subject),
           format('counter %s; %s events from %s to %s', c.last, coalesce(e.events, 0), e.first, e.last)
      FROM (SELECT * FROM event_counters WHERE @(merchant_id, subject)) c
      FULL JOIN (SELECT merchant_id, subject, count(*) AS events, min(sequence) AS first, max(sequence) AS last
                   FROM events WHERE @(merchant_id, subject) GROUP BY merchant_id, subject) e
        ON e.merchant_id = c.merchant_id AND e.subject = c.subject
     WHERE c.last IS DISTINCT FROM e.events OR c.last IS DISTINCT FROM e.last OR e.first IS DISTINCT FROM 1
    """,
    walk=SUBJECTS,
)


def _beginning(what: str, table: str, key: str, type_: str, walk: Walk, where: str = "true") -> Question:
    return Question(
        7,
        f"Something exists whose first event does not ({what})",
        f"""
        SELECT f.merchant_id, '{what}:' || f.{key}, format('event 1 is %s, not {type_}', coalesce(e.type, 'missing'))
          FROM {table} f
          LEFT JOIN events e ON e.merchant_id = f.merchant_id AND e.subject = '{what}:' || f.{key} AND e.sequence = 1
         WHERE e.type IS DISTINCT FROM '{type_}' AND {where} AND @(f.merchant_id, f.{key})
        """,
        walk=walk,
    )


_BEGINNINGS = (
    _beginning("order", "orders", "order_id", "order.created", ORDERS),
    _beginning("payment", "payments", "payment_id", "payment.created", PAYMENTS),
    _beginning("checkout", "checkouts", "checkout_id", "checkout.started", CHECKOUTS, "f.order_id IS NOT NULL"),
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
     WHERE c.order_id IS NOT NULL AND @(c.merchant_id, c.checkout_id)
     GROUP BY c.merchant_id, c.checkout_id
    HAVING count(e.type) FILTER (WHERE e.type = 'checkout.completed') <> CASE c.status WHEN 'completed' THEN 1 ELSE 0 END
        OR (c.status = 'undone' AND count(e.type) FILTER (WHERE e.type = 'checkout.undone') = 0)
        OR (c.status = 'completed' AND count(e.type) FILTER (WHERE e.type = 'checkout.undone') > 0)
    """,
    walk=CHECKOUTS,
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
      LEFT JOIN LATERAL (SELECT count(*) AS given FROM refunds f WHERE f.merchant_id = p.merchant_id
                            AND f.payment_id = p.payment_id AND f.status = 'succeeded') r ON true
      LEFT JOIN events e ON e.merchant_id = p.merchant_id AND e.subject = 'payment:' || p.payment_id
     WHERE @(p.merchant_id, p.payment_id)
     GROUP BY p.merchant_id, p.payment_id, r.given
    HAVING count(e.type) FILTER (WHERE e.type = 'payment.paid')
           <> CASE WHEN p.status IN ('paid', 'refunding', 'refunded', 'reversed') THEN 1 ELSE 0 END
        OR count(e.type) FILTER (WHERE e.type = 'refund.succeeded') <> coalesce(r.given, 0)
    """,
    walk=PAYMENTS,
)

_NOTICES = Question(
    7,
    "A buyer was told of an order out of turn, or of nothing that happened",
    """
    SELECT n.merchant_id, 'order:' || n.order_id,
           format('%s is %s, an earlier one waits: %s, its event: %s', n.type, n.status, n.behind, coalesce(e.type, 'missing'))
      FROM (SELECT t.merchant_id, t.order_id, t.event_id, t.type, t.status,
                   EXISTS (SELECT 1 FROM notices b WHERE b.merchant_id = t.merchant_id AND b.order_id = t.order_id
                              AND b.status = 'pending' AND (b.created_at, b.place) < (t.created_at, t.place)) AS behind
              FROM notices t WHERE @(t.merchant_id, t.notice_id)) n
      LEFT JOIN events e ON e.merchant_id = n.merchant_id AND e.event_id = n.event_id
     WHERE (n.status <> 'pending' AND n.behind) OR e.type IS NULL
    """,
    walk=NOTICES,
)

QUESTIONS = (_NUMBERS, *_BEGINNINGS, _ENDS, _PAID, _NOTICES)
