"""Put channels and products up for sale, and adjust stock with a reason. Publishing again changes nothing; revising does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kassa.catalog import store
from kassa.catalog.model import Channel, Published
from kassa.catalog.shelf import changed
from kassa.catalog.sources import OwnSource, Sources
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, Refused
from kassa.kit.money import Money


class StockTooLow(Refused):
    """The stock cannot be lowered below what is reserved."""

    code = "stock_too_low"


class PublishedMeanwhile(Conflict):
    """Somebody else published one of these products at the same moment; do it again."""

    code = "published_meanwhile"


@dataclass(frozen=True, slots=True)
class Publication:
    """A product to publish. `stock` None makes it untracked."""

    product_id: str
    name: str
    price: Money
    stock: int | None
    images: Sequence[str] = ()
    sku: str | None = None


async def publish_channel(tx: Tx, merchant_name: str, channel: Channel) -> bool:
    """Make the merchant and the channel if they are not there yet; whether the channel is new. One that is there stays as it is."""
    return await store.add_channel(tx, merchant_name, channel)


async def publish(tx: Tx, channel: Channel, products: Sequence[Publication]) -> int:
    """Add the products that are not there yet, with their first stock; returns how many were new."""
    changed(tx, channel.merchant_id)
    return await store.add_products(tx, channel, products)


@dataclass(frozen=True, slots=True)
class Revision:
    """Ids of products, by what became of them, each in the order in which they came."""

    added: Sequence[str]
    changed: Sequence[str]
    unchanged: Sequence[str]


async def revise(tx: Tx, channel: Channel, products: Sequence[Publication]) -> Revision:
    """Add the products that are not there yet, and give the others these names, prices, SKUs and images.

    Withdrawn ones are sold again. The stock of a product that is there stays: buyers have taken of it since. `products` has each
    id once. Called twice, the second changes nothing. Raises `PublishedMeanwhile` when another transaction added one of them first.
    """
    wanted = {each.product_id: _published(each) for each in products}
    known = await store.lock_published(tx, channel, list(wanted))
    added = [each for each in products if each.product_id not in known]
    changed_ids = [product_id for product_id in wanted if product_id in known and known[product_id] != wanted[product_id]]
    if await store.add_products(tx, channel, sorted(added, key=lambda each: each.product_id)) != len(added):
        raise PublishedMeanwhile
    await store.write_products(tx, channel, {product_id: wanted[product_id] for product_id in changed_ids})
    if added or changed_ids:
        changed(tx, channel.merchant_id)
    unchanged = [product_id for product_id in wanted if known.get(product_id) == wanted[product_id]]
    return Revision([each.product_id for each in added], changed_ids, unchanged)


def _published(product: Publication) -> Published:
    return Published(product.sku or product.product_id, product.name, product.price.minor, tuple(product.images))


async def withdraw(tx: Tx, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, bool]:
    """Sell products of our own no longer; whether each was sold until now. What the channel never had is missing from the answer.

    Done twice, the second changes nothing.
    """
    known = await store.lock_published(tx, channel, product_ids)
    if any(product.sold for product in known.values()):
        changed(tx, channel.merchant_id)
        await store.retire(tx, channel.merchant_id, channel.channel, list(known))
    return {product_id: product.sold for product_id, product in known.items()}


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
