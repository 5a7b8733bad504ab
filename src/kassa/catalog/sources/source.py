"""What every source of products can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kassa.catalog.model import Channel, Offer, Page
from kassa.kit.context import Context
from kassa.kit.errors import Busy


class ProductsUnavailable(Busy):
    """The product service does not answer; try again in a moment."""

    code = "product_service_unavailable"
    retry_after = 5


class Source(Protocol):
    """Offers by id and page by page, in the channel's currency. Raises `ProductsUnavailable`."""

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        """What is sold of `product_ids`; the others are missing."""
        ...

    async def page(self, ctx: Context, channel: Channel, page: int, limit: int) -> Page:
        """A page of what is sold; `page` counts from 1."""
        ...


class Remembered(NamedTuple):
    """A channel as it was read at `read_s` (seconds of the monotonic clock)."""

    read_s: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class Sources:
    """The port that bootstrap fills: the source of each channel, and what this process remembers of channels."""

    by_channel: Mapping[str, Source]
    channels: dict[tuple[str, str], Remembered] = field(default_factory=dict)

    def of(self, channel: Channel) -> Source:
        """The source of a channel's products."""
        return self.by_channel[channel.channel]
