"""Invariant 7: every event has reached every endpoint that wants it, is due there, waits for a reason, or is a dead letter.

A merchant changes an endpoint while events are recorded, and a worker puts in order what fell between: where that matters, what is
younger than ten minutes is left alone.
"""

from __future__ import annotations

from kassa.verify.model import EVENTS, SUBJECTS, Question

_YOUNG = "interval '10 minutes'"
_MEANWHILE = "interval '15 seconds'"
"""How long the transaction of a change or of an event may have lasted."""
_KEPT = "interval '90 days'"

_MISSING = Question(
    7,
    "An endpoint wants an event and has no delivery of it",
    f"""
    SELECT e.merchant_id, 'endpoint:' || p.endpoint_id, format('%s of %s, number %s', e.type, e.subject, e.sequence)
      FROM events e
      JOIN endpoints p ON p.merchant_id = e.merchant_id AND p.deleted_at IS NULL
      LEFT JOIN deliveries d ON d.merchant_id = e.merchant_id AND d.endpoint_id = p.endpoint_id AND d.event_id = e.event_id
     WHERE @(e.merchant_id, e.event_id) AND d.delivery_id IS NULL
       AND e.occurred_at > greatest(p.created_at, p.updated_at) + {_MEANWHILE}
       AND e.occurred_at > kassa_now() - {_KEPT}
       AND CASE e.type WHEN 'test.ping' THEN e.subject = 'endpoint:' || p.endpoint_id
                       ELSE p.events && ARRAY[e.type, split_part(e.type, '.', 1) || '.*', '*'] END
       AND NOT (p.hidden
                AND EXISTS (SELECT 1 FROM endpoints own WHERE own.merchant_id = p.merchant_id AND NOT own.hidden))
    """,
    walk=EVENTS,
)

_UNHEARD = Question(
    7,
    "A delivery of no event, or of another than it says",
    f"""
    SELECT d.merchant_id, 'delivery:' || d.delivery_id, format('%s of %s, number %s', d.event_type, d.subject, d.sequence)
      FROM deliveries d
      LEFT JOIN events e ON e.merchant_id = d.merchant_id AND e.event_id = d.event_id
     WHERE (e.type, e.subject, e.sequence) IS DISTINCT FROM (d.event_type, d.subject, d.sequence)
       AND d.created_at > kassa_now() - {_KEPT} AND @(d.merchant_id, d.event_id)
    """,
    walk=EVENTS,
)

_CLOSED = Question(
    7,
    "A delivery is open at an endpoint that is closed",
    f"""
    SELECT d.merchant_id, 'delivery:' || d.delivery_id,
           format('%s since %s, endpoint %s', d.status, date_trunc('second', d.created_at),
                  CASE WHEN p.deleted_at IS NOT NULL THEN 'deleted' ELSE p.status END)
      FROM deliveries d
      LEFT JOIN endpoints p ON p.merchant_id = d.merchant_id AND p.endpoint_id = d.endpoint_id
     WHERE d.status NOT IN ('success', 'failed')
       AND (p.endpoint_id IS NULL
            OR (p.deleted_at < kassa_now() - {_YOUNG} AND d.created_at < kassa_now() - {_YOUNG})
            OR (p.status = 'disabled' AND d.status IN ('pending', 'retrying')
                AND greatest(p.updated_at, d.created_at) < kassa_now() - {_YOUNG})
            OR (p.status = 'disabled' AND d.status = 'blocked' AND d.created_at < kassa_now() - {_KEPT} - interval '1 day'))
    """,
)

_LAPSED = Question(
    7,
    "A delivery is held by nobody, five minutes after its lease",
    """
    SELECT merchant_id, 'delivery:' || delivery_id,
           format('attempt %s, lease until %s', attempts, date_trunc('second', lease_until))
      FROM deliveries WHERE status = 'processing' AND lease_until < now() - interval '5 minutes'
    """,
)

_FORGOTTEN = Question(
    7,
    "A delivery is blocked, and nothing is before it",
    f"""
    SELECT d.merchant_id, 'delivery:' || d.delivery_id, format('number %s of %s', d.sequence, d.subject)
      FROM (SELECT *, min(sequence) OVER (PARTITION BY merchant_id, endpoint_id, subject) AS first
              FROM deliveries WHERE status NOT IN ('success', 'failed')) d
      JOIN endpoints p ON p.merchant_id = d.merchant_id AND p.endpoint_id = d.endpoint_id
     WHERE d.status = 'blocked' AND d.sequence = d.first AND p.status = 'enabled'
       AND greatest(p.updated_at, d.created_at) < kassa_now() - {_YOUNG}
    """,
)

_ORDER = Question(
    7,
    "An attempt began while an earlier event of its subject was still owed",
    """
    SELECT d.merchant_id, 'delivery:' || d.delivery_id,
           format('number %s of %s began %s; those before it ended %s', d.sequence, d.subject, d.began,
                  CASE WHEN d.open_before THEN 'not yet' ELSE d.ended_before::text END)
      FROM (SELECT w.*, max(w.ended_at) OVER before AS ended_before, bool_or(w.ended_at IS NULL) OVER before AS open_before
              FROM (SELECT d.merchant_id, d.endpoint_id, d.delivery_id, d.subject, d.sequence, d.ended_at,
                           coalesce(a.began, CASE d.status WHEN 'processing' THEN d.began_at END) AS began
                      FROM events e
                      JOIN deliveries d ON d.merchant_id = e.merchant_id AND d.event_id = e.event_id
                      JOIN endpoints p ON p.merchant_id = d.merchant_id AND p.endpoint_id = d.endpoint_id
                      LEFT JOIN LATERAL (SELECT min(began_at) AS began FROM delivery_attempts t
                                          WHERE t.merchant_id = d.merchant_id AND t.endpoint_id = d.endpoint_id
                                            AND t.delivery_id = d.delivery_id) a ON true
                     WHERE @(e.merchant_id, e.subject) AND p.ordered AND NOT d.replayed AND d.created_at >= p.updated_at) w
            WINDOW before AS (PARTITION BY w.merchant_id, w.endpoint_id, w.subject ORDER BY w.sequence
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) d
     WHERE d.began IS NOT NULL AND (d.open_before OR d.began < d.ended_before)
    """,
    walk=SUBJECTS,
)

_SAID = Question(
    7,
    "A delivery says what its attempts do not",
    """
    SELECT d.merchant_id, 'delivery:' || d.delivery_id,
           format('%s after %s attempts, last answer %s; written down: %s, the best answer %s', d.status, d.attempts,
                  coalesce(d.last_status_code::text, 'none'), coalesce(a.many, 0), coalesce(a.best::text, 'none'))
      FROM deliveries d
      LEFT JOIN LATERAL (SELECT count(*) AS many, min(status_code) FILTER (WHERE status_code BETWEEN 200 AND 299) AS best
                           FROM delivery_attempts t WHERE t.merchant_id = d.merchant_id AND t.endpoint_id = d.endpoint_id
                            AND t.delivery_id = d.delivery_id) a ON true
     WHERE @(d.merchant_id, d.event_id) AND (
           (d.status = 'success' AND a.best IS NULL)
        OR (d.status <> 'processing' AND d.last_error IS DISTINCT FROM 'endpoint_deleted' AND coalesce(a.many, 0) <> d.attempts)
        OR coalesce(a.many, 0) > d.attempts)
    """,
    walk=EVENTS,
)

QUESTIONS = (_MISSING, _UNHEARD, _CLOSED, _LAPSED, _FORGOTTEN, _ORDER, _SAID)
