"""Invariant 8: one idempotency key, one effect; and the same of the natural keys that stand for it."""

from __future__ import annotations

from kassa.verify.model import CHECKOUTS, KEYS, PAYMENTS, Question

_TWO_EFFECTS = Question(
    8,
    "An idempotency key stands for another checkout than its own",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, format('made under a key of %s that stands for %s', k.operation, k.subject)
      FROM checkouts c
      JOIN idempotency_keys k ON k.merchant_id = c.merchant_id AND k.caller = c.idempotency->>'caller'
           AND k.operation = c.idempotency->>'operation' AND k.key = c.idempotency->>'key'
     WHERE c.created_at >= k.created_at AND c.checkout_id::text IS DISTINCT FROM k.subject AND @(c.merchant_id, c.checkout_id)
    """,
    walk=CHECKOUTS,
)

_UNANSWERED = Question(
    8,
    "A checkout is over, and its idempotency key has no answer",
    """
    SELECT c.merchant_id, 'checkout:' || c.checkout_id, format('checkout %s, key %s', c.status, k.state)
      FROM checkouts c
      JOIN idempotency_keys k ON k.merchant_id = c.merchant_id AND k.caller = c.idempotency->>'caller'
           AND k.operation = c.idempotency->>'operation' AND k.key = c.idempotency->>'key' AND k.subject = c.checkout_id::text
     WHERE c.status IN ('completed', 'undone') AND c.idempotency IS NOT NULL AND @(c.merchant_id, c.checkout_id)
       AND (k.state <> 'done' OR k.answer IS NULL OR k.status IS NULL)
    """,
    walk=CHECKOUTS,
)

_EMPTY_ANSWERS = Question(
    8,
    "An idempotency key is done without an answer, or has one before it is done",
    """
    SELECT merchant_id, 'operation:' || operation, format('%s for %s', state, coalesce(subject, 'nothing'))
      FROM idempotency_keys
     WHERE (state = 'done') <> (answer IS NOT NULL AND status IS NOT NULL) AND @(merchant_id, caller, operation, key)
    """,
    walk=KEYS,
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
    SELECT c.merchant_id, 'cart:' || c.cart_id, format('version %s became checkout:%s, too', c.cart_version, c.checkout_id)
      FROM checkouts c
     WHERE c.cart_id IS NOT NULL AND @(c.merchant_id, c.checkout_id)
       AND EXISTS (SELECT 1 FROM checkouts x WHERE x.merchant_id = c.merchant_id AND x.cart_id = c.cart_id
                      AND x.cart_version = c.cart_version AND x.checkout_id < c.checkout_id)
    """,
    walk=CHECKOUTS,
)

_HOLDERS = Question(
    8,
    "A reference is held by two payments",
    """
    SELECT p.merchant_id, p.ref_kind || ':' || left(p.ref, 64), 'payment:' || p.payment_id || ' holds it, too'
      FROM payments p
     WHERE p.holds_reference AND @(p.merchant_id, p.payment_id)
       AND EXISTS (SELECT 1 FROM payments h WHERE h.merchant_id = p.merchant_id AND h.ref_kind = p.ref_kind AND h.ref = p.ref
                      AND h.holds_reference AND h.payment_id < p.payment_id)
    """,
    walk=PAYMENTS,
)

_NO_LINK = Question(
    8,
    "An idempotency key keeps an answer for a payment that failed for want of a link",
    """
    SELECT k.merchant_id, 'payment:' || p.payment_id, format('payment %s (%s)', p.status, coalesce(p.reason, 'no reason'))
      FROM idempotency_keys k
      JOIN payments p ON p.merchant_id = k.merchant_id
           AND p.payment_id = CASE WHEN k.subject ~ '^[0-9a-f-]{36}$' THEN k.subject::uuid END
     WHERE k.operation = 'POST /api/v1/payments' AND k.state = 'done' AND p.pay_url IS NULL AND p.captured_minor = 0
       AND @(k.merchant_id, k.caller, k.operation, k.key)
    """,
    walk=KEYS,
)

QUESTIONS = (_TWO_EFFECTS, _UNANSWERED, _EMPTY_ANSWERS, _CHARGES, _REFUNDS, _CARTS, _HOLDERS, _NO_LINK)
