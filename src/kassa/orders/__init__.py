"""Frozen lines, prices and address; a status; a timeline."""

from kassa.orders.advance import OrderMoved, move, note_payment, note_tracking, note_url
from kassa.orders.model import MOVES, Happening, Line, Order, OrderPage, illegal
from kassa.orders.place import Placement, place
from kassa.orders.store import find, find_by_checkout, lock, page_of_buyer
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
    "move",
    "note_payment",
    "note_tracking",
    "note_url",
    "page_of_buyer",
    "place",
]
