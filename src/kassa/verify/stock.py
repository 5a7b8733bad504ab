"""Invariant 4: no level below zero, each explained by its journal and by what open checkouts hold."""

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
    "A stock level is below zero: more is held or sold than there was",
    """
    SELECT merchant_id, 'product:' || channel || '/' || product_id, format('available %s', available)
      FROM stock_levels WHERE available < 0
    """,
)

_JOURNAL = Question(
    4,
    "Stock on hand, which is what can be had and what open reservations hold, is not what its journal sums to",
    """
    SELECT merchant_id, 'product:' || channel || '/' || product_id,
           format('available %s, held %s, journal %s', sum(available), coalesce(sum(held), 0), sum(told))
      FROM (
           SELECT merchant_id, channel, product_id, available, NULL::bigint AS held, NULL::bigint AS told FROM stock_levels
            UNION ALL
           SELECT merchant_id, channel, product_id, NULL, quantity, NULL FROM reservations WHERE source = 'own' AND state = 'held'
            UNION ALL
           SELECT merchant_id, channel, product_id, NULL, NULL, CASE kind WHEN 'sold' THEN -quantity ELSE quantity END
             FROM stock_journal) told_of
     GROUP BY merchant_id, channel, product_id
    HAVING count(available) <> 1 OR sum(available) + coalesce(sum(held), 0) IS DISTINCT FROM sum(told)
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

QUESTIONS = (_LEVELS, _JOURNAL, _HOLDS, _CONSUMED, _UNRESERVED, _RETURNED)
