"""The merchants' feed: whoever follows `next_after` sees every event once, in the order of its subject, whoever writes meanwhile."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from datetime import timedelta

import pytest
from tests.factories import Shop, at_once, open_shop, open_world
from tests.rig import DatabaseServer

from kassa.events import Event, record
from kassa.events.envelope import Recorded
from kassa.events.feed import CursorExpired, FeedPage, UnknownPlace, give_places, read_feed, shorten_feeds
from kassa.kit import clock
from kassa.kit.ids import new_id


async def tell(shop: Shop, *told: tuple[str, str]) -> None:
    async with shop.db.transaction("tell") as tx:
        for subject, type_ in told:
            record(tx, Event(shop.merchant_id, subject, type_, {"payment_id": "p", "n": 1}))


async def page(shop: Shop, after: uuid.UUID | None = None, limit: int = 100, **filters: list[str]) -> FeedPage:
    return await read_feed(shop.ctx, shop.merchant_id, after=after, limit=limit, **filters)


async def follow(shop: Shop, limit: int = 100, after: uuid.UUID | None = None, **filters: list[str]) -> list[Recorded]:
    seen: list[Recorded] = []
    while True:
        found = await page(shop, after, limit, **filters)
        seen += found.items
        after = found.next_after
        if not found.has_next:
            return seen


def named(events: list[Recorded]) -> list[tuple[str, int, str]]:
    return [(event.subject, event.sequence, event.type) for event in events]


async def write_old(shop: Shop, rows: list[tuple[uuid.UUID, str, int]]) -> None:
    """Write events whose ids are the test's."""
    for event_id, subject, sequence in rows:
        await shop.db.execute(
            """INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
               VALUES ($1, $2, $3, $4, 'order.paid', kassa_now(), '{}')""",
            shop.merchant_id, event_id, subject, sequence,
        )  # fmt: skip


async def test_what_was_told_is_read_in_its_order(shop: Shop) -> None:
    await tell(shop, ("order:1", "order.created"), ("payment:1", "payment.created"))
    await tell(shop, ("order:1", "order.paid"))
    found = await page(shop)
    assert named(found.items) == [
        ("order:1", 1, "order.created"),
        ("payment:1", 1, "payment.created"),
        ("order:1", 2, "order.paid"),
    ]
    assert found.next_after == found.items[-1].event_id
    assert not found.has_next


async def test_an_event_is_shown_as_it_was_recorded(shop: Shop) -> None:
    await tell(shop, ("payment:1", "payment.paid"))
    [event] = (await page(shop)).items
    assert event.data == '{"payment_id":"p","n":1}', "the very text, in its own order of members"
    assert (event.merchant_id, event.version) == (shop.merchant_id, 1)


async def test_nothing_yet_is_an_empty_page_that_begins_anew(shop: Shop) -> None:
    assert await page(shop) == FeedPage([], None, has_next=False)


async def test_an_empty_page_keeps_the_readers_place(shop: Shop) -> None:
    await tell(shop, ("order:1", "order.created"))
    last = (await page(shop)).next_after
    assert await page(shop, last) == FeedPage([], last, has_next=False)


async def test_pages_meet_without_gap_or_overlap(shop: Shop) -> None:
    await tell(shop, *((f"order:{n % 7}", "order.updated") for n in range(53)))
    pages = [
        len((await page(shop, None, 10)).items),
        len(await follow(shop, 10)),
        len({e.event_id for e in await follow(shop, 10)}),
    ]
    assert pages == [10, 53, 53]
    exact = await page(shop, None, 53)
    assert not exact.has_next


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"types": ["order.paid"]}, [("order:1", 2, "order.paid"), ("order:2", 2, "order.paid")]),
        ({"subjects": ["order:2"]}, [("order:2", 1, "order.created"), ("order:2", 2, "order.paid")]),
        ({"types": ["order.paid", "payment.paid"], "subjects": ["order:2", "order:3"]}, [("order:2", 2, "order.paid")]),
        ({"types": ["order.shipped"]}, []),
    ],
)
async def test_a_reader_may_want_some_types_or_subjects(
    shop: Shop, filters: dict[str, list[str]], wanted: list[tuple[str, int, str]]
) -> None:
    await tell(shop, ("order:1", "order.created"), ("order:2", "order.created"))
    await tell(shop, ("order:1", "order.paid"), ("order:2", "order.paid"))
    assert named(await follow(shop, 1, **filters)) == wanted


async def test_each_merchant_reads_its_own(shop: Shop) -> None:
    stranger = await open_shop(shop.ctx)
    await tell(shop, ("order:1", "order.created"))
    assert (await page(stranger)).items == []


@pytest.mark.parametrize("whose", ["nobody's", "a stranger's"])
async def test_an_id_that_is_not_ones_own_is_no_place(shop: Shop, whose: str) -> None:
    stranger = await open_shop(shop.ctx)
    await tell(stranger, ("order:1", "order.created"))
    after = new_id() if whose == "nobody's" else (await page(stranger)).next_after
    with pytest.raises(UnknownPlace):
        await page(shop, after)


async def test_an_event_known_from_a_webhook_is_a_place_before_anybody_gave_it_one(shop: Shop) -> None:
    await tell(shop, ("order:1", "order.created"), ("order:1", "order.paid"))
    first = await shop.db.value("SELECT event_id FROM events WHERE merchant_id = $1 AND sequence = 1", shop.merchant_id)
    assert named((await page(shop, first)).items) == [("order:1", 2, "order.paid")]


