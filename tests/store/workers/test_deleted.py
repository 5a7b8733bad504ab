"""Ambassadors that are deleted elsewhere leave the carts here, whatever else is heard and whoever is away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.factories import world
from tests.services import OwnRedis

from kassa import catalog, checkout
from kassa.catalog import Channel, Sources
from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Database, DatabaseAway
from kassa.kit.ids import new_id
from kassa.kit.redis import Redis
from kassa.workers import deleted

CHANNEL = Channel("1", "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())


class Conductor:
    """Stands in for the effects: notes them, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.withdrawn: list[str] = []
        self.calls = 0
        self.looks = 0
        self.failures: list[Exception] = []

    async def withdraw(self, _ctx: Context, merchant_id: str, product_ids: list[str]) -> int:
        assert merchant_id == "1"
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        self.withdrawn += product_ids
        return len(product_ids)

    async def revalidate(self, _ctx: Context, channel: Channel) -> int:
        assert channel == CHANNEL
        self.looks += 1
        if self.failures:
            raise self.failures.pop(0)
        return 0


@pytest.fixture
def conductor(monkeypatch: pytest.MonkeyPatch) -> Conductor:
    found = Conductor()
    monkeypatch.setattr(checkout, "withdraw", found.withdraw)
    monkeypatch.setattr(checkout, "revalidate", found.revalidate)
    monkeypatch.setattr(deleted, "_AGAIN_S", 0.05)
    monkeypatch.setattr(deleted, "_LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(deleted, "_CLOCK_S", 0.05)
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def town(ctx: Context, own_redis: OwnRedis) -> AsyncIterator[Context]:
    """A world with the channel and a Redis of its own."""
    async with ctx.db.transaction("test.publish") as tx:
        await catalog.publish_channel(tx, "House", CHANNEL)
    redis = Redis(own_redis.url)
    await redis.open()
    bare = world(ctx.db)
    ports = {**bare.ports, Redis: redis, Sources: Sources({"ambassadors": bare.ports[Sources].by_channel["shop"]})}
    yield replace(bare, ports=ports)
    await redis.close()


@contextlib.asynccontextmanager
async def listening(town: Context, conductor: Conductor) -> AsyncIterator[None]:
    """Inside the block a subscriber listens; at its end it stops within a second."""
    stop = asyncio.Event()
    await until_there_are(town, 0)
    task = asyncio.create_task(deleted.run(town, stop))
    try:
        await until(lambda: conductor.looks > 0)
        await until_there_are(town, 1)  # what is published before is lost
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 1)


async def until_there_are(town: Context, subscribers: int) -> None:
    if Redis not in town.ports:
        return
    async with asyncio.timeout(20):
        while (await town.port(Redis).ask("PUBSUB", "NUMSUB", deleted.CHANNEL))[1] != subscribers:
            await asyncio.sleep(0.005)


