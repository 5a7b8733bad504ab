"""Stock of a product service: what it said minus what our own open checkouts hold (rulings, 29)."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from tests.factories import Shop, at_once

from kassa import catalog
from kassa.catalog import Hold, Offer, Shortage
from kassa.catalog.store import remote_holds
from kassa.kit.ids import new_id
from kassa.kit.money import Money


async def now(shop: Shop) -> datetime:
    at: datetime = await shop.db.value("SELECT clock_timestamp()")
    return at


async def read(shop: Shop, stock: int | None, *, at: datetime | None = None, product_id: str = "chair") -> Offer:
    """What a product service says now, or said at another time."""
    price = Money(100, "INR")
    return Offer(product_id, product_id, product_id, price, (), stock, "product_service", stock, at or await now(shop))


async def reserve(shop: Shop, *holds: Hold, checkout_id: uuid.UUID | None = None) -> list[Shortage]:
    async with shop.db.transaction("reserve") as tx:
        return await catalog.reserve(tx, shop.channel, checkout_id or new_id(), list(holds), None)


async def held(shop: Shop, quantity: int, stock: int) -> uuid.UUID:
    checkout_id = new_id()
    assert await reserve(shop, Hold(await read(shop, stock), quantity), checkout_id=checkout_id) == []
    return checkout_id


async def end(shop: Shop, act: object, checkout_id: uuid.UUID) -> None:
    async with shop.db.transaction("end") as tx:
        await act(tx, shop.merchant_id, checkout_id)  # type: ignore[operator]


async def test_no_more_is_held_than_was_read_minus_what_we_hold_already(shop: Shop) -> None:
    await held(shop, 3, stock=5)
    assert await reserve(shop, Hold(await read(shop, 5), 3)) == [Shortage("chair", 3, 2)]
    assert await reserve(shop, Hold(await read(shop, 5), 2)) == []


async def test_a_product_that_the_service_does_not_count_is_not_held(shop: Shop) -> None:
    assert await reserve(shop, Hold(await read(shop, None), 999)) == []
    assert await shop.db.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", shop.merchant_id) == 0


async def test_all_lines_are_held_or_none(shop: Shop) -> None:
    short = await reserve(
        shop, Hold(await read(shop, 5), 1), Hold(await read(shop, 1, product_id="table"), 2), Hold((await shop.offer("mouse")), 1)
    )
    assert short == [Shortage("table", 2, 1)]
    assert await shop.level("mouse") == (100, 0)
    assert await shop.db.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", shop.merchant_id) == 0


async def test_what_was_let_go_is_free_at_once(shop: Shop) -> None:
    checkout_id = await held(shop, 5, stock=5)
    before = await now(shop)
    await end(shop, catalog.release, checkout_id)
    assert await reserve(shop, Hold(await read(shop, 5, at=before), 5)) == []


async def test_a_sale_still_counts_against_what_was_read_before_it_was_told(shop: Shop) -> None:
    """The service took the pieces after it was read: its old answer still has them in it."""
    checkout_id = await held(shop, 3, stock=5)
    before = await now(shop)
    await end(shop, catalog.consume, checkout_id)
    assert await reserve(shop, Hold(await read(shop, 5, at=before), 3)) == [Shortage("chair", 3, 2)]


async def test_and_no_more_against_what_is_read_afterwards(shop: Shop) -> None:
    checkout_id = await held(shop, 3, stock=5)
    await end(shop, catalog.consume, checkout_id)
    after = await now(shop) + timedelta(milliseconds=1)
    assert await reserve(shop, Hold(await read(shop, 2, at=after), 2)) == []


async def test_holds_are_told_by_product_for_the_time_of_each_reading(shop: Shop) -> None:
    open_one, sold_one = await held(shop, 2, stock=9), await held(shop, 3, stock=9)
    before = await now(shop)
    await end(shop, catalog.consume, sold_one)
    after = await now(shop) + timedelta(milliseconds=1)
    assert await remote_holds(shop.db, shop.channel, [("chair", before)]) == {"chair": 5}
    assert await remote_holds(shop.db, shop.channel, [("chair", after)]) == {"chair": 2}
    await end(shop, catalog.release, open_one)
    assert await remote_holds(shop.db, shop.channel, [("chair", after)]) == {}


async def test_a_hundred_buyers_who_read_the_same_stock_hold_no_more_than_that(shop: Shop) -> None:
    offer = await read(shop, 7)

    async def want() -> list[Shortage]:
        return await reserve(shop, Hold(offer, 1))

    answers = await at_once(*(want() for _ in range(100)))
    assert answers.count([]) == 7


async def test_opposite_order_never_blocks_for_good(shop: Shop) -> None:
    chair, table = await read(shop, 999), await read(shop, 999, product_id="table")
    there, back = [Hold(chair, 1), Hold(table, 1)], [Hold(table, 1), Hold(chair, 1)]
    assert await at_once(*(reserve(shop, *(back if n % 2 else there)) for n in range(40))) == [[]] * 40


async def test_a_sale_at_a_service_moves_no_level_of_ours_and_cannot_be_given_back_here(shop: Shop) -> None:
    checkout_id = await held(shop, 3, stock=5)
    await end(shop, catalog.consume, checkout_id)
    await end(shop, catalog.give_back, checkout_id)
    assert await shop.db.value("SELECT count(*) FROM stock_journal WHERE reference = $1", str(checkout_id)) == 0
