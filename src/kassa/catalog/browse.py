"""Look around in a shop: what its pages show. Our own products may come from the shelf; nothing is sold by what is seen here.

A product service is asked every time: it changes prices and stock without telling us.
"""

from __future__ import annotations

from typing import Any

import orjson

from kassa.catalog.model import Channel, Offer, Page
from kassa.catalog.prices import offer_of, offers_page
from kassa.catalog.shelf import Shelf
from kassa.catalog.sources import OwnSource, Sources
from kassa.kit.context import Context
from kassa.kit.money import Money


async def browse(ctx: Context, channel: Channel, page: int, limit: int) -> Page:
    """A page of what is sold, as `offers_page` gives it."""
    shelf = _shelf(ctx, channel)
    if shelf is None:
        return await offers_page(ctx, channel, page, limit)
    what = _what(ctx, channel, "page", page, limit)
    kept, token = await shelf.take(channel.merchant_id, what)
    if kept is not None:
        total, *rows = orjson.loads(kept)
        return Page([_offer(row) for row in rows], page, limit, total)
    found = await offers_page(ctx, channel, page, limit)
    if token is not None and found.offers:
        await shelf.put(channel.merchant_id, what, token, orjson.dumps([found.total, *map(_row, found.offers)]))
    return found


async def browse_one(ctx: Context, channel: Channel, product_id: str) -> Offer:
    """One product. Raises `UnknownProduct`, which is not kept: anybody can think of ids."""
    shelf = _shelf(ctx, channel)
    if shelf is None:
        return await offer_of(ctx, channel, product_id)
    what = _what(ctx, channel, "product", product_id)
    kept, token = await shelf.take(channel.merchant_id, what)
    if kept is not None:
        return _offer(orjson.loads(kept))
    found = await offer_of(ctx, channel, product_id)
    if token is not None:
        await shelf.put(channel.merchant_id, what, token, orjson.dumps(_row(found)))
    return found


def _shelf(ctx: Context, channel: Channel) -> Shelf | None:
    found: Shelf | None = ctx.db.ports.get(Shelf)
    return found if isinstance(ctx.port(Sources).of(channel), OwnSource) else None


def _what(ctx: Context, channel: Channel, *names: object) -> str:
    source = ctx.port(Sources).of(channel)
    counted = isinstance(source, OwnSource) and source.counted
    return " ".join(map(str, (channel.channel, "counted" if counted else "elsewhere", *names)))


def _row(offer: Offer) -> list[Any]:
    price = offer.price
    return [offer.product_id, offer.sku, offer.name, price.minor, price.currency, offer.images, offer.stock, offer.counted_by]


def _offer(row: list[Any]) -> Offer:
    product_id, sku, name, minor, currency, images, stock, counted_by = row
    return Offer(product_id, sku, name, Money(minor, currency), tuple(images), stock, counted_by)
