"""Products that are sold no longer: they leave the carts, and purchases of them that nobody has begun to pay are cancelled.

What is paid, or held by its provider, is never touched (purchases contract, section 8).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa import carts, catalog, orders
from kassa.catalog import Channel
from kassa.checkout import store
from kassa.checkout.held import MOVED
from kassa.checkout.payme import lock_open
from kassa.checkout.purchase import WITHDRAWN
from kassa.checkout.settle import conclude_in
from kassa.kit.context import Context

_AT_ONCE = 1000
_FIRST = uuid.UUID(int=0)
_LOOKS = 8


async def withdraw(ctx: Context, merchant_id: str, product_ids: Sequence[str], channel: str = orders.AMBASSADORS) -> int:
    """Take products out of all open carts of a channel and cancel the purchases that hold them; how many carts that were.

    Where the products are our own they are retired first. Done twice, the second finds nothing.
    """
    if not product_ids:
        return 0
    await catalog.retire(ctx, merchant_id, channel, product_ids)
    touched: set[uuid.UUID] = set()
    after = _FIRST
    while found := await carts.carts_with(ctx.db, merchant_id, channel, product_ids, after, _AT_ONCE):
        touched.update(found)
        after = found[-1]
    last = (_FIRST, _FIRST)
    while waiting := await store.open_of_channel(ctx.db, merchant_id, channel, last, _AT_ONCE):
        holding = await orders.with_products(ctx.db, merchant_id, [order_id for _, order_id in waiting], product_ids)
        touched.update(cart_id for cart_id, order_id in waiting if order_id in holding)
        last = waiting[-1]
    for cart_id in sorted(touched):
        await _withdraw_from(ctx, merchant_id, cart_id, product_ids)
    return len(touched)


async def revalidate(ctx: Context, channel: Channel) -> int:
    """Ask the source about everything that lies in carts or waits to be paid, and withdraw what it knows no longer.

    Only an explicit answer removes something: raises `ProductsUnavailable` when there is none. Returns how many products went.
    """
    gone, after = 0, ""
    while product_ids := await carts.products_in_carts(ctx.db, channel.merchant_id, channel.channel, after, _AT_ONCE):
        gone += await _judge(ctx, channel, product_ids)
        after = product_ids[-1]
    last = (_FIRST, _FIRST)
    while waiting := await store.open_of_channel(ctx.db, channel.merchant_id, channel.channel, last, _AT_ONCE):
        bought = await orders.products_of(ctx.db, channel.merchant_id, [order_id for _, order_id in waiting])
        for first in range(0, len(bought), _AT_ONCE):
            gone += await _judge(ctx, channel, sorted(bought)[first : first + _AT_ONCE])
        last = waiting[-1]
    return gone


async def _judge(ctx: Context, channel: Channel, product_ids: Sequence[str]) -> int:
    offers = await catalog.offers_of(ctx, channel, product_ids)
    invalid = [product_id for product_id in product_ids if product_id not in offers]
    await withdraw(ctx, channel.merchant_id, invalid, channel.channel)
    return len(invalid)


async def _withdraw_from(ctx: Context, merchant_id: str, cart_id: uuid.UUID, product_ids: Sequence[str]) -> None:
    for _ in range(_LOOKS):
        try:
            async with ctx.db.transaction("checkout.withdraw") as tx:
                await carts.lock_version(tx, merchant_id, cart_id)
                for held in await lock_open(tx, merchant_id, cart_id):
                    has = any(line.product_id in product_ids for line in held.order.lines)
                    if has and held.payment.held_by is None:
                        await conclude_in(ctx, tx, held, WITHDRAWN)
                await carts.drop_withdrawn(tx, merchant_id, cart_id, product_ids)
        except MOVED:
            continue
        return
    raise store.Overtaken
