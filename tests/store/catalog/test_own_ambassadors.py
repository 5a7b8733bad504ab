"""Our own tables as the source of ambassadors: what is published there under a number, counted by nobody."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import pytest_asyncio

from kassa import catalog
from kassa.catalog import Channel, Hold, Offer, Publication, Sources
from kassa.catalog.sources import OwnAmbassadors
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.kit.money import Money

HIGHEST = "9223372036854775807"
PRODUCTS = {"1": 5000000, "4": 2500000, HIGHEST: 10**13, "2": 0, "3": 10**13 + 1, "01": 100, "voucher": 100, "9" * 19: 100}


@dataclass
class Counter:
    """A channel of a merchant of its own, which sells ambassadors."""

    ctx: Context
    channel: Channel

    async def offers(self, *ids: str) -> dict[str, Offer]:
        return dict(await catalog.offers_of(self.ctx, self.channel, ids))


@pytest_asyncio.fixture(loop_scope="session")
async def counter(ctx: Context) -> Counter:
    merchant_id = f"m{new_id().hex[-12:]}"
    channel = Channel(merchant_id, "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())
    ports = dict(ctx.ports) | {Sources: Sources({"ambassadors": OwnAmbassadors()})}
    here = Context(ctx.db, ctx.keys, ports=ports)
    async with ctx.db.transaction("seed") as tx:
        await catalog.publish_channel(tx, "A booking site", channel)
        published = [
            Publication(each, f"No. {each}", Money(price, "UZS"), 3 if each == "4" else None) for each, price in PRODUCTS.items()
        ]
        await catalog.publish(tx, channel, published)
    return Counter(here, channel)


async def test_what_is_published_under_a_number_is_sold_at_its_price(counter: Counter) -> None:
    found = await counter.offers("1", "4", "5", HIGHEST)
    assert {each: (offer.price, offer.name) for each, offer in found.items()} == {
        "1": (Money(5000000, "UZS"), "No. 1"),
        "4": (Money(2500000, "UZS"), "No. 4"),
        HIGHEST: (Money(10**13, "UZS"), f"No. {HIGHEST}"),
    }
    assert await catalog.recent_offers_of(counter.ctx, counter.channel, ["1", "4", "5", HIGHEST]) == found


@pytest.mark.parametrize("product_id", ["2", "3", "01", "voucher", "9" * 19, "", "0"])
async def test_what_has_no_number_or_no_price_of_an_ambassador_is_not_sold(counter: Counter, product_id: str) -> None:
    assert await counter.offers(product_id) == {}
    assert await catalog.recent_offers_of(counter.ctx, counter.channel, [product_id]) == {}


async def test_nobody_counts_them_so_none_is_held(counter: Counter) -> None:
    offers = await counter.offers("1", "4")
    assert {(offer.stock, offer.counted_by) for offer in offers.values()} == {(None, "elsewhere")}
    async with counter.ctx.db.transaction("reserve") as tx:
        assert await catalog.reserve(tx, counter.channel, new_id(), [Hold(offer, 1) for offer in offers.values()], None) == []
    assert await counter.ctx.db.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", counter.channel.merchant_id) == 0


async def test_what_is_retired_is_not_sold(counter: Counter) -> None:
    await catalog.retire(counter.ctx, counter.channel.merchant_id, "ambassadors", ["1"])
    assert set(await counter.offers("1", "4")) == {"4"}
    assert set(await catalog.recent_offers_of(counter.ctx, counter.channel, ["1", "4"])) == {"4"}
