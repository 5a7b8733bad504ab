"""Payments that somebody else's system asks for, by its own reference or key: open, route, list, keep one per reference."""

from kassa.payments.requests.open import open_keyed, open_requested, reroute, take_token_back
from kassa.payments.requests.store import (
    add_route,
    by_client_key,
    count,
    details,
    disable_route,
    due,
    holder,
    lock_due,
    look_again_in,
    note_token,
    note_url,
    page,
    page_after,
    routes,
)
from kassa.payments.requests.supersede import Kept, ReferenceTaken, settle_reference
from kassa.payments.routing import Choice, Rule, choose
from kassa.payments.store import find_refund, in_doubt, lock, waiting_refunds

__all__ = [
    "Choice",
    "Kept",
    "ReferenceTaken",
    "Rule",
    "add_route",
    "by_client_key",
    "choose",
    "count",
    "details",
    "disable_route",
    "due",
    "find_refund",
    "holder",
    "in_doubt",
    "lock",
    "lock_due",
    "look_again_in",
    "note_token",
    "note_url",
    "open_keyed",
    "open_requested",
    "page",
    "page_after",
    "reroute",
    "routes",
    "settle_reference",
    "take_token_back",
    "waiting_refunds",
]
