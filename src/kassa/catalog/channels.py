"""A merchant's channel. It changes rarely and is asked for on every request, so each process remembers it for a while."""

from __future__ import annotations

import time

from kassa.catalog import store
from kassa.catalog.model import Channel
from kassa.catalog.sources.source import Remembered, Sources
from kassa.kit.context import Context
from kassa.kit.errors import Busy

_REMEMBER_S = 30.0


class ChannelMissing(Busy):
    """This shop is not set up yet; open it with `kassa channels open`."""

    code = "unavailable"
    retry_after = 5


async def channel_of(ctx: Context, merchant_id: str, channel: str) -> Channel:
    """The channel, at most 30 s old. Raises `ChannelMissing` when nobody set it up."""
    memory = ctx.port(Sources).channels
    known = memory.get((merchant_id, channel))
    if known is not None and time.monotonic() - known.read_s < _REMEMBER_S:
        return known.channel
    found = await store.channel(ctx.db, merchant_id, channel)
    if found is None:
        raise ChannelMissing
    memory[merchant_id, channel] = Remembered(time.monotonic(), found)
    return found
