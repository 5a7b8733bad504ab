"""Invariant 8: one idempotency key, one effect; and the same of the natural keys that stand for it."""

from __future__ import annotations

from kassa.verify.model import Question

_TWO_EFFECTS = Question(
    8,
    "An idempotency key stands for another checkout than its own",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, format('made under a key of %s that stands for %s', k.operation, k.subject)
      FROM idempotency_keys k
      JOIN checkouts c ON c.merchant_id = k.merchant_id AND c.idempotency->>'caller' = k.caller
           AND c.idempotency->>'operation' = k.operation AND c.idempotency->>'key' = k.key
     WHERE c.created_at >= k.created_at AND c.checkout_id::text IS DISTINCT FROM k.subject
    """,
)

_UNANSWERED = Question(
    8,
    "A checkout is over, and its idempotency key has no answer",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, format('checkout %s, key %s', c.status, k.state)
      FROM idempotency_keys k
      JOIN checkouts c ON c.merchant_id = k.merchant_id AND c.checkout_id::text = k.subject
     WHERE c.status IN ('completed', 'undone') AND c.idempotency IS NOT NULL
       AND (k.state <> 'done' OR k.answer IS NULL OR k.status IS NULL)
    """,
)

_EMPTY_ANSWERS = Question(
    8,
    "An idempotency key is done without an answer, or has one before it is done",
    """
    SELECT merchant_id, 'operation:' || operation, format('%s for %s', state, coalesce(subject, 'nothing'))
      FROM idempotency_keys WHERE (state = 'done') <> (answer IS NOT NULL AND status IS NOT NULL)
    """,
)

_CHARGES = Question(
    8,
    "Two payments would be charged under one key",
    """
    SELECT merchant_id, 'key:' || left(provider_key, 80), string_agg('payment:' || payment_id, ' ' ORDER BY payment_id)
      FROM payments GROUP BY merchant_id, provider_key HAVING count(*) > 1
    """,
)

_REFUNDS = Question(
    8,
    "Two refunds would be sent under one key",
    """
    SELECT merchant_id, 'key:' || left(provider_key, 80), string_agg('refund:' || refund_id, ' ' ORDER BY refund_id)
      FROM refunds GROUP BY merchant_id, provider_key HAVING count(*) > 1
    """,
)

_CARTS = Question(
    8,
    "A cart version became two checkouts",
    """
    SELECT merchant_id, 'cart:' || cart_id, format('version %s became %s checkouts', cart_version, count(*))
      FROM checkouts WHERE cart_id IS NOT NULL GROUP BY merchant_id, cart_id, cart_version HAVING count(*) > 1
    """,
)

_HOLDERS = Question(
    8,
    "A reference is held by two payments",
    """
    SELECT merchant_id, ref_kind || ':' || left(ref, 64), string_agg('payment:' || payment_id, ' ' ORDER BY payment_id)
      FROM payments WHERE holds_reference GROUP BY merchant_id, ref_kind, ref HAVING count(*) > 1
    """,
)

_NO_LINK = Question(
    8,
    "An idempotency key keeps an answer for a payment that failed for want of a link",
    """
    SELECT k.merchant_id, 'payment:' || p.payment_id, format('payment %s (%s)', p.status, coalesce(p.reason, 'no reason'))
      FROM idempotency_keys k
      JOIN payments p ON p.merchant_id = k.merchant_id AND p.payment_id::text = k.subject
     WHERE k.operation = 'POST /api/v1/payments' AND k.state = 'done' AND p.pay_url IS NULL AND p.captured_minor = 0
    """,
)

QUESTIONS = (_TWO_EFFECTS, _UNANSWERED, _EMPTY_ANSWERS, _CHARGES, _REFUNDS, _CARTS, _HOLDERS, _NO_LINK)
