"""The bell wakes whoever listens for a topic; a ring between two waits is kept, and a ring that nobody hears is nothing."""

from __future__ import annotations

import asyncio
import time

from kassa.kit.bell import Bell


async def test_a_ring_wakes_who_waits() -> None:
    bell = Bell()
    async with bell.listen("order:1") as ear:
        waiting = asyncio.create_task(ear.wait(10))
        await asyncio.sleep(0)
        began = time.monotonic()
        bell.ring("order:1")
        assert await waiting
        assert time.monotonic() - began < 1


async def test_a_ring_between_two_waits_is_not_lost() -> None:
    bell = Bell()
    async with bell.listen("order:1") as ear:
        bell.ring("order:1")
        assert await ear.wait(0)


async def test_many_rings_are_one_and_are_heard_once() -> None:
    bell = Bell()
    async with bell.listen("order:1") as ear:
        bell.ring("order:1", "order:1")
        bell.ring("order:1")
        assert await ear.wait(0)
        assert not await ear.wait(0)


async def test_silence_ends_with_its_time() -> None:
    async with Bell().listen("order:1") as ear:
        began = time.monotonic()
        assert not await ear.wait(0.05)
        assert 0.04 < time.monotonic() - began < 1


async def test_another_topic_wakes_nobody() -> None:
    bell = Bell()
    async with bell.listen("order:1") as ear:
        bell.ring("order:2", "outbox")
        assert not await ear.wait(0)


async def test_everybody_who_listens_hears_it() -> None:
    bell = Bell()
    async with bell.listen("order:1") as one, bell.listen("order:1") as other, bell.listen("order:2", "order:1") as third:
        bell.ring("order:1")
        assert [await ear.wait(0) for ear in (one, other, third)] == [True, True, True]


async def test_who_listens_for_two_topics_hears_both() -> None:
    bell = Bell()
    async with bell.listen("a", "b", "a") as ear:
        for topic in ("a", "b"):
            bell.ring(topic)
            assert await ear.wait(0)


async def test_who_has_left_leaves_nothing_behind() -> None:
    bell = Bell()
    async with bell.listen("a", "b"):
        async with bell.listen("a") as ear:
            pass
        bell.ring("a")
        assert not await ear.wait(0)
    assert bell._ears == {}


async def test_a_ring_without_listeners_and_without_others_is_forgotten() -> None:
    bell = Bell()
    for number in range(100):
        bell.ring(f"order:{number}", "outbox")
    assert not bell._to_tell


async def test_who_waits_may_be_cancelled_and_hears_the_next_ring() -> None:
    bell = Bell()
    async with bell.listen("a") as ear:
        waiting = asyncio.create_task(ear.wait(10))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        bell.ring("a")
        assert await ear.wait(0)
