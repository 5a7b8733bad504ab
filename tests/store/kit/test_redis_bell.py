"""Through Redis a ring is heard in every process; without an answer from it, still in its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest_asyncio
from tests import rig
from tests.services import OwnRedis

from kassa.kit.bell import CHANNEL, Bell, Ear
from kassa.kit.redis import Redis


@contextlib.asynccontextmanager
async def process(url: str) -> AsyncIterator[Bell]:
    """The bell of a process of its own, as far as Redis can tell."""
    redis, bell = Redis(url), Bell()
    async with bell.together(redis):
        yield bell
    await redis.close()


async def heard(ear: Ear, bell: Bell, topic: str, timeout_s: float = 20) -> float:
    """Ring until it is heard, for a channel may not be followed yet; after how many seconds the ring that was heard came."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        began = time.monotonic()
        bell.ring(topic)
        if await ear.wait(0.2):
            return time.monotonic() - began
    raise AssertionError("nobody heard it")


@pytest_asyncio.fixture(loop_scope="session")
async def bells(own_redis: OwnRedis) -> AsyncIterator[tuple[Bell, Bell]]:
    """Two processes that hear each other."""
    async with process(own_redis.url) as here, process(own_redis.url) as there:
        async with here.listen("hello") as one, there.listen("hello") as other:
            await heard(one, there, "hello")
            await heard(other, here, "hello")
        yield here, there


async def test_a_ring_is_heard_in_the_other_process_within_moments(bells: tuple[Bell, Bell]) -> None:
    here, there = bells
    async with there.listen("order:1") as ear:
        assert await heard(ear, here, "order:1") < 0.15


async def test_many_rings_travel_together_and_each_topic_arrives(bells: tuple[Bell, Bell], own_redis: OwnRedis) -> None:
    here, there = bells
    messages: list[bytes] = []
    redis = Redis(own_redis.url)
    following = asyncio.create_task(redis.follow(CHANNEL, messages.append))
    async with here.listen("started") as ear:
        while not messages:
            there.ring("started")
            await ear.wait(0.1)
    async with contextlib.AsyncExitStack() as stack:
        ears = [await stack.enter_async_context(there.listen(f"order:{number}")) for number in range(200)]
        count = len(messages)
        for number in range(200):
            here.ring(f"order:{number}", "outbox")
            await asyncio.sleep(0)
        assert all([await ear.wait(10) for ear in ears])
        assert len(messages) - count <= 20
    following.cancel()
    await asyncio.wait([following])
    await redis.close()


async def test_ones_own_ring_does_not_come_back(bells: tuple[Bell, Bell]) -> None:
    here, there = bells
    async with here.listen("mine") as mine, here.listen("answer") as answer, there.listen("mine") as over_there:
        here.ring("mine")
        assert await mine.wait(0)
        assert await over_there.wait(10)
        # Whatever is published later comes later: with this one here, an echo would have been here before.
        there.ring("answer")
        assert await answer.wait(10)
        assert not await mine.wait(0)


async def test_rings_within_the_process_need_no_redis(own_redis: OwnRedis) -> None:
    for url in (own_redis.url, f"redis://127.0.0.1:{rig.free_port()}/0"):
        async with process(url) as bell, bell.listen("order:1") as ear:
            own_redis.freeze()
            began = time.monotonic()
            for _ in range(1000):
                bell.ring("order:1")
                assert await ear.wait(0)
            assert time.monotonic() - began < 1
            own_redis.thaw()


async def test_processes_find_each_other_again_when_redis_comes_back(bells: tuple[Bell, Bell], own_redis: OwnRedis) -> None:
    here, there = bells
    for hurt, mend in ((own_redis.kill, own_redis.start), (own_redis.freeze, own_redis.thaw)):
        hurt()
        async with here.listen("order:1") as ear:
            here.ring("order:1")
            assert await ear.wait(0), "in its own process it is heard at once"
        mend()
        async with there.listen("order:1") as ear:
            await heard(ear, here, "order:1")


async def test_what_was_rung_right_before_the_end_is_told(own_redis: OwnRedis) -> None:
    async with process(own_redis.url) as there, there.listen("hello", "last") as ear:
        async with process(own_redis.url) as here:
            await heard(ear, here, "hello")
        while await ear.wait(0.05):
            pass
        async with process(own_redis.url) as here:
            here.ring("last")
        assert await ear.wait(10)


async def test_nothing_is_left_running(own_redis: OwnRedis) -> None:
    before = asyncio.all_tasks()
    async with process(own_redis.url) as bell:
        bell.ring("order:1")
    assert asyncio.all_tasks() == before
