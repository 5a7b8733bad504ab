"""What readers are shown may come from Redis, and is always what was committed last; what is sold never comes from there."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.factories import Shop, open_shop, open_world
from tests.services import OwnRedis

from kassa import catalog
from kassa.catalog import Publication, Shelf, Sources
from kassa.catalog.sources import OwnSource
from kassa.kit.context import Context
from kassa.kit.database import Database, Tx
from kassa.kit.ids import new_id
from kassa.kit.redis import Redis


@contextlib.asynccontextmanager
async def process(dsn: str, url: str) -> AsyncIterator[Context]:
    """A process of its own, as far as the database and Redis can tell."""
    redis = Redis(url)
    await redis.open()
    async with open_world(dsn, size=3) as ctx:
        shelf = ctx.db.ports[Shelf] = Shelf(redis)
        yield ctx
        await shelf.close()
        await redis.close()


@pytest_asyncio.fixture(loop_scope="session")
async def here(kassa_dsn: str, own_redis: OwnRedis) -> AsyncIterator[Context]:
    async with process(kassa_dsn, own_redis.url) as ctx:
        yield ctx


@pytest_asyncio.fixture(loop_scope="session")
async def there(kassa_dsn: str, own_redis: OwnRedis) -> AsyncIterator[Context]:
    async with process(kassa_dsn, own_redis.url) as ctx:
        yield ctx


@pytest_asyncio.fixture(loop_scope="session")
async def shop(here: Context) -> Shop:
    return await open_shop(here, mouse=100, lamp=50, gift=None)


async def quiet(ctx: Context) -> None:
    """Until Redis knows of every change that was committed by this process."""
    shelf: Shelf = ctx.db.ports[Shelf]
    while shelf._telling is not None and not shelf._telling.done():
        await asyncio.sleep(0.001)


async def seen(ctx: Context, shop: Shop) -> dict[str, int | None]:
    """The stock of all products as the page of the shop shows it, which must be what each product's own page shows."""
    page = await catalog.browse(ctx, shop.channel, 1, 20)
    assert page.total == len(page.offers)
    for offer in page.offers:
        assert await catalog.browse_one(ctx, shop.channel, offer.product_id) == offer
    return {offer.product_id: offer.stock for offer in page.offers}


async def kept(ctx: Context, shop: Shop) -> bool:
    """Whether the page comes from Redis now."""
    before = ctx.db.statements
    await catalog.browse(ctx, shop.channel, 1, 20)
    return ctx.db.statements == before


async def kept_soon(ctx: Context, shop: Shop) -> None:
    """Look until the page is kept: the first look makes the token, the second one fills the shelf."""
    async with asyncio.timeout(10):
        while not await kept(ctx, shop):
            await quiet(ctx)


async def test_a_page_that_was_shown_is_shown_again_without_asking_the_database(shop: Shop, here: Context, there: Context) -> None:
    asked = await catalog.offers_page(here, shop.channel, 1, 20)
    await kept_soon(here, shop)
    assert await kept(there, shop)
    assert await catalog.browse(there, shop.channel, 1, 20) == replace(asked, offers=list(asked.offers))


async def test_a_product_that_was_shown_is_shown_again_without_asking_the_database(shop: Shop, here: Context) -> None:
    await kept_soon(here, shop)
    first = await catalog.browse_one(here, shop.channel, "mouse")
    before = here.db.statements
    assert await catalog.browse_one(here, shop.channel, "mouse") == first == await catalog.offer_of(here, shop.channel, "mouse")
    assert here.db.statements == before + 1, "what may be bought is asked of the database"


async def test_what_is_not_sold_is_not_kept(shop: Shop, here: Context) -> None:
    await kept_soon(here, shop)
    for _ in range(2):
        before = here.db.statements
        with pytest.raises(catalog.UnknownProduct):
            await catalog.browse_one(here, shop.channel, "cat")
        assert here.db.statements == before + 1


async def test_each_page_and_each_shop_has_its_own_place(shop: Shop, here: Context) -> None:
    other = await open_shop(here, cat=1)
    for each in (shop, other, shop, other):
        await quiet(here)
        await seen(here, each)
    assert await seen(here, other) == {"cat": 1}
    assert [offer.product_id for offer in (await catalog.browse(here, shop.channel, 1, 1)).offers] == ["gift"]
    assert [offer.product_id for offer in (await catalog.browse(here, shop.channel, 2, 1)).offers] == ["lamp"]
    assert [offer.product_id for offer in (await catalog.browse(here, shop.channel, 2, 1)).offers] == ["lamp"]


Act = Callable[[Shop, Tx, uuid.UUID], Awaitable[object]]


