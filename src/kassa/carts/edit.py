"""Edit a cart: add, put, change, remove, clear. Each successful change of the lines moves the version by one.

The caller brings the live offer (asked before the transaction), or how to read it; a cart reserves nothing.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kassa.carts import store
from kassa.carts.model import MAX_LINES, MAX_QUANTITY, Cart, CartLine
from kassa.catalog import Channel, Offer, OfferHere, UnknownProduct, offer_here
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, Invalid, NotFound, Refused
from kassa.kit.writes import Unmet

if TYPE_CHECKING:
    from kassa.carts.model import Offered


class CartChanged(Conflict):
    """The cart is not the version that was named."""

    code = "cart_changed"
    advice = "Read the cart, show it to the buyer, and name the version that was shown."


class CartFull(Refused):
    """A cart holds at most 100 different products."""

    code = "cart_full"
    advice = "Take a line out of the cart first."


class TooMany(Invalid):
    """A line holds at most 999 pieces."""

    code = "too_many"


class NotEnough(Refused):
    """Fewer are left than were asked for."""

    code = "stock_insufficient"
    advice = "Ask for what is left; the answer names it."


class LineMissing(NotFound):
    """There is no such line in this cart."""

    code = "not_found"


async def add_line(
    tx: Tx, merchant_id: str, channel: str, buyer_id: str, product_id: str, offer: Offered, quantity: int, version: int | None
) -> tuple[Cart, CartLine]:
    """Add `quantity` pieces: a new line, or more in the one that is there. Concurrent adds all count.

    The cart comes without its lines. Raises `CartChanged` (another version than `version`), `CartFull`, `TooMany`, `NotEnough`, and
    `CartMoved`, which calls for the same once more; the caller's transaction then rolls back.
    """
    with _refusing(product_id):
        return await store.add_to_line(tx, merchant_id, channel, buyer_id, product_id, quantity, offer, version)


async def add_line_alone(
    ctx: Context, merchant_id: str, channel: str, buyer_id: str, product_id: str, offer: Offered | OfferHere, quantity: int,
    version: int | None,
) -> tuple[Cart, CartLine]:  # fmt: skip
    """The same as a whole transaction, `cart.add`, in one round trip. Raises `CommitUnknown` and `Blocked`, too.

    Where the offer is read within it, so that nobody asks before, `UnknownProduct` is raised here.
    """
    with _refusing(product_id):
        return await store.add_at_once(ctx.db, merchant_id, channel, buyer_id, product_id, quantity, offer, version)


@contextlib.contextmanager
def _refusing(product_id: str) -> Iterator[None]:
    """Say what the database would not do in this room's words."""
    try:
        yield
    except Unmet as error:
        match error.what.split():
            case ["not_sold"]:
                raise UnknownProduct from None
            case ["cart_changed", version]:
                raise CartChanged(version=int(version)) from None
            case ["cart_full"]:
                raise CartFull from None
            case ["line_too_long"]:
                raise TooMany from None
            case ["cart_moved"]:
                raise store.CartMoved from None
            case ["too_few", wanted, stock]:
                raise _not_enough(product_id, int(wanted), int(stock)) from None
        raise


async def open_offered(ctx: Context, channel: Channel, buyer_id: str) -> tuple[Cart, Mapping[str, Offer] | None]:
    """The buyer's cart, made if there is none yet, with the offers of its lines of the same moment.

    None for the offers where somebody else must be asked for them.
    """
    here = offer_here(ctx, channel)
    if here is not None:
        found = await store.read_offered(ctx.db, channel.merchant_id, channel.channel, buyer_id, here)
        if found is not None:
            return found
    return await store.open_cart(ctx.db, channel.merchant_id, channel.channel, buyer_id), None


async def put_once(
    tx: Tx, merchant_id: str, channel: str, buyer_id: str, product_id: str, offer: Offered
) -> tuple[Cart, CartLine, bool]:
    """Put one piece of a product into the cart, unless it is there: for what is bought once per cart.

    True when the line is new; only then has the version moved. A product that is there keeps its line as it is. The cart comes
    without its lines. Raises `CartFull`; the caller's transaction then rolls back.
    """
    cart = await store.lock_cart_alone(tx, merchant_id, channel, buyer_id)
    put = await store.put_line(tx, cart, product_id, offer)
    if put is None:
        there = await store.line_with(tx, cart, product_id)
        assert there is not None  # the cart is locked, so that nobody can have removed it since
        return cart, there, False
    cart, line, others = put
    if others >= MAX_LINES:
        raise CartFull
    return cart, line, True


async def drop_product(tx: Tx, merchant_id: str, channel: str, buyer_id: str, product_id: str) -> Cart:
    """Remove a product; the cart comes without its lines. Raises `LineMissing`, also the second time."""
    cart = await store.drop_product(tx, await store.lock_cart_alone(tx, merchant_id, channel, buyer_id), product_id)
    if cart is None:
        raise LineMissing
    return cart


async def change_line(tx: Tx, cart: Cart, line_id: uuid.UUID, offer: Offered, quantity: int) -> tuple[Cart, CartLine]:
    """Set the quantity of a line of a locked cart. Raises `LineMissing`, `TooMany`, `NotEnough`."""
    line = line_of(cart, line_id)
    _can_have(line.product_id, quantity, offer)
    return await store.set_line(tx, cart, line, quantity, offer)


async def remove_line(tx: Tx, merchant_id: str, channel: str, buyer_id: str, line_id: uuid.UUID, version: int | None) -> Cart:
    """Remove a line and return the cart after it. Raises `LineMissing`, `CartChanged`."""
    cart = await store.lock_cart(tx, merchant_id, channel, buyer_id)
    _expect(cart, version)
    line_of(cart, line_id)
    return await store.drop_lines(tx, cart, [line_id])


async def clear(tx: Tx, merchant_id: str, channel: str, buyer_id: str, version: int | None) -> Cart:
    """Remove all lines; an empty cart stays as it is, version included. Raises `CartChanged`."""
    cart = await store.lock_cart(tx, merchant_id, channel, buyer_id)
    _expect(cart, version)
    return await store.drop_lines(tx, cart, [line.line_id for line in cart.lines]) if cart.lines else cart


async def lock_for_change(tx: Tx, merchant_id: str, channel: str, buyer_id: str, version: int | None) -> Cart:
    """The buyer's cart under its row lock, in the version that was named. Raises `CartChanged`."""
    cart = await store.lock_cart(tx, merchant_id, channel, buyer_id)
    _expect(cart, version)
    return cart


def line_of(cart: Cart, line_id: uuid.UUID) -> CartLine:
    """The line of a cart. Raises `LineMissing`."""
    for line in cart.lines:
        if line.line_id == line_id:
            return line
    raise LineMissing


def _expect(cart: Cart, version: int | None) -> None:
    if version is not None and cart.version != version:
        raise CartChanged(version=cart.version)


def _can_have(product_id: str, wanted: int, offer: Offered) -> None:
    if wanted > MAX_QUANTITY:
        raise TooMany
    if offer.stock is not None and offer.stock < wanted:
        raise _not_enough(product_id, wanted, offer.stock)


def _not_enough(product_id: str, wanted: int, stock: int) -> NotEnough:
    left = f"Only {stock} of {product_id} {'is' if stock == 1 else 'are'} left."
    return NotEnough(left, productId=product_id, requested=wanted, available=stock)
