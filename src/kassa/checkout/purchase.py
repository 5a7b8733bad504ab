"""Turn a cart of ambassadors into one purchase that is paid at Payme (purchases contract, section 5).

The cart keeps its lines, and one version of it becomes one purchase, however many tabs press the button. Prices are asked of the
source first, with no transaction open, and frozen by the first commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from kassa import carts, catalog, orders
from kassa.carts import Cart
from kassa.catalog import Channel, Offer
from kassa.catalog.sources import ProductsUnavailable
from kassa.checkout import start, store
from kassa.checkout.answers import repeat
from kassa.checkout.held import MOVED, Held
from kassa.checkout.model import PURCHASES, Checkout
from kassa.checkout.order_from_cart import CartEmpty
from kassa.checkout.payme import lock_open, supersede, with_link
from kassa.checkout.settle import conclude_in
from kassa.checkout.wishes import Placed, RenderOrder, Replayed
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, KassaError
from kassa.kit.languages import ENGLISH
from kassa.notices import Contact
from kassa.payments import Verdict
from kassa.payments.model import NO_CARD
from kassa.payments.payme.model import PROVIDER, PaymeRules

_LOOKS = 8
WITHDRAWN = Verdict("cancelled", code="withdrawn", message="An ambassador of this purchase can no longer be booked.")

_LATE = Verdict("closed")
"""Its deadline has passed, and no worker has looked yet."""


class AmbassadorsInvalid(Conflict):
    """Some ambassadors cannot be booked any more; remove them and try again."""

    code = "ambassadors_invalid"
    advice = "Take the ambassadors that the answer names out of the cart, and check out again."


@dataclass(frozen=True, slots=True)
class PurchaseWish:
    """Whose cart is bought, the key of the request if it has one, and the language in which the buyer is written to."""

    channel: Channel
    buyer_id: str
    key: once.Key | None = None
    email: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    language: str = ENGLISH


async def purchase(ctx: Context, wish: PurchaseWish, render: RenderOrder) -> Placed | Replayed:
    """One order that waits for Payme, with its link. Called again with the same cart version, the same order.

    Raises `CartEmpty`, `AmbassadorsInvalid`, `ProductsUnavailable`, `NoCashbox`, `InProgress`, `KeyReused`.
    """
    for _ in range(_LOOKS):
        try:
            return await _try(ctx, wish, render)
        except (carts.CartMoved, *MOVED):
            continue
        except once.Claimed:
            assert wish.key is not None
            first = await repeat(ctx, wish.key, render)
            if first is not None:
                return first
        except KassaError:
            if wish.key is not None and (first := await repeat(ctx, wish.key, render)) is not None:
                return first
            raise
    raise once.InProgress("The cart is being changed; try again.")


async def _try(ctx: Context, wish: PurchaseWish, render: RenderOrder) -> Placed | Replayed:
    channel = wish.channel
    cart = await carts.read_cart(ctx.db, channel.merchant_id, channel.channel, wish.buyer_id)
    if cart is None or not cart.lines:
        raise CartEmpty
    existing = await store.of_version(ctx.db, channel.merchant_id, cart.cart_id, cart.version)
    if existing is not None and _is_late(existing):
        late = existing.checkout_id
        if not await _close(ctx, cart, existing, _LATE, lambda held: held.checkout.checkout_id == late):
            raise carts.CartMoved
    try:
        offers = await catalog.offers_of(ctx, channel, [line.product_id for line in cart.lines])
    except ProductsUnavailable:
        if existing is None:
            raise
        return await _same(ctx, wish, existing, render)
    invalid = [line.product_id for line in cart.lines if line.product_id not in offers]
    if invalid and not await _close(ctx, cart, existing, WITHDRAWN, lambda held: _has_any(held, invalid)):
        raise AmbassadorsInvalid(invalid_ids=sorted(map(int, invalid)))
    if existing is not None:
        return await _same(ctx, wish, existing, render)
    return await _place(ctx, wish, cart, [(offers[line.product_id], 1) for line in cart.lines], render)


async def _same(ctx: Context, wish: PurchaseWish, existing: Checkout, render: RenderOrder) -> Placed:
    assert existing.order_id is not None
    order = await orders.find(ctx.db, existing.merchant_id, existing.order_id)
    if order is None or order.payment_url is None:
        raise carts.CartMoved
    placed = Placed(order, created=False)
    if wish.key is not None:
        async with ctx.db.transaction("checkout.answer") as tx:
            await _claim(ctx, tx, wish.key, order)
            await once.answer(tx, ctx.keys, wish.key, *render(placed))
    return placed


async def _claim(ctx: Context, tx: Tx, key: once.Key, order: orders.Order) -> None:
    found = await once.claim(tx, ctx.keys, key, str(order.order_id))
    if found is not None:
        raise once.Claimed(found)


def _has_any(held: Held, product_ids: Sequence[str]) -> bool:
    return any(line.product_id in product_ids for line in held.order.lines)


def _is_late(checkout: Checkout) -> bool:
    return checkout.deadline is not None and checkout.deadline <= checkout.read_at


async def _close(ctx: Context, cart: Cart, existing: Checkout | None, otherwise: Verdict, meant: Callable[[Held], bool]) -> bool:
    """Close the purchases of a cart that are `meant`, unless Payme holds them; whether it holds the existing one."""
    is_held = False
    async with ctx.db.transaction("checkout.withdraw") as tx:
        await carts.lock_version(tx, cart.merchant_id, cart.cart_id)
        for held in await lock_open(tx, cart.merchant_id, cart.cart_id):
            if held.payment.held_by is None and meant(held):
                await conclude_in(ctx, tx, held, otherwise)
            elif existing is not None and held.checkout.checkout_id == existing.checkout_id:
                is_held = True
    return is_held


async def _place(
    ctx: Context, wish: PurchaseWish, cart: Cart, lines: list[tuple[Offer, int]], render: RenderOrder
) -> Placed | Replayed:
    wanted = await with_link(ctx, _purchase(wish, cart, lines), timedelta(seconds=ctx.port(PaymeRules).link_ttl_s))
    async with start.starting(ctx, wanted) as tx:
        if wish.key is not None:
            found = await once.claim(tx, ctx.keys, wish.key, str(wanted.order_id))
            if found is not None:
                raise once.Claimed(found)
        if await carts.lock_version(tx, cart.merchant_id, cart.cart_id) != cart.version:
            raise carts.CartMoved
        older = await lock_open(tx, cart.merchant_id, cart.cart_id)
        if any(each.checkout.cart_version == cart.version for each in older):
            raise carts.CartMoved  # somebody was first: the same purchase is answered
        await supersede(ctx, tx, older)
        held = await start.begin(ctx, tx, wanted)
        placed = Placed(held.order, created=True)
        if wish.key is not None:
            await once.answer(tx, ctx.keys, wish.key, *render(placed))
    return placed


def _purchase(wish: PurchaseWish, cart: Cart, lines: list[tuple[Offer, int]]) -> start.Purchase:
    return start.Purchase(
        channel=wish.channel,
        surface=PURCHASES,
        buyer_id=wish.buyer_id,
        method=PROVIDER,
        provider=PROVIDER,
        lines=lines,
        shipping_address={},
        card=NO_CARD,
        contact=Contact(wish.buyer_id, wish.email, wish.name, language=wish.language),
        cart_id=cart.cart_id,
        cart_version=cart.version,
        key=wish.key,
    )
