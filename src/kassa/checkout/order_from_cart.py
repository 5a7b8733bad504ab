"""Turn the buyer's cart into one order, however many tabs and processes press the button (orders contract, section 5).

The cart is read and priced first, outside any transaction; the transaction takes exactly that version, so that a cart
version becomes one checkout. Whoever comes second is answered with the order that the first one made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from kassa import carts, catalog, notices, orders
from kassa.catalog import Offer
from kassa.checkout import start, store
from kassa.checkout.answers import LINK_WAIT_S, repeat
from kassa.checkout.held import Held
from kassa.checkout.model import GUEST
from kassa.checkout.payme import TokenPayment, with_link
from kassa.checkout.rules import Rules
from kassa.checkout.saga import drive
from kassa.checkout.wishes import CartWish, Placed, RenderOrder, Replayed
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Broken
from kassa.kit.errors import Busy, Conflict, KassaError, Refused
from kassa.kit.money import Money
from kassa.notices import Contact
from kassa.payments.payme.model import PaymeRules

_BUYER_ACTS = frozenset({"link", "payme"})
_LOOKS = 8


class CartEmpty(Refused):
    """The cart is empty."""

    code = "cart_empty"
    advice = "Put something into the cart first."


class StockInsufficient(Refused):
    """Not everything in the cart can be had."""

    code = "stock_insufficient"
    advice = "Ask for what is left; the answer names it."


class PriceChanged(Conflict):
    """A price has changed since the buyer last looked."""

    code = "price_changed"
    advice = "Show the buyer the new total, and send it as `expectedTotal` if they agree."


class AlreadyOrdered(Conflict):
    """This cart was ordered already, with another address or payment method."""

    code = "cart_already_ordered"
    advice = "Go on with the order that the answer names; cancel it to order otherwise."


class TooManyWaiting(Busy):
    """Too many orders wait for you to pay them; pay or cancel one first."""

    code = "too_many_waiting"
    advice = "Pay or cancel one of the orders that wait; the next one is then taken."
    retry_after = 60


async def order_from_cart(ctx: Context, wish: CartWish, render: RenderOrder) -> Placed | Replayed:
    """Place the order, answer at once, and go on paying in the background.

    Called again with the same cart version it answers the same order. Raises `CartEmpty`, `StockInsufficient`,
    `PriceChanged`, `CartChanged`, `AlreadyOrdered`, `MethodUnavailable`, `UnknownProvider`, `TooManyWaiting`,
    `ProductsUnavailable`, `InProgress`, `KeyReused`, `TooManyTries`.
    """
    for look in range(_LOOKS):
        try:
            return await _try(ctx, wish, render)
        except carts.CartMoved:
            continue
        except Broken:
            if look:
                raise
        except KassaError:
            if wish.key is not None and (found := await repeat(ctx, wish.key, render)) is not None:
                return found
            raise
    raise once.InProgress("The cart is being changed; try again.")


async def _try(ctx: Context, wish: CartWish, render: RenderOrder) -> Placed | Replayed:
    provider = ctx.port(Rules).provider_of_order(wish.channel, wish.method)
    cart, offers = await carts.open_offered(ctx, wish.channel, wish.buyer_id)
    existing = await _existing(ctx, wish, cart)
    if existing is not None:
        if wish.key is not None and (found := await repeat(ctx, wish.key, render)) is not None:
            return found
        return existing
    if provider in _BUYER_ACTS:
        waiting = await store.waiting_for_buyer(ctx.db, wish.channel.merchant_id, wish.buyer_id)
        if waiting >= ctx.port(Rules).max_waiting_orders:
            raise TooManyWaiting
    lines = await _priced(ctx, wish, cart, offers)
    purchase = start.Purchase(
        channel=wish.channel,
        surface="orders",
        buyer_id=wish.buyer_id,
        method=wish.method,
        provider=provider,
        lines=lines,
        shipping_address=wish.shipping_address,
        card=wish.card,
        email=wish.email if wish.buyer_id.startswith(GUEST) else None,
        contact=_contact(wish),
        cart_id=cart.cart_id,
        cart_version=cart.version,
        asked=wish.asked[0],
        key=wish.key,
        at=lines[0][0].at,
    )
    if provider == "payme" and not purchase.total.minor:
        purchase = replace(purchase, provider="simulated")  # nothing is to be paid, and Payme has no link for nothing
    elif provider == "payme":
        purchase = await with_link(ctx, purchase, timedelta(milliseconds=ctx.port(PaymeRules).timeout_ms))
    paying = TokenPayment(ctx, purchase, wish.card_token)
    await paying.admit(wish.address)
    try:
        return await _place(ctx, wish, cart, purchase, paying, render)
    finally:
        paying.close()


async def _place(
    ctx: Context, wish: CartWish, cart: carts.Cart, purchase: start.Purchase, paying: TokenPayment, render: RenderOrder
) -> Placed:
    try:
        held, answer = await _begin(ctx, wish, cart, purchase, paying, render)
    except start.Short as short:
        raise _shortage(short.shortages) from None
    placed = Placed(held.order, created=True, answer=answer)
    leading = _lead(ctx, held)
    paying.go_on(held.payment)
    if wish.token is not None:
        notices.learn(ctx, placed.order.merchant_id, placed.order.order_id, _contact(wish), wish.token)
    if leading is not None and purchase.provider == "link":
        return await _after_link(ctx, wish, placed, leading, render)
    return placed


async def _begin(
    ctx: Context, wish: CartWish, cart: carts.Cart, purchase: start.Purchase, paying: TokenPayment, render: RenderOrder
) -> tuple[Held, tuple[int, bytes] | None]:
    """The first commit: in one statement, or, where that finds too little stock, again with the questions that say what is short.

    A link is waited for, so an order that is paid by one is answered later.
    """
    begin = partial(_start, ctx, wish, cart, purchase, paying, None if purchase.provider == "link" else render)
    try:
        return await begin()
    except catalog.StockMoved:
        return await begin(carefully=True)


async def _start(
    ctx: Context,
    wish: CartWish,
    cart: carts.Cart,
    purchase: start.Purchase,
    paying: TokenPayment,
    render: RenderOrder | None,
    *,
    carefully: bool = False,
) -> tuple[Held, tuple[int, bytes] | None]:
    answer = None
    async with start.starting(ctx, purchase) as tx:
        order = start.draft(purchase, purchase.at or await tx.now())
        if wish.key is not None:
            answer = render(Placed(order, created=True)) if render is not None else None
            await once.claim_later(tx, ctx.keys, wish.key, str(purchase.order_id), answer)
        await carts.take_lines(tx, cart)
        held = await start.begin(ctx, tx, purchase, order=order, carefully=carefully)
        await paying.begin(tx, held.payment)
    return held, answer


def _lead(ctx: Context, held: Held) -> asyncio.Task[object] | None:
    """Go on paying in the background; where the buyer has the link already there is nothing to do before it is paid."""
    if held.order.payment_url is not None:
        return None
    return ctx.background.spawn(drive(ctx, held), name=f"checkout {held.checkout.checkout_id}")


def _contact(wish: CartWish) -> Contact:
    return Contact(wish.buyer_id, wish.email, wish.name, language=wish.language)


async def _after_link(ctx: Context, wish: CartWish, placed: Placed, leading: asyncio.Task[object], render: RenderOrder) -> Placed:
    """Wait a moment for the link; without it the order stands all the same and the link is filled in later."""
    await asyncio.wait({leading}, timeout=LINK_WAIT_S)
    async with ctx.db.transaction("checkout.answer") as tx:
        order = await orders.find(tx, placed.order.merchant_id, placed.order.order_id) or placed.order
        placed = Placed(order, created=True)
        if wish.key is not None:
            await once.answer(tx, ctx.keys, wish.key, *render(placed))
    return placed


async def _existing(ctx: Context, wish: CartWish, cart: carts.Cart) -> Placed | None:
    """The order that this version became already (rules 1 to 4), or None when the cart is to be ordered now."""
    if wish.version is not None and wish.version != cart.version:
        taken = await store.taken_by(ctx.db, cart.merchant_id, cart.cart_id, wish.version)
        if taken is None:
            raise carts.CartChanged(version=cart.version)
        return await _same(ctx, wish, taken)
    if cart.lines:
        return None
    taken = await store.taken_by(ctx.db, cart.merchant_id, cart.cart_id, cart.version - 1)
    if wish.version is None and taken is not None and taken.recent:
        same = await _same(ctx, wish, taken)
        if same.order.status != "cancelled":
            return same
    raise CartEmpty


async def _same(ctx: Context, wish: CartWish, taken: store.CartTaken) -> Placed:
    if bytes(taken.asked) not in wish.asked:
        raise AlreadyOrdered(order_id=str(taken.order_id))
    order = await orders.find(ctx.db, wish.channel.merchant_id, taken.order_id)
    if order is None:
        raise CartEmpty
    return Placed(order, created=False)


async def _priced(ctx: Context, wish: CartWish, cart: carts.Cart, offers: Mapping[str, Offer] | None) -> list[tuple[Offer, int]]:
    """The cart's lines at live prices. Raises `StockInsufficient` or `PriceChanged`."""
    if offers is None:
        offers = await catalog.offers_of(ctx, wish.channel, [line.product_id for line in cart.lines])
    views, problems = carts.view(cart, offers, wish.channel.currency)
    short = [problem for problem in problems if problem.code in {"no_longer_sold", "stock_insufficient"}]
    if short:
        raise _shortage([catalog.Shortage(p.line.product_id, p.line.quantity, p.available or 0) for p in short])
    total = Money(sum(view.total.minor for view in views), wish.channel.currency)
    rose = any(p.price and p.old_price and p.price > p.old_price for p in problems)
    agreed = wish.expected_total
    if (agreed is None and rose) or (agreed is not None and agreed != total):
        raise PriceChanged(total_minor=total.minor, problems=problems)
    return [(offers[line.product_id], line.quantity) for line in cart.lines]


def _shortage(shortages: Sequence[catalog.Shortage]) -> StockInsufficient:
    items = [{"product_id": each.product_id, "requested": each.requested, "available": each.available} for each in shortages]
    return StockInsufficient(items=items)
