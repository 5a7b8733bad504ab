"""The buyer's cart over HTTP (orders contract, section 4).

Offers are asked before the transaction; the claim of the key, the edit and the answer are one transaction. Every answer to a
buyer carries the cart's version as `ETag`, refusals too.
"""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from fastapi import APIRouter

from kassa import carts, catalog
from kassa.api.answers import Answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY, operation, parameter
from kassa.api.errors import InvalidTag, NotHere, TooLarge, Unauthorized
from kassa.api.keys import given_key, key_for, once_in, or_first_answer
from kassa.api.orders import shapes, shown
from kassa.api.orders.models import AddItem, ChangeItem
from kassa.api.orders.problems import envelope
from kassa.api.shop import MERCHANT, SHOP, the_shop
from kassa.carts import Cart, CartChanged, CartLine, CartMoved
from kassa.carts.model import LineView
from kassa.catalog import Channel
from kassa.kit import ids, once
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Busy, KassaError, Unknown
from kassa.kit.money import Money

router = APIRouter(tags=["cart"])

_TAG = re.compile(r'"(0|[1-9][0-9]{0,30})"')
_HIGHEST = 2**63 - 1
LOOKS = 8
"""How often an edit is tried that others overtake."""
_BUSY = "The cart is being changed; try again."
_ITEM_ID = parameter("path", "item_id", "The id of a line.")
_IF_MATCH = parameter("header", "If-Match", 'The version that was looked at, `"3"`, or `*`. Another version: 412.')

Handler = Callable[[Call], Awaitable[Answer]]


def named_version(call: Call) -> int | None:
    """The version that `If-Match` names, None for none or `*`. Raises `InvalidTag`."""
    value = call.header(b"if-match")
    if value is None or value == "*":
        return None
    found = _TAG.fullmatch(value)
    if found is None:
        raise InvalidTag
    return min(int(found[1]), _HIGHEST)


def _with_version(handler: Handler) -> Handler:
    """Refusals tell the version too, so that a client can look again before it tries again."""

    @wraps(handler)
    async def told(call: Call) -> Answer:
        try:
            return await handler(call)
        except (Unauthorized, TooLarge, Busy, Unknown):
            raise
        except KassaError as error:
            return envelope(error).with_headers(shapes.etag(await _version(call, error)))

    return told


async def _version(call: Call, error: KassaError) -> int:
    if isinstance(error, CartChanged):
        return int(error.details["version"])
    cart = await carts.read_cart(call.ctx.db, MERCHANT, SHOP, call.caller.user)
    return cart.version if cart is not None else 0


@router.get(
    "/api/cart",
    response_model=None,
    responses=shown.answers(
        200, shown.CartAnswer, "The cart at live prices.", shown.CART, {401: ["unauthorized"], 503: shown.AWAY}
    ),
    openapi_extra=operation(),
)
@_with_version
async def read_cart(call: Call) -> Answer:
    """Look at the cart. While a product service is away, its lines show what was last known of them."""
    buyer = call.caller.user
    channel = await the_shop(call.ctx)
    cart = await carts.open_cart(call.ctx.db, MERCHANT, SHOP, buyer)
    offers = await offers_or_seen(call.ctx, channel, cart.lines)
    return _show(200, "Cart retrieved successfully", cart, offers, channel)


@router.post(
    "/api/cart/items",
    status_code=201,
    response_model=None,
    responses=shown.answers(
        201, shown.ItemAnswer, "The line as it is now.", shown.ITEM_ADDED, shown.EDIT_ERRORS | {404: ["unknown_product"]}
    ),
    openapi_extra=operation(IDEMPOTENCY_KEY, _IF_MATCH, body=AddItem, example={"productId": "prod_001", "quantity": 2}),
)
@_with_version
async def add_item(call: Call) -> Answer:
    """Put a product into the cart. Adding it again adds to its line; concurrent adds all count. A cart reserves nothing."""
    buyer = call.caller.user
    sent, version = given_key(call), named_version(call)
    data = await read_json(call)
    asked = fit(AddItem, data)
    key = key_for(call, sent, call.caller.scope, data)
    channel = await the_shop(call.ctx)
    product_id, quantity = asked.product_id, asked.quantity or 1
    if key is None:
        offered = catalog.offer_here(call.ctx, channel) or await catalog.offer_of(call.ctx, channel, product_id)

        async def add() -> Answer:
            added = await carts.add_line_alone(call.ctx, MERCHANT, SHOP, buyer, product_id, offered, quantity, version)
            return _show_added(added, channel)

    else:
        try:
            offer = await catalog.offer_of(call.ctx, channel, product_id)
        except KassaError as error:
            return await or_first_answer(call.ctx, key, error)

        async def work(tx: Tx) -> Answer:
            added = await carts.add_line(tx, MERCHANT, SHOP, buyer, product_id, offer, quantity, version)
            return _show_added(added, channel)

        async def add() -> Answer:
            return await once_in(call.ctx, "cart.add", key, work)

    for _ in range(LOOKS):
        with contextlib.suppress(CartMoved):
            return await add()
    raise once.InProgress(_BUSY)


