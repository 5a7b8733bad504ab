"""Events: recorded with the fact, numbered 1, 2, 3 … per subject without a gap, whoever writes at the same time."""

from __future__ import annotations

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_shop, open_world

from kassa.events import OUTBOX, Event, FanOut, record
from kassa.kit.bell import Bell
from kassa.kit.ids import new_id


async def tell(shop: Shop, *told: tuple[str, str], fails: bool = False) -> None:
    async with shop.db.transaction("tell") as tx:
        for subject, type_ in told:
            record(tx, Event(shop.merchant_id, subject, type_, {"n": 1}))
        if fails:
            raise ZeroDivisionError


async def test_events_of_a_subject_are_numbered_from_one_in_the_order_they_were_told(shop: Shop) -> None:
    await tell(shop, ("order:1", "a"), ("order:1", "b"))
    await tell(shop, ("order:1", "c"))
    assert await shop.events("order:1") == [(1, "a"), (2, "b"), (3, "c")]


async def test_each_subject_has_numbers_of_its_own_within_one_transaction_too(shop: Shop) -> None:
    await tell(shop, ("order:1", "a"), ("payment:1", "b"), ("order:1", "c"), ("payment:1", "d"), ("order:2", "e"))
    assert await shop.events("order:1") == [(1, "a"), (2, "c")]
    assert await shop.events("payment:1") == [(1, "b"), (2, "d")]
    assert await shop.events("order:2") == [(1, "e")]


async def test_each_merchant_has_numbers_of_its_own(shop: Shop) -> None:
    stranger = await open_shop(shop.ctx)
    await tell(shop, ("order:1", "a"))
    await tell(stranger, ("order:1", "b"))
    assert await stranger.events("order:1") == [(1, "b")]


async def test_events_of_two_merchants_in_one_transaction_are_both_told(shop: Shop) -> None:
    stranger = await open_shop(shop.ctx)
    async with shop.db.transaction("tell") as tx:
        record(tx, Event(shop.merchant_id, "order:1", "a", {}))
        record(tx, Event(stranger.merchant_id, "order:1", "b", {}))
    assert await shop.events("order:1") == [(1, "a")]
    assert await stranger.events("order:1") == [(1, "b")]


async def test_what_rolls_back_was_never_told_and_leaves_no_gap(shop: Shop) -> None:
    await tell(shop, ("order:1", "a"))
    with pytest.raises(ZeroDivisionError):
        await tell(shop, ("order:1", "b"), fails=True)
    await tell(shop, ("order:1", "c"))
    assert await shop.events("order:1") == [(1, "a"), (2, "c")]


async def test_fifty_writers_on_one_subject_leave_no_gap(shop: Shop) -> None:
    async def write(n: int) -> None:
        await tell(shop, ("order:1", f"{n}a"), ("order:1", f"{n}b"), fails=n % 5 == 0)

    answers = await at_once(*(write(n) for n in range(50)))
    assert sum(isinstance(each, ZeroDivisionError) for each in answers) == 10
    told = await shop.events("order:1")
    assert [number for number, _ in told] == list(range(1, 81))
    pairs = [(told[n][1], told[n + 1][1]) for n in range(0, 80, 2)]
    assert all(one[:-1] == other[:-1] and one[-1] == "a" for one, other in pairs), "what was told together stands together"
    assert await shop.db.value("SELECT last FROM event_counters WHERE merchant_id = $1", shop.merchant_id) == 80


async def test_writers_on_the_same_subjects_in_opposite_order_never_block_each_other_for_good(shop: Shop) -> None:
    there = [("order:1", "a"), ("payment:1", "b"), ("checkout:1", "c")]
    answers = await at_once(*(tell(shop, *(there if n % 2 else there[::-1])) for n in range(40)))
    assert answers == [None] * 40
    for subject in ("order:1", "payment:1", "checkout:1"):
        assert [number for number, _ in await shop.events(subject)] == list(range(1, 41))


