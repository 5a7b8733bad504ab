"""Invariant 6 of what people did by hand: the audit log has no gap, each line follows the one before it, the head is the last one.

SQL sees no more than that. Whether a line is as it was written only the keyed hash tells, and for that `kassa audit check` has
the installation's own key: it finds what somebody changed who mended the links, too.
"""

from __future__ import annotations

from kassa.audit.model import BEGIN
from kassa.verify.model import AUDIT, Question

_LINKS = Question(
    6,
    "A line of the audit log does not follow the one before it",
    """
    SELECT l.merchant_id, 'audit:' || l.place,
           CASE WHEN l.place > 1 AND b.place IS NULL THEN format('line %s is missing', l.place - 1)
                ELSE format('%s is not the hash that it follows', encode(l.previous, 'hex')) END
      FROM audit_log l
      LEFT JOIN audit_log b ON b.merchant_id = l.merchant_id AND b.place = l.place - 1
     WHERE @(l.merchant_id, l.place) AND l.previous IS DISTINCT FROM CASE l.place WHEN 1 THEN $1::bytea ELSE b.hash END
    """,
    (BEGIN,),
    walk=AUDIT,
)

_HEADS = Question(
    6,
    "The head of an audit log is not its last line",
    """
    SELECT coalesce(h.merchant_id, l.merchant_id), 'audit:' || coalesce(h.place, l.place),
           format('the head says %s, the last line is %s', coalesce(h.place::text, 'nothing'), coalesce(l.place::text, 'elsewhere'))
      FROM (SELECT * FROM (SELECT merchant_id, last AS place, hash FROM audit_heads) ends WHERE @(merchant_id, place)) h
      FULL JOIN (
           SELECT n.merchant_id, n.place, n.hash FROM audit_log n
            WHERE @(n.merchant_id, n.place)
              AND NOT EXISTS (SELECT 1 FROM audit_log x WHERE x.merchant_id = n.merchant_id AND x.place > n.place)) l
        ON l.merchant_id = h.merchant_id AND l.place = h.place
     WHERE l.hash IS DISTINCT FROM h.hash
    """,
    walk=AUDIT,
)

QUESTIONS = (_LINKS, _HEADS)
