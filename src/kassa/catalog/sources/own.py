"""Our own tables as the source of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kassa.catalog import store
from kassa.catalog.here import OfferHere
from kassa.catalog.model import Channel, Offer, Page
from kassa.kit.context import Context


class OwnSource:
    """Products of the table `products`. `counted` is False where an inventory service counts the stock instead."""

    def __init__(self, *, counted: bool = True) -> None:
        self.counted = counted
        self.here = OfferHere(counted)

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        """See `Source.offers`."""
        return await store.own_offers(ctx.db, channel, product_ids, self.here)

    async def page(self, ctx: Context, channel: Channel, page: int, limit: int) -> Page:
        """See `Source.page`."""
        return await store.own_page(ctx.db, channel, page, limit, counted=self.counted)
