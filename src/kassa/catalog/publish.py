"""Put channels and products up for sale, and adjust stock with a reason. Publishing again changes nothing that stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kassa.catalog import store
from kassa.catalog.model import Channel
from kassa.catalog.shelf import changed
from kassa.catalog.sources import OwnSource, Sources
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Refused
from kassa.kit.money import Money


class StockTooLow(Refused):
    """The stock cannot be lowered below what is reserved."""

    code = "stock_too_low"


@dataclass(frozen=True, slots=True)
class Publication:
    """A product to publish. `stock` None makes it untracked."""

    product_id: str
    name: str
    price: Money
    stock: int | None
    images: Sequence[str] = ()
    sku: str | None = None


async def publish_channel(tx: Tx, merchant_name: str, channel: Channel) -> None:
    """Make the merchant and the channel if they are not there yet."""
    await store.add_channel(tx, merchant_name, channel)


async def publish(tx: Tx, channel: Channel, products: Sequence[Publication]) -> int:
    """Add the products that are not there yet, with their first stock; returns how many were new."""
    changed(tx, channel.merchant_id)
    return await store.add_products(tx, channel, products)


async def retire(ctx: Context, merchant_id: str, channel: str, product_ids: Sequence[str]) -> int:
    """Sell products of our own no longer; how many were sold until now. Done twice, the second changes nothing.

    Where somebody else decides what a channel sells, it has done so already.
    """
    if not isinstance(ctx.port(Sources).by_channel.get(channel), OwnSource):
        return 0
    async with ctx.db.transaction("catalog.retire") as tx:
        changed(tx, merchant_id)
        return await store.retire(tx, merchant_id, channel, product_ids)


async def adjust(tx: Tx, merchant_id: str, channel: str, product_id: str, change: int, reference: str) -> None:
    """Change stock on hand by `change` pieces (not 0), noted in the stock journal under `reference`.

    Called twice with one reference, the second changes nothing. Raises `StockTooLow` when less would remain than is
    reserved, and for a product that is not counted here.
    """
    if not await store.adjust_stock(tx, merchant_id, channel, product_id, change, reference):
        raise StockTooLow
    changed(tx, merchant_id)
