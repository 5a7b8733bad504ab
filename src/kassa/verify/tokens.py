"""Invariant 11: tokens never go below zero; one for each accepted payment, given back where there was no link."""

from __future__ import annotations

from kassa.verify.model import PAYMENTS, Question

_USED = Question(
    11,
    "A subscription's used tokens are not the payments that spent one",
    """
    SELECT s.merchant_id, 'subscription:' || s.merchant_id || ':' || s.plan_id,
           format('%s of %s used, %s payments spent one', s.tokens_used, s.tokens_total, coalesce(p.spent, 0))
      FROM subscriptions s
      LEFT JOIN (SELECT merchant_id, token_plan, count(*) AS spent FROM payments WHERE token_plan IS NOT NULL
                  GROUP BY merchant_id, token_plan) p ON p.merchant_id = s.merchant_id AND p.token_plan = s.plan_id
     WHERE s.tokens_used <> coalesce(p.spent, 0) OR s.tokens_used NOT BETWEEN 0 AND s.tokens_total
    """,
)

_FREE = Question(
    11,
    "A merchant's payment spent no token though its link was made, or still has one though it was not",
    """
    SELECT merchant_id, 'payment:' || payment_id,
           format('%s (%s), token %s', status, coalesce(reason, 'no reason'), coalesce(token_plan, 'none'))
      FROM payments
     WHERE ref_kind = 'outside' AND provider IN ('link', 'payme') AND @(merchant_id, payment_id)
       AND CASE WHEN status = 'declined' AND reason IN ('provider_unreachable', 'provider_link_failed') THEN token_plan IS NOT NULL
                WHEN pay_url IS NOT NULL THEN token_plan IS NULL ELSE false END
    """,
    walk=PAYMENTS,
)

QUESTIONS = (_USED, _FREE)
