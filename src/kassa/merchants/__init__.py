"""Merchants: who may call for them, and the plans whose tokens their payments spend."""

from kassa.merchants.identify import identify, mark_used
from kassa.merchants.keys import find_keys, issue_key, revoke_key
from kassa.merchants.model import ApiKey, Caller, Merchant, Plan, Subscription
from kassa.merchants.register import add_merchant, add_plan, subscribe, suspend
from kassa.merchants.store import find, find_all, key_anywhere, plans, subscriptions_of
from kassa.merchants.tokens import give_back, spend

__all__ = [
    "ApiKey",
    "Caller",
    "Merchant",
    "Plan",
    "Subscription",
    "add_merchant",
    "add_plan",
    "find",
    "find_all",
    "find_keys",
    "give_back",
    "identify",
    "issue_key",
    "key_anywhere",
    "mark_used",
    "plans",
    "revoke_key",
    "spend",
    "subscribe",
    "subscriptions_of",
    "suspend",
]
