"""What a product costs now, and whether it can be had: the source of the channel is asked, once for all lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kassa.catalog.here import OfferHere
from kassa.catalog.model import Channel, Offer, Page
from kassa.catalog.sources import AmbassadorService, OwnSource, Sources
from kassa.kit.context import Context
from kassa.kit.errors import NotFound


class UnknownProduct(NotFound):
    """This product is not sold here."""

    code = "unknown_product"


async def offers_of(ctx: Context, channel: Channel, product_ids: Collection[str]) -> Mapping[str, Offer]:
    """Offers by product id, read as one snapshot; what is not sold is missing.

    Raises `ProductsUnavailable` when a product service was asked and did not answer.
    """
    if not product_ids:
        return {}
    return await ctx.port(Sources).of(channel).offers(ctx, channel, sorted(set(product_ids)))


async def recent_offers_of(ctx: Context, channel: Channel, product_ids: Collection[str]) -> Mapping[str, Offer]:
    """As `offers_of`, to be looked at only: while an ambassadors service fails, prices that are at most 5 s old may answer.

    Raises `ProductsUnavailable` when there are none.
    """
    source = ctx.port(Sources).of(channel)
    if product_ids and isinstance(source, AmbassadorService):
        return await source.recent_offers(channel, sorted(set(product_ids)))
    return await offers_of(ctx, channel, product_ids)


async def offer_of(ctx: Context, channel: Channel, product_id: str) -> Offer:
    """One offer. Raises `UnknownProduct`."""
    found = await offers_of(ctx, channel, [product_id])
    if product_id not in found:
        raise UnknownProduct
    return found[product_id]


def offer_here(ctx: Context, channel: Channel) -> OfferHere | None:
    """How a statement reads offers by itself; None where somebody else must be asked for them."""
    source = ctx.port(Sources).of(channel)
    return source.here if isinstance(source, OwnSource) else None


async def offers_page(ctx: Context, channel: Channel, page: int, limit: int) -> Page:
    """A page of what is sold, by name, then id. `page` counts from 1; one after the last is empty."""
    return await ctx.port(Sources).of(channel).page(ctx, channel, page, limit)
