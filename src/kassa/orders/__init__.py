"""Frozen lines, prices and address; a status; a timeline."""

from kassa.orders.advance import move, move_later, note_payment, note_tracking, note_url
from kassa.orders.model import MOVES, Happening, Line, Order, OrderPage, illegal
from kassa.orders.place import Placement, place
from kassa.orders.store import OrderMoved, find, find_by_checkout, lock, merchant_of, page_of_buyer
from kassa.orders.track import happenings, happenings_after

__all__ = [
    "MOVES",
    "Happening",
    "Line",
    "Order",
    "OrderMoved",
    "OrderPage",
    "Placement",
    "find",
    "find_by_checkout",
    "happenings",
    "happenings_after",
    "illegal",
    "lock",
    "merchant_of",
    "move",
    "move_later",
    "note_payment",
    "note_tracking",
    "note_url",
    "page_of_buyer",
    "place",
]