async def test_an_event_is_written_as_the_very_last_thing_of_its_transaction(shop: Shop) -> None:
    async with shop.db.transaction("tell") as tx:
        record(tx, Event(shop.merchant_id, "order:1", "a", {}))
        assert await tx.value("SELECT count(*) FROM events WHERE merchant_id = $1", shop.merchant_id) == 0
    assert len(await shop.events("order:1")) == 1


async def test_many_events_are_one_statement(shop: Shop) -> None:
    before = shop.db.statements
    await tell(shop, *((f"order:{n}", "a") for n in range(30)))
    assert shop.db.statements - before == 1


async def test_told_twice_it_happened_twice_under_two_ids(shop: Shop) -> None:
    event = Event(shop.merchant_id, f"order:{new_id()}", "a", {"price": "349.70", "items": [1, None, "x"]})
    async with shop.db.transaction("tell") as tx:
        record(tx, event)
        record(tx, event)
    rows = await shop.db.rows("SELECT event_id, version, data, occurred_at FROM events WHERE subject = $1", event.subject)
    assert len({row["event_id"] for row in rows}) == 2
    assert {row["occurred_at"] for row in rows} == {rows[0]["occurred_at"]}
    assert all(row["data"] == event.data and row["version"] == 1 for row in rows)


async def test_whoever_is_to_be_told_is_written_down_by_the_statement_that_writes_the_events(kassa_dsn: str) -> None:
    heard = """
        heard AS (INSERT INTO event_counters (merchant_id, subject, last)
                  SELECT merchant_id, event_id::text || sequence || (data->>'n'), 1 / (type <> 'bad')::int FROM event_recorded
                   WHERE subject <> 'payment:1')
    """
    async with open_world(kassa_dsn, size=2) as ctx:
        ctx.db.ports[FanOut] = FanOut((heard,))
        shop = await open_shop(ctx)
        before = ctx.db.statements
        await tell(shop, ("order:1", "a"), ("payment:1", "b"))
        assert ctx.db.statements == before + 1
        event_id = await shop.db.value("SELECT event_id FROM events WHERE merchant_id = $1 AND type = 'a'", shop.merchant_id)
        found = "SELECT subject FROM event_counters WHERE merchant_id = $1 AND subject NOT LIKE '%:%'"
        assert [row["subject"] for row in await shop.db.rows(found, shop.merchant_id)] == [f"{event_id}11"]
        with pytest.raises(asyncpg.DivisionByZeroError):
            await tell(shop, ("order:1", "bad"))
        assert await shop.events("order:1") == [(1, "a")], "what cannot be told on did not happen"


async def test_new_events_ring_after_their_commit_and_only_then(kassa_dsn: str) -> None:
    async with open_world(kassa_dsn, size=2) as ctx:
        bell = ctx.db.ports[Bell] = Bell()
        shop = await open_shop(ctx)
        async with bell.listen(OUTBOX) as anything, bell.listen("order:1") as order, bell.listen("order:2") as other:
            with pytest.raises(ZeroDivisionError):
                await tell(shop, ("order:1", "a"), fails=True)
            assert not await order.wait(0)
            await tell(shop, ("order:1", "a"))
            assert await order.wait(0)
            assert await anything.wait(0)
            assert not await other.wait(0)


async def test_what_is_told_keeps_the_order_of_its_members(shop: Shop) -> None:
    data = {"payment_id": "p", "amount": "2", "a": {"z": 1, "b": None}, "captured": "0.00"}
    async with shop.db.transaction("tell") as tx:
        record(tx, Event(shop.merchant_id, "order:1", "a", data))
    assert await shop.db.value("SELECT data::text FROM events WHERE merchant_id = $1", shop.merchant_id) == (
        '{"payment_id":"p","amount":"2","a":{"z":1,"b":null},"captured":"0.00"}'
    )
