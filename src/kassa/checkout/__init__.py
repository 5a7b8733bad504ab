"""The one conductor: it turns carts and lists of items into paid orders, or into nothing owed."""

from kassa.checkout.ask_again import ask_again
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
from kassa.checkout.purchase import AmbassadorsInvalid, PurchaseWish, purchase
from kassa.checkout.read import Journal, counts_elsewhere, merchant_of, read_checkout, read_journal
from kassa.checkout.refunds import note_refund, send_refund
from kassa.checkout.rules import Rules
from kassa.checkout.steps import Neighbours
from kassa.checkout.sweep import sweep_checkouts, sweep_refunds
from kassa.checkout.verdicts import ask_now, ask_soon, bring_verdict, go_on
from kassa.checkout.withdraw import revalidate, withdraw

__all__ = [
    "AlreadyOrdered",
    "AmbassadorsInvalid",
    "CartEmpty",
    "Journal",
    "Neighbours",
    "PriceChanged",
    "PurchaseWish",
    "Rules",
    "StockInsufficient",
    "TooManyWaiting",
    "ask_again",
    "ask_now",
    "ask_soon",
    "bring_verdict",
    "buy_items",
    "counts_elsewhere",
    "go_on",
    "merchant_of",
    "move_order",
    "note_refund",
    "order_from_cart",
    "purchase",
    "read_checkout",
    "read_journal",
    "revalidate",
    "send_refund",
    "sweep_checkouts",
    "sweep_refunds",
    "withdraw",
]
