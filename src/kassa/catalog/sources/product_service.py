"""A product service as the source of products (orders contract, section 7).

Its stock is what it says minus what our own open checkouts hold. A 404 means "not sold"; silence, a 5xx and an answer
of another shape mean `ProductsUnavailable`, and nothing is sold on a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from kassa.catalog import store
from kassa.catalog.model import ELSEWHERE, PRODUCT_SERVICE, Channel, Offer, Page
from kassa.catalog.sources.source import ProductsUnavailable
from kassa.kit.context import Context
from kassa.kit.errors import Busy, Unknown
from kassa.kit.money import InvalidMoney, Money, from_major
from kassa.kit.neighbour import Answer, Neighbour

_READ_S = 2.0
_AT_ONCE = 8


class ProductService:
    """Products of a neighbour. `counted` is False where an inventory service counts the stock instead."""

    def __init__(self, neighbour: Neighbour, *, counted: bool = True) -> None:
        self._neighbour = neighbour
        self._counted_by = PRODUCT_SERVICE if counted else ELSEWHERE

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        """See `Source.offers`; the products are read side by side, eight at a time."""
        read_at = await _before_reading(ctx)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(product_id: str) -> Offer | None:
            async with gate:
                return await self._read(channel, product_id)

        found = [offer for offer in await asyncio.gather(*map(read, product_ids)) if offer is not None]
        return {offer.product_id: offer for offer in await self._free(ctx, channel, found, read_at)}

    async def page(self, ctx: Context, channel: Channel, page: int, limit: int) -> Page:
        """See `Source.page`."""
        read_at = await _before_reading(ctx)
        answer = await self._get(f"/api/products?page={page}&limit={limit}", "product.list")
        data = _data(answer)
        rows, pagination = data.get("products"), data.get("pagination")
        if not isinstance(rows, list) or not isinstance(pagination, dict):
            raise ProductsUnavailable
        total = pagination.get("total")
        if not isinstance(total, int) or isinstance(total, bool):
            raise ProductsUnavailable
        offers = [self._offer(channel, row.get("id"), row) for row in rows if isinstance(row, dict)]
        return Page(await self._free(ctx, channel, offers, read_at), page, limit, total)

    async def _read(self, channel: Channel, product_id: str) -> Offer | None:
        answer = await self._get(f"/api/products/{quote(product_id, safe='')}", "product.get")
        if answer.status == 404:
            return None
        return self._offer(channel, product_id, _data(answer))

    async def _get(self, path: str, act: str) -> Answer:
        try:
            return await self._neighbour.call("GET", path, act=act, timeout_s=_READ_S)
        except (Busy, Unknown) as error:
            raise ProductsUnavailable from error

    async def _free(self, ctx: Context, channel: Channel, offers: list[Offer], read_at: datetime) -> list[Offer]:
        counted = [offer.product_id for offer in offers if offer.read_stock is not None]
        if not counted or self._counted_by != PRODUCT_SERVICE:
            return [replace(offer, stock=None) for offer in offers]
        held = await store.remote_holds(ctx.db, channel, [(product_id, read_at) for product_id in counted])
        return [
            offer
            if offer.read_stock is None
            else replace(offer, stock=max(0, offer.read_stock - held.get(offer.product_id, 0)), read_at=read_at)
            for offer in offers
        ]

    def _offer(self, channel: Channel, product_id: Any, data: dict[str, Any]) -> Offer:
        name, images, stock = data.get("name"), data.get("images") or [], data.get("stock")
        if not isinstance(product_id, str) or not isinstance(name, str) or not name or not isinstance(images, list):
            raise ProductsUnavailable
        if stock is not None and (isinstance(stock, bool) or not isinstance(stock, int)):
            raise ProductsUnavailable
        sku = data.get("sku")
        return Offer(
            product_id=product_id,
            sku=sku if isinstance(sku, str) else product_id,
            name=name[:255],
            price=_price(data.get("price"), channel.currency),
            images=tuple(image for image in images if isinstance(image, str)),
            stock=stock,
            counted_by=self._counted_by,
            read_stock=stock,
        )


async def _before_reading(ctx: Context) -> datetime:
    at: datetime = await ctx.db.value("SELECT clock_timestamp()")
    return at


def _data(answer: Answer) -> dict[str, Any]:
    data = answer.body.get("data") if answer.body else None
    if answer.status != 200 or not isinstance(data, dict):
        raise ProductsUnavailable
    return data


def _price(value: Any, currency: str) -> Money:
    try:
        return from_major(Decimal(value) if isinstance(value, str) else value, currency)
    except (InvalidMoney, InvalidOperation) as error:
        raise ProductsUnavailable from error