async def until(so: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not so():
            await asyncio.sleep(0.005)


async def say(town: Context, *messages: Any) -> None:
    for each in messages:
        told = each if isinstance(each, bytes) else json.dumps(each).encode()
        assert await town.port(Redis).ask("PUBLISH", deleted.CHANNEL, told) is not None


async def test_every_shape_of_the_event_has_its_effect_within_a_second(town: Context, conductor: Conductor) -> None:
    async with listening(town, conductor):
        began = time.monotonic()
        await say(town, 3, {"id": 4}, {"ambassador_id": 5}, {"event_id": "e", "type": deleted.CHANNEL, "ambassador_id": 6})
        await until(lambda: len(conductor.withdrawn) == 4)
        assert time.monotonic() - began < 1
    assert sorted(conductor.withdrawn) == ["3", "4", "5", "6"]


async def test_garbage_never_ends_it(town: Context, conductor: Conductor) -> None:
    async with listening(town, conductor):
        await say(town, b"", b"\xff", b"{", "3", {"id": "3"}, {"type": "other", "id": 3}, b"[" * 60_000, 3)
        await until(lambda: bool(conductor.withdrawn))
    assert conductor.withdrawn == ["3"]


async def test_a_repeated_event_is_skipped(town: Context, conductor: Conductor) -> None:
    event = {"event_id": str(new_id()), "ambassador_id": 3}
    async with listening(town, conductor):
        await say(town, event)
        await until(lambda: conductor.withdrawn == ["3"])
        await say(town, event, event, 4)
        await until(lambda: "4" in conductor.withdrawn)
    assert conductor.withdrawn == ["3", "4"]


async def test_what_was_heard_while_the_database_is_away_is_done_when_it_is_back(town: Context, conductor: Conductor) -> None:
    async with listening(town, conductor):
        conductor.failures = [DatabaseAway(), DatabaseAway()]
        await say(town, {"event_id": str(new_id()), "ambassador_id": 3})
        await until(lambda: conductor.withdrawn == ["3"])
    assert conductor.calls == 3


async def test_what_nobody_foresaw_is_left_to_the_look_at_all_carts(
    town: Context, conductor: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(town, conductor):
        looks = conductor.looks
        conductor.failures = [RuntimeError("nobody foresaw this")]
        await say(town, 3)
        await until(lambda: conductor.looks > looks)
        await say(town, 4)
        await until(lambda: conductor.withdrawn == ["4"])
    assert "could not be done" in caplog.text


async def test_all_carts_are_looked_at_after_every_connection(town: Context, conductor: Conductor, own_redis: OwnRedis) -> None:
    async with listening(town, conductor):
        await some_turns()
        before = conductor.looks
        own_redis.kill()
        own_redis.start()
        await until(lambda: conductor.looks > before)
        await until_told(town, conductor)


async def until_told(town: Context, conductor: Conductor) -> None:
    """Publish until it is heard: the connection that publishes comes back in its own time."""
    async with asyncio.timeout(20):
        while "7" not in conductor.withdrawn:
            await town.port(Redis).ask("PUBLISH", deleted.CHANNEL, b"7")
            await asyncio.sleep(0.05)


async def test_a_look_that_failed_is_made_again(town: Context, conductor: Conductor) -> None:
    conductor.failures = [catalog.ProductsUnavailable(), DatabaseAway()]
    async with listening(town, conductor):
        await until(lambda: conductor.looks >= 3)
        await some_turns()
        looks = conductor.looks
        await some_turns()
        assert conductor.looks == looks


async def test_a_look_that_nobody_foresaw_the_end_of_does_not_end_the_others(town: Context, conductor: Conductor) -> None:
    conductor.failures = [RuntimeError("nobody foresaw this")]
    async with listening(town, conductor):
        await say(town, 3)
        await until(lambda: conductor.withdrawn == ["3"])


async def test_every_five_minutes_of_the_one_clock_carts_are_looked_at_also_without_redis(
    town: Context, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    async def told(_db: Database) -> datetime:
        return now

    monkeypatch.setattr(clock, "now", told)
    alone = replace(town, ports={kind: each for kind, each in town.ports.items() if kind is not Redis})
    async with listening(alone, conductor):
        await some_turns()
        assert conductor.looks == 1
        now += timedelta(minutes=5) - timedelta(microseconds=1)
        await some_turns()
        assert conductor.looks == 1
        now += timedelta(microseconds=1)
        await until(lambda: conductor.looks == 2)
        await some_turns()
        assert conductor.looks == 2


async def some_turns() -> None:
    """Time in which the clock is looked at more than once."""
    await asyncio.sleep(0.3)


async def test_where_there_is_no_channel_nothing_is_looked_at(
    town: Context, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted, "AMBASSADORS", "nobody-set-this-up")
    stop = asyncio.Event()
    task = asyncio.create_task(deleted.run(town, stop))
    await until_told(town, conductor)
    stop.set()
    await asyncio.wait_for(task, 1)
    assert conductor.looks == 0


async def test_an_event_that_had_its_effect_has_none_in_another_process(town: Context, conductor: Conductor) -> None:
    event = {"event_id": str(new_id()), "ambassador_id": 3}
    async with listening(town, conductor):
        await say(town, event)
        await until(lambda: conductor.withdrawn == ["3"])
        while not await town.db.value("SELECT count(*) FROM heard_messages WHERE message_id = $1", event["event_id"]):
            await asyncio.sleep(0.01)
    async with listening(town, conductor):  # with an empty memory, as after a restart
        await say(town, event)
        await say(town, 5)
        await until(lambda: "5" in conductor.withdrawn)
    assert conductor.withdrawn == ["3", "5"]
