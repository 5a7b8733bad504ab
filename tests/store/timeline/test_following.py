"""Who follows events of all merchants sees each one once, those of a subject in their order, whatever order they are committed in."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.factories import Till, open_till

from kassa.events import Event, Recorded, record
from kassa.events.follow import Follower, events_like
from kassa.kit.database import Database
from kassa.kit.ids import new_id


async def happen(db: Database, merchant_id: str, subject: str, wait_s: float) -> None:
    """An event of a transaction that takes so long."""
    async with db.transaction("happen") as tx:
        await tx.execute("SELECT pg_sleep($1)", wait_s)
        record(tx, Event(merchant_id, subject, "test.ping", {"endpoint_id": "x", "message": "ping"}))


async def all_news(follower: Follower, till: Till) -> list[Recorded]:
    found: list[Recorded] = []
    while part := await follower.news(till.ctx):
        found += part
    return found


async def test_nothing_is_missed_and_nothing_told_twice(till: Till, market: Database) -> None:
    other = await open_till(till.ctx)
    await happen(market, till.merchant_id, "endpoint:before", 0)
    follower, one = Follower(), Follower(other.merchant_id)
    for each in (follower, one):
        await each.begin(till.ctx)
    merchants = (till.merchant_id, other.merchant_id)
    work = [
        asyncio.ensure_future(happen(market, merchants[number % 2], f"endpoint:{number % 6}", (number * 7 % 20) / 400))
        for number in range(60)
    ]
    seen: list[Recorded] = []
    while not all(task.done() for task in work):
        seen += await follower.news(till.ctx)
    await asyncio.gather(*work)
    seen += await all_news(follower, till)
    assert len({event.event_id for event in seen}) == len(seen) == 60
    for merchant_id, count in Counter(event.merchant_id for event in seen).items():
        assert count == 30
        for number in range(6):
            mine = [event.sequence for event in seen if (event.merchant_id, event.subject) == (merchant_id, f"endpoint:{number}")]
            assert mine == list(range(1, len(mine) + 1))
    assert {event.merchant_id for event in await all_news(one, till)} == {other.merchant_id}
    assert await follower.news(till.ctx) == []


async def test_an_event_is_found_by_its_own_id_and_by_its_deliverys(till: Till, market: Database) -> None:
    payment = await till.requested("A-1")
    [created, *_] = await market.rows(
        "SELECT event_id, kassa_delivery_id(event_id, $2) AS delivery_id FROM events WHERE merchant_id = $1 ORDER BY event_id",
        till.merchant_id, new_id(),
    )  # fmt: skip
    for wanted in created.values():
        assert (till.merchant_id, created["event_id"]) in await events_like(market, None, wanted)
        assert await events_like(market, "nobody", wanted) == []
    assert payment.merchant_id == till.merchant_id
    assert await events_like(market, till.merchant_id, new_id()) == []
