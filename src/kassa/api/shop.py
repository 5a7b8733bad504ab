"""The storefront that the orders and the checkout contract sell in: channel `shop` of the house merchant."""

from __future__ import annotations

from typing import Final

from kassa import catalog
from kassa.kit.context import Context

MERCHANT: Final = "1"
SHOP: Final = "shop"


async def the_shop(ctx: Context) -> catalog.Channel:
    """The channel. Raises `ChannelMissing` (a 503) while nobody has set it up."""
    return await catalog.channel_of(ctx, MERCHANT, SHOP)
