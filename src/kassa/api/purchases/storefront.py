"""The storefront of the purchases contract: channel `ambassadors` of the house merchant."""

from __future__ import annotations

from kassa import catalog
from kassa.api.shop import MERCHANT
from kassa.kit.context import Context
from kassa.orders import AMBASSADORS


async def the_ambassadors(ctx: Context) -> catalog.Channel:
    """The channel. Raises `ChannelMissing` (a 503) while nobody has set it up."""
    return await catalog.channel_of(ctx, MERCHANT, AMBASSADORS)