@router.put(
    "/api/cart/items/{item_id}",
    response_model=None,
    responses=shown.answers(200, shown.ItemAnswer, "The line as it is now.", shown.ITEM_CHANGED, shown.EDIT_ERRORS),
    openapi_extra=operation(_ITEM_ID, IDEMPOTENCY_KEY, _IF_MATCH, body=ChangeItem, example={"quantity": 3}),
)
@_with_version
async def change_item(call: Call) -> Answer:
    """Replace the quantity of a line."""
    buyer = call.caller.user
    sent, version = given_key(call), named_version(call)
    data = await read_json(call)
    asked = fit(ChangeItem, data)
    key = key_for(call, sent, call.caller.scope, data)
    channel = await the_shop(call.ctx)
    try:
        line_id = _line_id(call)
        line = carts.line_of(await carts.open_cart(call.ctx.db, MERCHANT, SHOP, buyer), line_id)
        offer = await catalog.offer_of(call.ctx, channel, line.product_id)
    except KassaError as error:
        return await or_first_answer(call.ctx, key, error)

    async def work(tx: Tx) -> Answer:
        cart = await carts.lock_for_change(tx, MERCHANT, SHOP, buyer, version)
        cart, changed = await carts.change_line(tx, cart, line_id, offer, asked.quantity)
        return _show_item(200, "Cart item updated successfully", cart, changed, channel)

    return await once_in(call.ctx, "cart.change", key, work)


@router.delete(
    "/api/cart/items/{item_id}",
    response_model=None,
    responses=shown.answers(200, shown.CartAnswer, "The cart after it.", shown.CART, shown.REMOVE_ERRORS | {404: ["not_found"]}),
    openapi_extra=operation(_ITEM_ID, IDEMPOTENCY_KEY, _IF_MATCH),
)
@_with_version
async def remove_item(call: Call) -> Answer:
    """Remove a line."""
    buyer = call.caller.user
    sent, version = given_key(call), named_version(call)
    key = key_for(call, sent, call.caller.scope, None)
    channel = await the_shop(call.ctx)
    try:
        line_id = _line_id(call)
        before = await carts.open_cart(call.ctx.db, MERCHANT, SHOP, buyer)
        carts.line_of(before, line_id)
    except KassaError as error:
        return await or_first_answer(call.ctx, key, error)

    async def act(tx: Tx) -> Cart:
        return await carts.remove_line(tx, MERCHANT, SHOP, buyer, line_id, version)

    return await _edit(call.ctx, "cart.remove", key, channel, before, act, "Item removed from cart successfully")


@router.delete(
    "/api/cart",
    response_model=None,
    responses=shown.answers(200, shown.CartAnswer, "The empty cart.", shown.EMPTY_CART, shown.REMOVE_ERRORS),
    openapi_extra=operation(IDEMPOTENCY_KEY, _IF_MATCH),
)
@_with_version
async def clear_cart(call: Call) -> Answer:
    """Remove all lines. An empty cart stays as it is, version included."""
    buyer = call.caller.user
    sent, version = given_key(call), named_version(call)
    key = key_for(call, sent, call.caller.scope, None)
    channel = await the_shop(call.ctx)

    async def work(tx: Tx) -> Answer:
        cart = await carts.clear(tx, MERCHANT, SHOP, buyer, version)
        return _show(200, "Cart cleared successfully", cart, {}, channel)

    return await once_in(call.ctx, "cart.clear", key, work)


class _NewLine(Exception):  # not an error: it ends the transaction so that one more offer can be asked
    def __init__(self, cart: Cart) -> None:
        self.cart = cart


async def _edit(
    ctx: Context,
    name: str,
    key: once.Key | None,
    channel: Channel,
    before: Cart,
    act: Callable[[Tx], Awaitable[Cart]],
    message: str,
) -> Answer:
    """Do `act` and show the whole cart after it. Should a line have come in that nobody asked about, look again."""
    for _ in range(LOOKS):
        offers = await offers_or_seen(ctx, channel, before.lines)
        known = {line.product_id for line in before.lines}

        async def work(tx: Tx, offers: Mapping[str, Any] = offers, known: set[str] = known) -> Answer:
            cart = await act(tx)
            if any(line.product_id not in known for line in cart.lines):
                raise _NewLine(cart)
            return _show(200, message, cart, offers, channel)

        try:
            return await once_in(ctx, name, key, work)
        except _NewLine as more:
            before = more.cart
    raise once.InProgress(_BUSY)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was last known of a product, where nobody can be asked."""

    name: str
    price: Money
    image: str | None
    stock: int | None = None


async def offers_or_seen(ctx: Context, channel: Channel, lines: Iterable[CartLine]) -> Mapping[str, catalog.Offer | _Seen]:
    """The offers of lines by product; what was last known of them while a product service is away."""
    try:
        return await catalog.offers_of(ctx, channel, [line.product_id for line in lines])
    except catalog.ProductsUnavailable:
        return {
            line.product_id: _Seen(line.seen_name, Money(line.seen_price_minor, channel.currency), line.seen_image)
            for line in lines
        }


def _line_id(call: Call) -> uuid.UUID:
    found = ids.parse(call.in_path["item_id"])
    if found is None:
        raise NotHere
    return found


def _show(status: int, message: str, cart: Cart, offers: Mapping[str, Any], channel: Channel) -> Answer:
    views, problems = carts.view(cart, offers, channel.currency)
    shown_cart = shapes.whole_cart(cart, views, problems, channel.currency)
    return shapes.success(status, message, shown_cart, shapes.etag(cart.version))


def _show_added(added: tuple[Cart, CartLine], channel: Channel) -> Answer:
    return _show_item(201, "Item added to cart successfully", *added, channel)


def _show_item(status: int, message: str, cart: Cart, line: CartLine, channel: Channel) -> Answer:
    """A line right after an edit: what was seen of the product then is what it costs."""
    view = LineView(line, line.seen_name, Money(line.seen_price_minor, channel.currency), line.seen_image, sold=True)
    return shapes.success(status, message, shapes.cart_item(view), shapes.etag(cart.version))
