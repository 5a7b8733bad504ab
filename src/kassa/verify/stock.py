"""Invariant 4: no level below zero, each explained by its journal, and reserved for open checkouts only."""

from __future__ import annotations

from kassa.verify.model import Question

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
     WHERE r.state = 'held' AND coalesce(c.status, 'undone') IN ('completed', 'undone')
    """,
)

_CONSUMED = Question(
    4,
    "A reservation and the stock journal disagree about a sale",
    """
    SELECT coalesce(r.merchant_id, j.merchant_id), 'checkout:' || coalesce(r.checkout_id::text, left(j.reference, 36)),
           format('%s: reservation %s of %s, sold %s', coalesce(r.product_id, j.product_id), coalesce(r.state, 'none'),
                  coalesce(r.quantity, 0), coalesce(j.quantity, 0))
      FROM (SELECT * FROM reservations WHERE source = 'own') r
      FULL JOIN (SELECT * FROM stock_journal WHERE kind = 'sold') j
        ON j.merchant_id = r.merchant_id AND j.channel = r.channel AND j.product_id = r.product_id
       AND j.reference = r.checkout_id::text
     WHERE j.quantity IS DISTINCT FROM CASE r.state WHEN 'consumed' THEN r.quantity END
    """,
)

_RETURNED = Question(
    4,
    "What came back is not what its reservation counts, or more than was sold",
    """
    SELECT coalesce(r.merchant_id, b.merchant_id), 'checkout:' || coalesce(r.checkout_id::text, b.checkout),
           format('%s of %s returned by the journal, %s by the reservation, %s sold', coalesce(b.quantity, 0),
                  coalesce(r.product_id, b.product_id), coalesce(r.returned, 0), coalesce(r.quantity, 0))
      FROM (SELECT * FROM reservations WHERE source = 'own') r
      FULL JOIN (
           SELECT merchant_id, channel, product_id, left(reference, 36) AS checkout, sum(quantity) AS quantity
             FROM stock_journal WHERE kind = 'returned' GROUP BY merchant_id, channel, product_id, left(reference, 36)) b
        ON b.merchant_id = r.merchant_id AND b.channel = r.channel AND b.product_id = r.product_id
       AND b.checkout = r.checkout_id::text
     WHERE coalesce(b.quantity, 0) <> coalesce(r.returned, 0)
        OR coalesce(b.quantity, 0) > CASE WHEN r.state = 'consumed' THEN r.quantity ELSE 0 END
    """,
)

QUESTIONS = (_LEVELS, _JOURNAL, _RESERVED, _HOLDS, _CONSUMED, _RETURNED)