async def test_a_subject_keeps_its_order_where_an_id_is_older_than_its_number(shop: Shop) -> None:
    ids = sorted(new_id() for _ in range(6))
    await write_old(shop, [(ids[5], "order:1", 1), (ids[0], "order:1", 2), (ids[2], "order:2", 1), (ids[1], "order:1", 3), (ids[4], "order:2", 2)])  # fmt: skip
    assert named(await follow(shop, 2)) == [
        (f"order:{n}", seq, "order.paid") for n, seq in ((2, 1), (2, 2), (1, 1), (1, 2), (1, 3))
    ]


async def test_an_event_never_gets_its_place_before_an_earlier_one_of_its_subject(shop: Shop) -> None:
    ids = sorted(new_id() for _ in range(40))
    random.Random(7).shuffle(ids)
    await write_old(shop, [(each, f"order:{n % 4}", n // 4 + 1) for n, each in enumerate(ids)])
    while await give_places(shop.ctx, shop.merchant_id, 3):
        rows = await shop.db.rows(
            """SELECT subject, array_agg(sequence ORDER BY place) AS placed FROM events
                WHERE merchant_id = $1 AND place IS NOT NULL GROUP BY subject""", shop.merchant_id,
        )  # fmt: skip
        assert all(row["placed"] == list(range(1, len(row["placed"]) + 1)) for row in rows)
    places = await shop.db.rows("SELECT place FROM events WHERE merchant_id = $1 ORDER BY place", shop.merchant_id)
    assert [row["place"] for row in places] == list(range(1, 41))


async def test_readers_miss_nothing_while_eight_write(kassa_dsn: str) -> None:
    async with open_world(kassa_dsn, size=20) as ctx:
        shop = await open_shop(ctx)
        done = asyncio.Event()

        async def write(writer: int) -> None:
            for n in range(40):
                async with shop.db.transaction("tell") as tx:
                    record(tx, Event(shop.merchant_id, f"order:{writer}", "order.updated", {}))
                    record(tx, Event(shop.merchant_id, f"order:shared{n % 3}", "order.updated", {}))
                    if n % 5 == 0:
                        await tx.execute("SELECT pg_sleep(0.005)")

        async def read(limit: int) -> list[Recorded]:
            seen: list[Recorded] = []
            after = None
            while True:
                ended = done.is_set()
                found = await page(shop, after, limit)
                seen += found.items
                after = found.next_after
                if ended and not found.has_next:
                    return seen
                await asyncio.sleep(0)

        readers = [asyncio.create_task(read(limit)) for limit in (1, 7, 500)]
        assert await at_once(*(write(n) for n in range(8))) == [None] * 8
        done.set()
        first, *others = await asyncio.gather(*readers)
        assert len(first) == 8 * 40 * 2
        assert all([e.event_id for e in other] == [e.event_id for e in first] for other in others)
        numbers = defaultdict(list)
        for event in first:
            numbers[event.subject].append(event.sequence)
        assert all(told == list(range(1, len(told) + 1)) for told in numbers.values())


async def test_a_reader_far_behind_is_led_on_though_nobody_gave_places(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kassa.events.feed._PLACES", 5)
    monkeypatch.setattr("kassa.events.feed._ROUNDS", 2)
    await tell(shop, *((f"order:{n}", "order.created") for n in range(33)), ("order:1", "order.paid"))
    assert len(await follow(shop, 3)) == 34
    await tell(shop, *((f"order:{n}", "order.created") for n in range(100, 133)), ("order:1", "order.shipped"))
    assert named(await follow(shop, 3, types=["order.shipped"])) == [("order:1", 3, "order.shipped")]


async def test_events_are_shown_for_ninety_days(database_server: DatabaseServer) -> None:
    async with open_world(database_server.fresh(), size=4) as ctx:
        shop = await open_shop(ctx)
        await tell(shop, ("order:1", "order.created"), ("order:1", "order.paid"))
        old = (await page(shop)).next_after
        await clock.move(shop.db, timedelta(days=89))
        await tell(shop, ("order:1", "order.shipped"))
        assert len(await follow(shop)) == 3
        assert await shorten_feeds(ctx) == 0
        await clock.move(shop.db, timedelta(days=2))
        assert named(await follow(shop)) == [("order:1", 3, "order.shipped")], "though nobody shortened the feed"
        with pytest.raises(CursorExpired):
            await page(shop, old)
        assert await shorten_feeds(ctx) == 1
        assert await shorten_feeds(ctx) == 0
        assert await shop.db.value("SELECT kept_from FROM feeds WHERE merchant_id = $1", shop.merchant_id) == 3
        assert named(await follow(shop)) == [("order:1", 3, "order.shipped")]
        await clock.move(shop.db, timedelta(days=100))
        assert await shorten_feeds(ctx) == 1
        await tell(shop, ("order:1", "order.delivered"))
        assert named(await follow(shop)) == [("order:1", 4, "order.delivered")]


async def test_places_are_given_by_index_whatever_waits(database_server: DatabaseServer) -> None:
    """Neither what has a place already nor what waits behind the batch is walked over."""
    async with open_world(database_server.fresh(), size=2) as ctx:
        shop = await open_shop(ctx)
        await shop.db.execute(
            """INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
               SELECT $1, lpad(to_hex(n), 32, '0')::uuid, 'order:' || n % 10, n / 10 + 1, 'order.updated', kassa_now(), '{}'
                 FROM generate_series(0, 19999) n""", shop.merchant_id,
        )  # fmt: skip
        given, took = 0, []
        loop = asyncio.get_running_loop()
        for _ in range(40):
            began = loop.time()
            given += await give_places(ctx, shop.merchant_id, 500)
            took.append(loop.time() - began)
        assert given == 20000
        assert min(took[-5:]) < 20 * min(took[:5])
