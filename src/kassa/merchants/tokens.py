"""Tokens: one is spent for each accepted payment, in the payment's own transaction, by one conditional update.

So they never go below zero, however many payments are asked for at once.
"""

from __future__ import annotations

from kassa.events import Event, record
from kassa.kit.database import Tx
from kassa.merchants import store
from kassa.merchants.model import QuotaExceeded, SubscriptionMissing

_FEW, _NONE = 1, 2


async def spend(tx: Tx, merchant_id: str, plan_id: str | None) -> str:
    """Spend a token of the named plan, or of the oldest active one that has any left; returns the plan.

    Announces `subscription.tokens_low` and `subscription.exhausted` once per filling. Raises `SubscriptionMissing`,
    `QuotaExceeded`.
    """
    while True:
        spent = await store.spend_token(tx, merchant_id, plan_id)
        if spent is not None:
            break
        active, left = await store.what_is_left(tx, merchant_id, plan_id)
        if not active:
            raise SubscriptionMissing
        if not left:
            raise QuotaExceeded
    subscription, told, told_before = spent
    subject = f"subscription:{merchant_id}:{subscription.plan_id}"
    for level, kind in ((_FEW, "subscription.tokens_low"), (_NONE, "subscription.exhausted")):
        if told_before < level <= told:
            record(tx, Event(merchant_id, subject, kind, subscription.event_data()))
    return subscription.plan_id


async def give_back(tx: Tx, merchant_id: str, plan_id: str) -> None:
    """Give one token back to a plan. The caller makes sure that it does so once for each token that was spent."""
    await store.return_token(tx, merchant_id, plan_id)
