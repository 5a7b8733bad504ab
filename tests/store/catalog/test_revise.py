"""A revision of the catalogue: what is new is added, what is there is changed, and what buyers took stays taken."""

from __future__ import annotations

import asyncio

import pytest
from tests.factories import Shop

from kassa import catalog
from kassa.catalog import Publication
from kassa.catalog.publish import PublishedMeanwhile, Revision, revise, withdraw
from kassa.kit.ids import new_id


async def revised(shop: Shop, *products: Publication) -> Revision:
    async with shop.db.transaction("revise") as tx:
        return await revise(tx, shop.channel, products)


async def test_names_and_prices_change_and_holds_stay(shop: Shop) -> None:
    price = (await shop.offer("mouse")).price
    async with shop.db.transaction("reserve") as tx:
        assert await catalog.reserve(tx, shop.channel, new_id(), await shop.holds(mouse=3), None) == []
    dearer, cat = (
        Publication("mouse", "Mouse", price.times(2), 7, ["https://example.com/m.jpg"], "M-1"),
        Publication("cat", "Cat", price, 2),
    )
    assert await revised(shop, dearer, cat) == Revision(["cat"], ["mouse"], [])
    offer = await shop.offer("mouse")
    assert (offer.name, offer.price, offer.image, offer.sku) == ("Mouse", price.times(2), "https://example.com/m.jpg", "M-1")
    assert await shop.level("mouse") == (100, 3)
    assert await shop.level("cat") == (2, 0)
    assert await revised(shop, dearer, cat) == Revision([], [], ["mouse", "cat"])


async def test_of_many_who_add_the_same_at_once_one_does(shop: Shop) -> None:
    cat = Publication("cat", "Cat", (await shop.offer("mouse")).price, 2)
    told = await asyncio.gather(*(revised(shop, cat) for _ in range(8)), return_exceptions=True)
    assert [each for each in told if not isinstance(each, PublishedMeanwhile | Revision)] == []
    assert sum(isinstance(each, Revision) and each.added == ["cat"] for each in told) == 1
    assert await revised(shop, cat) == Revision([], [], ["cat"])
    assert await shop.level("cat") == (2, 0)


async def test_what_is_withdrawn_is_not_offered_and_comes_back_with_its_stock(shop: Shop) -> None:
    offer = await shop.offer("mouse")
    for sold in (True, False):
        async with shop.db.transaction("withdraw") as tx:
            assert await withdraw(tx, shop.channel, ["mouse", "nothing"]) == {"mouse": sold}
    with pytest.raises(catalog.UnknownProduct):
        await shop.offer("mouse")
    back = Publication("mouse", offer.name, offer.price, None, offer.images, offer.sku)
    assert await revised(shop, back) == Revision([], ["mouse"], [])
    assert (await shop.offer("mouse")).stock == 100
