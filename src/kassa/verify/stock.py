"""Invariant 4: no level below zero, each explained by its journal, and reserved for open checkouts only."""

from __future__ import annotations

from kassa.verify.model import CHECKOUTS, STOCK, Question


def came_back(of: str) -> str:
    """How much of a product of a checkout `c` came back, by the journal: under the checkout's own name, or a refund's behind it.

    `of` is the row that names merchant, channel and product.
    """
    return f"""SELECT sum(j.quantity) AS quantity
             FROM (SELECT c.checkout_id::text UNION ALL
                   SELECT c.checkout_id || ':' || f.refund_id FROM refunds f
                    WHERE f.merchant_id = c.merchant_id AND f.payment_id = c.payment_id) AS named (reference)
             JOIN stock_journal j ON j.merchant_id = {of}.merchant_id AND j.channel = {of}.channel
                  AND j.product_id = {of}.product_id AND j.kind = 'returned' AND j.reference = named.reference"""


_LEVELS = Question(
    4,
    "A stock level is below zero, or more is reserved than is there",
    """
    SELECT merchant_id, 'product:' || channel || '/' || product_id, format('on hand %s, reserved %s', on_hand, reserved)
      FROM stock_levels WHERE on_hand < 0 OR reserved < 0 OR reserved > on_hand
    """,
)

_JOURNAL = Question(
    4,
    "Stock on hand is not what its journal sums to",
    """
    SELECT coalesce(s.merchant_id, j.merchant_id),
           'product:' || coalesce(s.channel, j.channel) || '/' || coalesce(s.product_id, j.product_id),
           format('on hand %s, journal %s', s.on_hand, j.total)
      FROM stock_levels s
      FULL JOIN (
           SELECT merchant_id, channel, product_id, sum(CASE kind WHEN 'sold' THEN -quantity ELSE quantity END) AS total
             FROM stock_journal GROUP BY merchant_id, channel, product_id) j
        ON j.merchant_id = s.merchant_id AND j.channel = s.channel AND j.product_id = s.product_id
     WHERE s.on_hand IS DISTINCT FROM j.total
    """,
)

_RESERVED = Question(
    4,
    "What is reserved is not what open reservations hold",
    """
    SELECT coalesce(s.merchant_id, r.merchant_id),
           'product:' || coalesce(s.channel, r.channel) || '/' || coalesce(s.product_id, r.product_id),
           format('reserved %s, held %s', coalesce(s.reserved, 0), coalesce(r.held, 0))
      FROM stock_levels s
      FULL JOIN (
           SELECT merchant_id, channel, product_id, sum(quantity) AS held
             FROM reservations WHERE source = 'own' AND state = 'held' GROUP BY merchant_id, channel, product_id) r
        ON r.merchant_id = s.merchant_id AND r.channel = s.channel AND r.product_id = s.product_id
     WHERE coalesce(s.reserved, 0) <> coalesce(r.held, 0)
    """,
)

_HOLDS = Question(
    4,
    "Stock is held for a checkout that is over",
    """
    SELECT r.merchant_id, 'checkout:' || r.checkout_id,
           format('%s of %s (%s), checkout %s', r.quantity, r.product_id, r.source, coalesce(c.status, 'missing'))
      FROM reservations r LEFT JOIN checkouts c USING (merchant_id, checkout_id)
     WHERE r.state = 'held' AND coalesce(c.status, 'undone') IN ('completed', 'undone') AND @(r.merchant_id, r.checkout_id)
    """,
    walk=CHECKOUTS,
)

_CONSUMED = Question(
    4,
    "A reservation and the stock journal disagree about a sale",
    """
    SELECT r.merchant_id, 'checkout:' || r.checkout_id,
           format('%s: reservation %s of %s, sold %s', r.product_id, r.state, r.quantity, coalesce(j.quantity, 0))
      FROM reservations r
      LEFT JOIN stock_journal j ON j.merchant_id = r.merchant_id AND j.channel = r.channel AND j.product_id = r.product_id
           AND j.kind = 'sold' AND j.reference = r.checkout_id::text
     WHERE r.source = 'own' AND j.quantity IS DISTINCT FROM CASE r.state WHEN 'consumed' THEN r.quantity END
       AND @(r.merchant_id, r.checkout_id)
    """,
    walk=CHECKOUTS,
)

_UNRESERVED = Question(
    4,
    "The stock journal has a sale or a return that no reservation of its product explains",
    """
    SELECT j.merchant_id, 'checkout:' || left(j.reference, 36), format('%s %s of %s', j.kind, j.quantity, j.product_id)
      FROM stock_journal j
      LEFT JOIN reservations r ON r.merchant_id = j.merchant_id AND r.product_id = j.product_id AND r.channel = j.channel
           AND r.checkout_id = CASE WHEN left(j.reference, 36) ~ '^[0-9a-f-]{36}$' THEN left(j.reference, 36)::uuid END
           AND r.source = 'own'
     WHERE j.kind IN ('sold', 'returned') AND @(j.merchant_id, j.channel, j.product_id, j.kind, j.reference)
       AND (r.checkout_id IS NULL OR (j.kind = 'returned' AND r.returned = 0))
    """,
    walk=STOCK,
)

_RETURNED = Question(
    4,
    "What came back is not what its reservation counts, or more than was sold",
    f"""
    SELECT r.merchant_id, 'checkout:' || r.checkout_id,
           format('%s of %s returned by the journal, %s by the reservation, %s sold', coalesce(b.quantity, 0), r.product_id,
                  r.returned, r.quantity)
      FROM reservations r
      JOIN checkouts c ON c.merchant_id = r.merchant_id AND c.checkout_id = r.checkout_id
      LEFT JOIN LATERAL (
           {came_back("r")}) b ON true
     WHERE r.source = 'own' AND @(r.merchant_id, r.checkout_id)
       AND (coalesce(b.quantity, 0) <> coalesce(r.returned, 0)
            OR coalesce(b.quantity, 0) > CASE WHEN r.state = 'consumed' THEN r.quantity ELSE 0 END)
    """,
    walk=CHECKOUTS,
)

QUESTIONS = (_LEVELS, _JOURNAL, _RESERVED, _HOLDS, _CONSUMED, _UNRESERVED, _RETURNED)
