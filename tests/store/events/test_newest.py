"""A merchant's newest events, as a developer looks at them: newest first, by type, of that merchant alone."""

from __future__ import annotations

from tests.factories import Shop, open_shop

from kassa.events import Event, newest_events, record


async def tell(shop: Shop, *types: str) -> None:
    for type_ in types:
        async with shop.db.transaction("tell") as tx:
            record(tx, Event(shop.merchant_id, "order:1", type_, {"n": 1}))


async def test_they_come_newest_first_and_page_by_page(shop: Shop) -> None:
    await tell(shop, "order.created", "order.paid", "order.shipped")
    first = await newest_events(shop.db, shop.merchant_id, [], None, 2)
    assert [event.type for event in first] == ["order.shipped", "order.paid"]
    rest = await newest_events(shop.db, shop.merchant_id, [], first[-1].event_id, 2)
    assert [event.type for event in rest] == ["order.created"]
    assert await newest_events(shop.db, shop.merchant_id, [], rest[-1].event_id, 2) == []


async def test_of_some_types_alone(shop: Shop) -> None:
    await tell(shop, "order.created", "order.paid", "order.shipped")
    found = await newest_events(shop.db, shop.merchant_id, ["order.created", "order.shipped"], None, 9)
    assert [event.type for event in found] == ["order.shipped", "order.created"]


async def test_nobody_elses_are_shown(shop: Shop) -> None:
    other = await open_shop(shop.ctx, mouse=1)
    await tell(other, "order.created")
    await tell(shop, "order.paid")
    assert [event.type for event in await newest_events(shop.db, shop.merchant_id, [], None, 9)] == ["order.paid"]