async def reserve(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> object:
    return await catalog.reserve(tx, shop.channel, checkout_id, await shop.holds(mouse=3), None)


async def reserve_later(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> object:
    return await catalog.reserve_later(tx, shop.channel, checkout_id, await shop.holds(mouse=3), None)


async def consume(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> None:
    await catalog.consume(tx, shop.merchant_id, checkout_id)


async def release(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> object:
    return await catalog.release(tx, shop.merchant_id, checkout_id)


async def give_back(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> object:
    return await catalog.give_back(tx, shop.merchant_id, checkout_id)


async def restock(shop: Shop, tx: Tx, checkout_id: uuid.UUID) -> None:
    await catalog.restock(tx, shop.merchant_id, checkout_id, "r-1", {"mouse": 2})


async def adjust(shop: Shop, tx: Tx, _checkout_id: uuid.UUID) -> None:
    await catalog.adjust(tx, shop.merchant_id, "shop", "mouse", 7, "found behind the sofa")


async def publish(shop: Shop, tx: Tx, _checkout_id: uuid.UUID) -> object:
    offer = await shop.offer("mouse")
    return await catalog.publish(tx, shop.channel, [Publication("cat", "Cat", offer.price, 1)])


async def done(db: Database, shop: Shop, checkout_id: uuid.UUID, *acts: Act) -> None:
    for act in acts:
        async with db.transaction(act.__name__) as tx:
            await act(shop, tx, checkout_id)


@pytest.mark.parametrize(
    ("before", "act", "after"),
    [
        ([], reserve, {"mouse": 97}),
        ([], reserve_later, {"mouse": 97}),
        ([reserve], release, {"mouse": 100}),
        ([reserve, consume], give_back, {"mouse": 100}),
        ([reserve, consume], restock, {"mouse": 99}),
        ([], adjust, {"mouse": 107}),
        ([], publish, {"mouse": 100, "cat": 1}),
    ],
)
async def test_every_change_is_seen_by_the_next_reader_in_every_process(
    shop: Shop, here: Context, there: Context, before: list[Act], act: Act, after: dict[str, int]
) -> None:
    checkout_id = new_id()
    await done(here.db, shop, checkout_id, *before)
    await kept_soon(here, shop)
    await kept_soon(there, shop)
    await done(here.db, shop, checkout_id, act)
    expected = {"lamp": 50, "gift": None} | after
    assert await seen(here, shop) == expected
    await quiet(here)
    assert await seen(there, shop) == expected
    await kept_soon(there, shop)
    assert await seen(here, shop) == expected


async def test_who_has_changed_something_need_not_wait_until_redis_knows(shop: Shop, here: Context) -> None:
    await kept_soon(here, shop)
    shelf: Shelf = here.db.ports[Shelf]
    shelf.changed(shop.merchant_id)
    assert not await kept(here, shop)


async def test_a_change_that_was_rolled_back_was_none(shop: Shop, here: Context) -> None:
    await kept_soon(here, shop)
    with pytest.raises(ZeroDivisionError):
        async with here.db.transaction("adjust") as tx:
            await adjust(shop, tx, new_id())
            raise ZeroDivisionError
    assert (await seen(here, shop))["mouse"] == 100


async def test_what_was_read_before_a_change_is_not_shown_after_it(shop: Shop, here: Context, there: Context) -> None:
    await kept_soon(here, shop)
    shelf: Shelf = there.db.ports[Shelf]
    _, token = await shelf.take(shop.merchant_id, "a page")
    assert token is not None
    await done(here.db, shop, new_id(), adjust)
    await quiet(here)
    await shelf.put(shop.merchant_id, "a page", token, b"as it was before")
    kept_page, _ = await shelf.take(shop.merchant_id, "a page")
    assert kept_page is None


async def test_nothing_is_kept_for_more_than_five_seconds(shop: Shop, here: Context, own_redis: OwnRedis) -> None:
    await kept_soon(here, shop)
    redis = Redis(own_redis.url)
    await redis.open()
    pages = [key for key in await redis.ask("KEYS", "kassa:shelf:*") if key.count(b":") == 3]
    assert pages
    for key in pages:
        assert 0 < await redis.ask("PTTL", key) <= 5000
    await redis.close()


@pytest.mark.parametrize("harm", ["kill", "freeze", "flush", "restart"])
async def test_whatever_happens_to_redis_readers_see_what_was_committed(
    shop: Shop, here: Context, there: Context, own_redis: OwnRedis, harm: str
) -> None:
    await kept_soon(here, shop)
    await kept_soon(there, shop)
    for pieces in range(1, 4):
        if harm == "flush":
            await here.db.ports[Shelf]._redis.ask("FLUSHALL")
        elif harm == "restart":
            own_redis.kill()
            own_redis.start()
        elif pieces == 1:
            own_redis.kill() if harm == "kill" else own_redis.freeze()
        async with here.db.transaction("adjust") as tx:
            await catalog.adjust(tx, shop.merchant_id, "shop", "mouse", 1, f"found {pieces}")
        assert (await seen(here, shop))["mouse"] == 100 + pieces
        assert (await seen(there, shop))["mouse"] == 100 + pieces
    for ctx in (here, there):
        assert ctx.db.ports[Shelf]._redis.unanswered <= 2


async def test_a_change_that_redis_could_not_be_told_of_is_told_when_it_answers(
    shop: Shop, here: Context, there: Context, own_redis: OwnRedis
) -> None:
    await kept_soon(there, shop)
    await kept_soon(here, shop)
    own_redis.freeze()
    await done(here.db, shop, new_id(), adjust)
    assert (await seen(here, shop))["mouse"] == 107
    own_redis.thaw()
    assert (await seen(here, shop))["mouse"] == 107
    async with asyncio.timeout(10):
        await quiet(here)
        while (await seen(there, shop))["mouse"] != 107:
            await asyncio.sleep(0.01)
    assert not here.db.ports[Shelf]._untold_at


async def test_what_is_counted_elsewhere_is_not_mixed_up_with_what_is_counted_here(shop: Shop, here: Context) -> None:
    await kept_soon(here, shop)
    elsewhere = replace(here, ports={**here.ports, Sources: Sources({"shop": OwnSource(counted=False)})})
    assert set((await seen(elsewhere, shop)).values()) == {None}
    assert (await seen(here, shop))["mouse"] == 100


async def test_without_redis_every_look_asks_the_database(kassa_dsn: str) -> None:
    async with open_world(kassa_dsn, size=2) as ctx:
        shop = await open_shop(ctx, mouse=1)
        for _ in range(3):
            assert not await kept(ctx, shop)
