"""Pieces of a sale come back in parts: never more than was sold, each of them once, and the journal says why."""

from __future__ import annotations

import uuid

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_shop

from kassa import catalog
from kassa.kit.ids import new_id


async def sold(shop: Shop, **items: int) -> uuid.UUID:
    """A checkout that has sold these."""
    checkout_id = new_id()
    async with shop.db.transaction("sell") as tx:
        assert await catalog.reserve(tx, shop.channel, checkout_id, await shop.holds(**items), None) == []
        await catalog.consume(tx, shop.merchant_id, checkout_id)
    return checkout_id


async def restock(shop: Shop, checkout_id: uuid.UUID, reference: str | None = None, **pieces: int) -> None:
    """Bring what is back up to so many pieces of each product."""
    async with shop.db.transaction("restock") as tx:
        await catalog.restock(tx, shop.merchant_id, checkout_id, reference or str(new_id()), pieces)


async def give_back(shop: Shop, checkout_id: uuid.UUID) -> int:
    async with shop.db.transaction("give back") as tx:
        return await catalog.give_back(tx, shop.merchant_id, checkout_id)


async def returned(shop: Shop, checkout_id: uuid.UUID) -> dict[str, int]:
    """What each reservation counts as returned, compared with what the journal says."""
    rows = await shop.db.rows(
        """
        SELECT product_id, returned, (SELECT coalesce(sum(j.quantity), 0) FROM stock_journal j
                                       WHERE j.merchant_id = r.merchant_id AND j.product_id = r.product_id AND j.kind = 'returned'
                                         AND left(j.reference, 36) = r.checkout_id::text)::bigint AS told
          FROM reservations r WHERE merchant_id = $1 AND checkout_id = $2
        """,
        shop.merchant_id,
        checkout_id,
    )
    assert all(row["returned"] == row["told"] for row in rows), rows
    return {row["product_id"]: row["returned"] for row in rows}


async def test_some_pieces_come_back_and_are_there_to_be_sold(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5, lamp=2)
    await restock(shop, checkout_id, "r-1", mouse=2)
    assert await shop.level("mouse") == (97, 0)
    assert await shop.journal("mouse") == [("initial", 100), ("returned", 2), ("sold", 5)]
    assert await returned(shop, checkout_id) == {"mouse": 2, "lamp": 0}
    assert await sold(shop, mouse=97)


async def test_what_is_back_already_is_not_brought_back_again(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5)
    for pieces, back in ((2, 2), (2, 2), (1, 2), (4, 4), (5, 5), (5, 5)):
        await restock(shop, checkout_id, mouse=pieces)
        assert await returned(shop, checkout_id) == {"mouse": back}
    assert await shop.level("mouse") == (100, 0)
    assert sorted(await shop.journal("mouse")) == [("initial", 100), ("returned", 1), ("returned", 2), ("returned", 2), ("sold", 5)]


async def test_more_than_was_sold_never_comes_back(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5)
    await restock(shop, checkout_id, mouse=6)
    assert await shop.level("mouse") == (100, 0)
    assert await returned(shop, checkout_id) == {"mouse": 5}


async def test_fifty_at_once_bring_back_what_the_largest_asks_for(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=20)
    answers = await at_once(*(restock(shop, checkout_id, mouse=n % 17 + 1) for n in range(50)))
    assert [each for each in answers if each is not None] == []
    assert await shop.level("mouse") == (97, 0)
    assert await returned(shop, checkout_id) == {"mouse": 17}


async def test_a_cancellation_brings_back_what_is_left(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5, lamp=2)
    await restock(shop, checkout_id, mouse=3)
    await restock(shop, checkout_id, lamp=2)
    assert await give_back(shop, checkout_id) == 1, "one line was still out"
    assert await give_back(shop, checkout_id) == 0
    await restock(shop, checkout_id, mouse=1)
    assert (await shop.level("mouse"), await shop.level("lamp")) == ((100, 0), (50, 0))
    assert await returned(shop, checkout_id) == {"mouse": 5, "lamp": 2}


async def test_a_cancellation_and_parts_at_once_bring_it_back_once(shop: Shop) -> None:
    for _ in range(20):
        checkout_id = await sold(shop, mouse=4, lamp=4)
        works = [
            give_back(shop, checkout_id),
            restock(shop, checkout_id, mouse=1, lamp=2),
            restock(shop, checkout_id, lamp=3, mouse=2),
        ]
        answers = await at_once(*works, give_back(shop, checkout_id))
        assert [each for each in answers if isinstance(each, BaseException)] == []
        assert await give_back(shop, checkout_id) in {0, 1, 2}
        assert (await shop.level("mouse"), await shop.level("lamp")) == ((100, 0), (50, 0))
        assert await returned(shop, checkout_id) == {"mouse": 4, "lamp": 4}


async def test_lines_in_opposite_order_never_block_each_other(shop: Shop) -> None:
    checkouts = [await sold(shop, mouse=1, lamp=1) for _ in range(20)]
    works = [
        restock(shop, each, mouse=1, lamp=1) if n % 2 else restock(shop, each, lamp=1, mouse=1) for n, each in enumerate(checkouts)
    ]
    assert await at_once(*works) == [None] * 20
    assert (await shop.level("mouse"), await shop.level("lamp")) == ((100, 0), (50, 0))


async def test_what_was_only_held_or_let_go_cannot_come_back(shop: Shop) -> None:
    held, released = new_id(), new_id()
    async with shop.db.transaction("hold") as tx:
        for checkout_id in (held, released):
            await catalog.reserve(tx, shop.channel, checkout_id, await shop.holds(mouse=3), None)
        await catalog.release(tx, shop.merchant_id, released)
    for checkout_id in (held, released, new_id()):
        await restock(shop, checkout_id, mouse=1)
    assert await shop.level("mouse") == (100, 3)


async def test_what_was_not_in_the_sale_cannot_come_back(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=1)
    await restock(shop, checkout_id, lamp=1)
    assert await shop.level("lamp") == (50, 0)


async def test_what_nobody_counts_is_there_anyway(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=1, gift=3)
    await restock(shop, checkout_id, mouse=1, gift=3)
    await restock(shop, checkout_id, gift=3)
    assert await shop.level("mouse") == (100, 0)


@pytest.mark.parametrize("pieces", [0, -1])
async def test_no_piece_and_fewer_are_no_return(shop: Shop, pieces: int) -> None:
    checkout_id = await sold(shop, mouse=5)
    await restock(shop, checkout_id, mouse=pieces)
    assert await shop.level("mouse") == (95, 0)


async def test_another_merchant_cannot_bring_it_back(shop: Shop) -> None:
    checkout_id, stranger = await sold(shop, mouse=5), await open_shop(shop.ctx, mouse=10)
    await restock(stranger, checkout_id, mouse=1)
    assert (await shop.level("mouse"), await stranger.level("mouse")) == ((95, 0), (10, 0))


async def test_the_same_act_done_again_changes_nothing(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5)
    for _ in range(3):
        await restock(shop, checkout_id, "r-1", mouse=1)
    assert await shop.level("mouse") == (96, 0)


async def test_the_database_itself_forbids_more_returned_than_sold(shop: Shop) -> None:
    checkout_id = await sold(shop, mouse=5)
    for wrong in (6, -1):
        with pytest.raises(asyncpg.CheckViolationError):
            await shop.db.execute("UPDATE reservations SET returned = $2 WHERE checkout_id = $1", checkout_id, wrong)
