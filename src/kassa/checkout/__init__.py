"""The one conductor: it turns carts and lists of items into paid orders, or into nothing owed."""

from kassa.checkout.buy_items import buy_items
from kassa.checkout.move_order import move_order
from kassa.checkout.order_from_cart import (
    AlreadyOrdered,
    CartEmpty,
    PriceChanged,
    StockInsufficient,
    TooManyWaiting,
    order_from_cart,
)
from kassa.checkout.read import Journal, counts_elsewhere, merchant_of, read_checkout, read_journal
from kassa.checkout.refunds import note_refund, send_refund
from kassa.checkout.rules import MethodUnavailable, Rules, UnknownProvider
from kassa.checkout.steps import Neighbours
from kassa.checkout.sweep import sweep_checkouts, sweep_refunds
from kassa.checkout.verdicts import ask_now, ask_soon, bring_verdict

__all__ = [
    "AlreadyOrdered",
    "CartEmpty",
    "Journal",
    "MethodUnavailable",
    "Neighbours",
    "PriceChanged",
    "Rules",
    "StockInsufficient",
    "TooManyWaiting",
    "UnknownProvider",
    "ask_now",
    "ask_soon",
    "bring_verdict",
    "buy_items",
    "counts_elsewhere",
    "merchant_of",
    "move_order",
    "note_refund",
    "order_from_cart",
    "read_checkout",
    "read_journal",
    "send_refund",
    "sweep_checkouts",
    "sweep_refunds",
]
