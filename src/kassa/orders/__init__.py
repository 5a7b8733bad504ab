"""Frozen lines, prices and address; a status; a timeline."""

from kassa.orders.advance import move, move_later, note_payment, note_tracking, note_url
from kassa.orders.bought import give_back_bought, note_bought
from kassa.orders.model import AMBASSADORS, MOVES, Bought, BoughtPage, Happening, Line, Order, OrderPage, illegal
from kassa.orders.place import draft, place
from kassa.orders.store import (
    OrderMoved,
    bought_page,
    find,
    find_by_checkout,
    forget,
    lock,
    merchant_of,
    page_of_buyer,
    products_of,
    with_products,
)
from kassa.orders.track import happenings, happenings_after

__all__ = [
    "AMBASSADORS",
    "MOVES",
    "Bought",
    "BoughtPage",
    "Happening",
    "Line",
    "Order",
    "OrderMoved",
    "OrderPage",
    "bought_page",
    "draft",
    "find",
    "find_by_checkout",
    "forget",
    "give_back_bought",
    "happenings",
    "happenings_after",
    "illegal",
    "lock",
    "merchant_of",
    "move",
    "move_later",
    "note_bought",
    "note_payment",
    "note_tracking",
    "note_url",
    "page_of_buyer",
    "place",
    "products_of",
    "with_products",
]
