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
from kassa.checkout.read import read_checkout
from kassa.checkout.rules import MethodUnavailable, Rules, UnknownProvider
from kassa.checkout.steps import Neighbours
from kassa.checkout.sweep import sweep_checkouts, sweep_refunds
from kassa.checkout.verdicts import bring_verdict

__all__ = [
    "AlreadyOrdered",
    "CartEmpty",
    "MethodUnavailable",
    "Neighbours",
    "PriceChanged",
    "Rules",
    "StockInsufficient",
    "TooManyWaiting",
    "UnknownProvider",
    "bring_verdict",
    "buy_items",
    "move_order",
    "order_from_cart",
    "read_checkout",
    "sweep_checkouts",
    "sweep_refunds",
]
