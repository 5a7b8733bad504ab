"""The cart: its lines at live prices, what is wrong with each, and the buttons that mend it.

What is added carries a key, so that a double click adds once; the other acts say what is to be, and mean the same twice. A cart
reserves nothing; what would stop an order is shown at the line where it stands.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from kassa import carts, catalog
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.api.keys import key_for, once_in
from kassa.api.orders.cart import LOOKS, offers_or_seen
from kassa.api.shop import MERCHANT, SHOP, the_shop
from kassa.carts import Cart, CartLine
from kassa.carts.model import MAX_QUANTITY, LineView, Problem
from kassa.catalog import Channel
from kassa.kit import ids, once
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.pages.buyer.visitor import Visitor, visitor_of
from kassa.pages.frame import see_other
from kassa.pages.options import PageOptions
from kassa.pages.shop import desk

_PRODUCT = re.compile(r"[A-Za-z0-9_.\-]{1,50}")
_NOT_ADDED = {carts.NotEnough: "short", carts.TooMany: "many", carts.CartFull: "full", catalog.UnknownProduct: "gone"}
_REFUSED = tuple(_NOT_ADDED)


@dataclass(frozen=True, slots=True)
class Basket:
    """A cart as it is shown: each line with its problems by code, and the sum of what is sold."""

    cart: Cart
    rows: list[tuple[LineView, dict[str, Problem]]]
    total: Money

    @property
    def can_be_ordered(self) -> bool:
        """Whether there are lines, and nothing to mend in any of them."""
        return bool(self.rows) and not any(problems for _, problems in self.rows)


async def basket_of(call: Call, channel: Channel, cart: Cart) -> Basket:
    """A cart at live prices; at the last known ones while a product service is away."""
    offers = await offers_or_seen(call.ctx, channel, cart.lines)
    views, problems = carts.view(cart, offers, channel.currency)
    of_line: dict[uuid.UUID, dict[str, Problem]] = {}
    for each in problems:
        of_line.setdefault(each.line.line_id, {})[each.code] = each
    rows = [(view, of_line.get(view.line.line_id, {})) for view in views]
    total = Money(sum(view.total.minor for view in views if view.sold), channel.currency)
    return Basket(cart, rows, total)


async def show(call: Call, options: PageOptions) -> Answer:
    """`/shop/cart`."""
    visitor = visitor_of(call, options)
    channel = await the_shop(call.ctx)
    cart = await desk.cart_of(call, visitor)
    basket = await basket_of(call, channel, cart) if cart is not None and cart.lines else None
    left = await _left_as_guest(call, visitor)
    pieces = sum(line.quantity for line in left.lines) if left else 0
    return await desk.show(call, options, visitor, "shop/cart.html", cart=cart, basket=basket, left=pieces)


async def add(call: Call, options: PageOptions) -> Answer:
    """Put a product into the cart."""
    visitor = visitor_of(call, options)
    sent = await desk.read_form(call, options, visitor)
    product_id, quantity = sent.get("product", ""), desk.whole(sent, "quantity", MAX_QUANTITY)
    if not _PRODUCT.fullmatch(product_id) or quantity is None:
        return see_other("/shop/cart?said=many")
    return see_other(f"/shop/cart?said={await _put(call, visitor, product_id, quantity, desk.key_in(sent)) or 'added'}")


async def change(call: Call, options: PageOptions) -> Answer:
    """Set the quantity of a line, accept its new price, or remove it. A line that is gone already needs nothing."""
    visitor = visitor_of(call, options)
    sent = await desk.read_form(call, options, visitor)
    line_id = ids.parse(call.in_path["line_id"])
    cart = await desk.cart_of(call, visitor)
    if line_id is None:
        raise NotHere
    line = next((each for each in cart.lines if each.line_id == line_id), None) if cart else None
    if line is None:
        return see_other("/shop/cart")
    try:
        said = await _change(call, visitor, line, sent)
    except carts.LineMissing:
        said = "removed"
    except _REFUSED as error:
        said = _NOT_ADDED[type(error)]
    return see_other(f"/shop/cart?said={said}")


async def bring(call: Call, options: PageOptions) -> Answer:
    """Bring what was put into the cart as a guest into the signed-in buyer's, line by line; what does not fit stays there."""
    visitor = visitor_of(call, options)
    await desk.read_form(call, options, visitor)
    left, said = await _left_as_guest(call, visitor), "brought"
    for line in left.lines if left else ():
        # The key names the line, so that one that was added just before a crash is not added again.
        if await _put(call, visitor, line.product_id, line.quantity, f"bring:{line.line_id}:{line.quantity}"):
            said = "stayed"
        else:
            await _remove(call, visitor.guest_id, line.line_id)
    return see_other(f"/shop/cart?said={said}")


async def _put(call: Call, visitor: Visitor, product_id: str, quantity: int, key: str | None) -> str | None:
    """Add pieces, once for each key; None, or the word for why they were not added."""
    channel = await the_shop(call.ctx)
    in_scope = key_for(call, key, visitor.scope, {"product": product_id, "quantity": quantity})
    try:
        offer = await catalog.offer_of(call.ctx, channel, product_id)

        async def work(tx: Tx) -> Answer:
            await carts.add_line(tx, MERCHANT, SHOP, visitor.buyer_id, product_id, offer, quantity, None)
            return Answer(204)

        for _ in range(LOOKS):
            with contextlib.suppress(carts.CartMoved):
                await once_in(call.ctx, "cart.add", in_scope, work)
                return None
    except _REFUSED as error:
        return _NOT_ADDED[type(error)]
    raise once.InProgress


async def _change(call: Call, visitor: Visitor, line: CartLine, sent: Mapping[str, str]) -> str:
    act = sent.get("act", "set")
    if act == "remove":
        await _remove(call, visitor.buyer_id, line.line_id)
        return "removed"
    offer = await catalog.offer_of(call.ctx, await the_shop(call.ctx), line.product_id)
    if act == "accept" and sent.get("price") != str(offer.price.minor):
        return "price"
    quantity = line.quantity if act == "accept" else desk.whole(sent, "quantity", MAX_QUANTITY)
    if quantity is None:
        return "many"
    async with call.ctx.db.transaction("cart.change") as tx:
        cart = await carts.lock_for_change(tx, MERCHANT, SHOP, visitor.buyer_id, None)
        await carts.change_line(tx, cart, line.line_id, offer, quantity)
    return "accepted" if act == "accept" else "changed"


async def _remove(call: Call, buyer_id: str, line_id: uuid.UUID) -> None:
    with contextlib.suppress(carts.LineMissing):
        async with call.ctx.db.transaction("cart.remove") as tx:
            await carts.remove_line(tx, MERCHANT, SHOP, buyer_id, line_id, None)


async def _left_as_guest(call: Call, visitor: Visitor) -> Cart | None:
    """What a signed-in buyer had put into the cart in this browser before, if anything."""
    if visitor.caller is None or visitor.is_new:
        return None
    found = await carts.read_cart(call.ctx.db, MERCHANT, SHOP, visitor.guest_id)
    return found if found is not None and found.lines else None
