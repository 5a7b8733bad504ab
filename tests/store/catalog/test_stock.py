"""Own stock: held for all lines or none, sold or let go once, given back once, never below zero."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_shop

from kassa import catalog
from kassa.catalog import Shortage
from kassa.catalog.publish import StockTooLow
from kassa.kit.database import Tx
from kassa.kit.ids import new_id


async def reserve(shop: Shop, checkout_id: uuid.UUID | None = None, **wanted: int) -> list[Shortage]:
    """Hold in a transaction of its own; the caller rolls back when something is short."""
    holds = await shop.holds(**wanted)
    async with shop.db.transaction("reserve") as tx:
        return await catalog.reserve(tx, shop.channel, checkout_id or new_id(), holds, None)


async def held(shop: Shop, **wanted: int) -> uuid.UUID:
    checkout_id = new_id()
    assert await reserve(shop, checkout_id, **wanted) == []
    return checkout_id


async def consume(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """Make a sale of what is held, and count the lines that this very transaction has sold."""
    await catalog.consume(tx, merchant_id, checkout_id)
    sold: int = await tx.value(
        """
        SELECT count(*) FROM reservations
         WHERE merchant_id = $1 AND checkout_id = $2 AND state = 'consumed' AND xmin::text = pg_current_xact_id()::text
        """,
        merchant_id, checkout_id,
    )  # fmt: skip
    return sold


async def end(shop: Shop, act: Any, checkout_id: uuid.UUID) -> int:
    async with shop.db.transaction("end") as tx:
        ended: int = await act(tx, shop.merchant_id, checkout_id)
        return ended


async def test_holding_lowers_what_can_be_had_and_not_what_is_on_hand(shop: Shop) -> None:
    await held(shop, mouse=3, lamp=2)
    assert await shop.level("mouse") == (100, 3)
    assert await shop.level("lamp") == (50, 2)
    assert (await shop.offer("mouse")).stock == 97


async def test_all_lines_are_held_or_none_and_every_shortage_is_told(shop: Shop) -> None:
    short = await reserve(shop, mouse=1, lamp=51, poster=2)
    assert short == [Shortage("lamp", 51, 50), Shortage("poster", 2, 1)]
    assert await shop.level("mouse") == (100, 0)
    assert await shop.db.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", shop.merchant_id) == 0


async def test_the_last_piece_can_be_held_and_then_nothing_is_left(shop: Shop) -> None:
    await held(shop, poster=1)
    assert await reserve(shop, poster=1) == [Shortage("poster", 1, 0)]


async def test_a_product_that_nobody_counts_is_not_held(shop: Shop) -> None:
    await held(shop, gift=999)
    assert await shop.db.value("SELECT count(*) FROM reservations WHERE merchant_id = $1", shop.merchant_id) == 0


async def test_what_is_held_becomes_a_sale_once(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=3, lamp=2)
    assert await end(shop, consume, checkout_id) == 2
    assert await end(shop, consume, checkout_id) == 0
    assert await shop.level("mouse") == (97, 0)
    assert await shop.journal("mouse") == [("initial", 100), ("sold", 3)]


async def test_what_is_held_is_let_go_once(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=3)
    assert await end(shop, catalog.release, checkout_id) == 1
    assert await end(shop, catalog.release, checkout_id) == 0
    assert await shop.level("mouse") == (100, 0)
    assert await shop.journal("mouse") == [("initial", 100)]


@pytest.mark.parametrize(("first", "second"), [(consume, catalog.release), (catalog.release, consume)])
async def test_what_ended_one_way_does_not_end_the_other_way_too(shop: Shop, first: Any, second: Any) -> None:
    checkout_id = await held(shop, mouse=3)
    assert await end(shop, first, checkout_id) == 1
    level = await shop.level("mouse")
    assert await end(shop, second, checkout_id) == 0
    assert await shop.level("mouse") == level


async def test_what_was_sold_comes_back_once(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=3, lamp=1)
    await end(shop, consume, checkout_id)
    assert await end(shop, catalog.give_back, checkout_id) == 2
    assert await end(shop, catalog.give_back, checkout_id) == 0
    assert await shop.level("mouse") == (100, 0)
    assert await shop.journal("mouse") == [("initial", 100), ("returned", 3), ("sold", 3)]


async def test_what_was_not_sold_cannot_come_back(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=3)
    assert await end(shop, catalog.give_back, checkout_id) == 0
    await end(shop, catalog.release, checkout_id)
    assert await end(shop, catalog.give_back, checkout_id) == 0
    assert await shop.level("mouse") == (100, 0)


async def test_another_merchant_cannot_end_what_is_held_here(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=3)
    stranger = await open_shop(shop.ctx, mouse=5)
    for act in (consume, catalog.release, catalog.give_back):
        assert await end(stranger, act, checkout_id) == 0
    assert await shop.level("mouse") == (100, 3)
    assert await stranger.level("mouse") == (5, 0)


async def test_two_hundred_buyers_of_the_last_piece_one_gets_it(shop: Shop) -> None:
    holds = await shop.holds(poster=1)

    async def want() -> list[Shortage]:
        async with shop.db.transaction("reserve") as tx:
            return await catalog.reserve(tx, shop.channel, new_id(), holds, None)

    answers = await at_once(*(want() for _ in range(200)))
    assert answers.count([]) == 1
    assert answers.count([Shortage("poster", 1, 0)]) == 199
    assert await shop.level("poster") == (1, 1)


async def test_exactly_as_many_are_held_as_there_are(shop: Shop) -> None:
    holds = await shop.holds(lamp=3)

    async def want() -> list[Shortage]:
        async with shop.db.transaction("reserve") as tx:
            return await catalog.reserve(tx, shop.channel, new_id(), holds, None)

    answers = await at_once(*(want() for _ in range(60)))
    assert answers.count([]) == 16
    assert await shop.level("lamp") == (50, 48)


async def test_lines_in_opposite_order_never_block_each_other_for_good(shop: Shop) -> None:
    there, back = await shop.holds(mouse=1, lamp=1), await shop.holds(lamp=1, mouse=1)
    ids = [new_id() for _ in range(40)]

    async def buy(n: int) -> int:
        async with shop.db.transaction("reserve") as tx:
            assert await catalog.reserve(tx, shop.channel, ids[n], back if n % 2 else there, None) == []
        async with shop.db.transaction("end") as tx:
            ended = await (consume if n % 3 else catalog.release)(tx, shop.merchant_id, ids[n])
        return ended

    assert await at_once(*(buy(n) for n in range(40))) == [2] * 40
    sold = sum(1 for n in range(40) if n % 3)
    assert await shop.level("mouse") == (100 - sold, 0)
    assert await shop.level("lamp") == (50 - sold, 0)


async def test_a_sale_and_a_release_at_the_same_time_one_of_them_happens(shop: Shop) -> None:
    for _ in range(20):
        checkout_id = await held(shop, mouse=1)
        ended = await at_once(end(shop, consume, checkout_id), end(shop, catalog.release, checkout_id))
        assert sorted(ended) == [0, 1]
    on_hand, reserved = await shop.level("mouse")
    assert reserved == 0
    assert on_hand == 100 - sum(quantity for kind, quantity in await shop.journal("mouse") if kind == "sold")


async def test_ten_returns_at_the_same_time_bring_it_back_once(shop: Shop) -> None:
    checkout_id = await held(shop, mouse=7)
    await end(shop, consume, checkout_id)
    assert sorted(await at_once(*(end(shop, catalog.give_back, checkout_id) for _ in range(10)))) == [0] * 9 + [1]
    assert await shop.level("mouse") == (100, 0)


async def test_whatever_buyers_do_the_stock_is_explained_by_its_journal_and_never_below_zero(shop: Shop) -> None:
    chance = random.Random(7)
    holds = {n: await shop.holds(lamp=n) for n in (1, 2, 5)}

    async def story(steps: list[float]) -> None:
        checkout_id = new_id()
        async with shop.db.transaction("reserve") as tx:
            if await catalog.reserve(tx, shop.channel, checkout_id, holds[1 if steps[0] < 0.5 else 5], None):
                return
        if steps[1] < 0.3:
            await end(shop, catalog.release, checkout_id)
        elif steps[1] < 0.9:
            await end(shop, consume, checkout_id)
            if steps[2] < 0.5:
                await end(shop, catalog.give_back, checkout_id)

    await asyncio.gather(*(story([chance.random() for _ in range(3)]) for _ in range(120)))
    on_hand, reserved = await shop.level("lamp")
    moved = {"initial": 1, "returned": 1, "sold": -1}
    assert on_hand == sum(moved[kind] * quantity for kind, quantity in await shop.journal("lamp"))
    assert 0 <= reserved <= on_hand
    open_holds = "SELECT coalesce(sum(quantity), 0) FROM reservations WHERE merchant_id = $1 AND state = 'held'"
    assert reserved == await shop.db.value(open_holds, shop.merchant_id)


async def test_the_database_itself_forbids_stock_below_zero(shop: Shop) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.db.execute(
            "UPDATE stock_levels SET available = -1 WHERE merchant_id = $1 AND product_id = 'mouse'", shop.merchant_id
        )


async def adjust(shop: Shop, change: int, reference: str) -> None:
    async with shop.db.transaction("adjust") as tx:
        await catalog.adjust(tx, shop.merchant_id, "shop", "lamp", change, reference)


async def test_a_delivery_is_counted_once_under_its_reference(shop: Shop) -> None:
    await adjust(shop, 20, "delivery-1")
    await adjust(shop, 20, "delivery-1")
    await adjust(shop, -5, "broken-1")
    assert await shop.level("lamp") == (65, 0)
    assert await shop.journal("lamp") == [("adjusted", -5), ("adjusted", 20), ("initial", 50)]


async def test_a_delivery_counted_by_ten_at_once_is_counted_once(shop: Shop) -> None:
    await asyncio.gather(*(adjust(shop, 20, "delivery-1") for _ in range(10)))
    assert await shop.level("lamp") == (70, 0)


async def test_what_is_reserved_cannot_be_taken_off_the_shelf(shop: Shop) -> None:
    await held(shop, lamp=48)
    with pytest.raises(StockTooLow):
        await adjust(shop, -3, "broken-1")
    await adjust(shop, -2, "broken-2")
    assert await shop.level("lamp") == (48, 48)


async def test_publishing_again_changes_nothing_that_stands(shop: Shop) -> None:
    await held(shop, mouse=3)
    offer = await shop.offer("mouse")
    async with shop.db.transaction("publish") as tx:
        again = catalog.Publication("mouse", "Another name", offer.price.times(2), 7)
        assert await catalog.publish(tx, shop.channel, [again]) == 0
    assert await shop.offer("mouse") == offer
