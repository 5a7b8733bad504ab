"""A checkout takes the lines of a cart, or gives them back when nothing came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.carts import store
from kassa.carts.model import Cart
from kassa.kit.database import Tx


async def take_lines(tx: Tx, cart: Cart) -> bool:
    """Empty `cart` if it is still the version that was read; False when somebody was first.

    The row lock is taken by this conditional update, so a version is taken once.
    """
    return await store.take(tx, cart)


async def return_lines(tx: Tx, merchant_id: str, cart_id: uuid.UUID, lines: Sequence[store.ReturnedLine]) -> None:
    """Add lines to what the cart holds by now: quantities are summed and cut at 999, the version moves by one.

    The limit of 100 lines does not apply. The caller makes sure that it happens once.
    """
    if lines:
        await store.give_back(tx, merchant_id, cart_id, lines)
