"""The buyer's open cart in one channel: one line per product, a version that moves with each edit."""

from kassa.carts.edit import (
    CartChanged,
    CartFull,
    LineMissing,
    NotEnough,
    TooMany,
    add_line,
    add_line_alone,
    change_line,
    clear,
    drop_product,
    line_of,
    lock_for_change,
    open_offered,
    put_once,
    remove_line,
)
from kassa.carts.keep import carts_with, drop_paid, drop_withdrawn, forget, leave_version, lock_version, products_in_carts
from kassa.carts.model import Cart, CartLine, view
from kassa.carts.store import CartMoved, open_cart, read_cart
from kassa.carts.take import return_lines, take_lines

__all__ = [
    "Cart",
    "CartChanged",
    "CartFull",
    "CartLine",
    "CartMoved",
    "LineMissing",
    "NotEnough",
    "TooMany",
    "add_line",
    "add_line_alone",
    "carts_with",
    "change_line",
    "clear",
    "drop_paid",
    "drop_product",
    "drop_withdrawn",
    "forget",
    "leave_version",
    "line_of",
    "lock_for_change",
    "lock_version",
    "open_cart",
    "open_offered",
    "products_in_carts",
    "put_once",
    "read_cart",
    "remove_line",
    "return_lines",
    "take_lines",
    "view",
]
