"""A checkout takes the lines of a cart, or gives them back when nothing came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.carts import store
from kassa.carts.model import Cart, ReturnedLine
from kassa.kit.database import Tx


async def take_lines(tx: Tx, cart: Cart) -> None:
    """Empty `cart`, together with what else `tx` leaves, if it is still the version that was read; `CartMoved` if it is not.

    The row lock is taken by this conditional update, so a version is taken once.
    """
    await store.take(tx, cart)


async def return_lines(tx: Tx, merchant_id: str, cart_id: uuid.UUID, lines: Sequence[ReturnedLine]) -> None:
    """Add lines to what the cart holds by now: quantities are summed and cut at 999, the version moves by one.

    The limit of 100 lines does not apply. The caller makes sure that it happens once.
    """
    if lines:
        await store.give_back(tx, merchant_id, cart_id, lines)
