"""With Redis one limit holds for all processes; without an answer from it, each process keeps to it by what it has let through itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.services import OwnRedis

from kassa.kit.redis import Redis
from kassa.kit.window import Limiter


@pytest_asyncio.fixture(loop_scope="session")
async def redises(own_redis: OwnRedis) -> AsyncIterator[tuple[Redis, Redis]]:
    """The connections of two processes."""
    both = Redis(own_redis.url), Redis(own_redis.url)
    for redis in both:
        await redis.open()
    yield both
    for redis in both:
        await redis.close()


def limiters(redises: tuple[Redis, Redis], rate: str) -> tuple[Limiter, Limiter]:
    here, there = redises
    return Limiter("test", rate, here), Limiter("test", rate, there)


async def passed(limiter: Limiter, times: int, who: str = "anna") -> int:
    return [await limiter.hit(who) for _ in range(times)].count(0)


async def test_two_processes_share_one_limit(redises: tuple[Redis, Redis]) -> None:
    here, there = limiters(redises, "5/hour")
    assert await passed(here, 3) == 3
    assert await passed(there, 4) == 2
    assert await passed(here, 4) == 0
    assert await passed(here, 6, "bert") == 5


async def test_a_crowd_in_two_processes_gets_exactly_the_rate(redises: tuple[Redis, Redis]) -> None:
    here, there = limiters(redises, "70/hour")
    waits = await asyncio.gather(*(limiter.hit("anna") for _ in range(100) for limiter in (here, there)))
    assert waits.count(0) == 70


async def test_the_wait_is_until_the_next_place_is_free(redises: tuple[Redis, Redis]) -> None:
    here, there = limiters(redises, "3/minute")
    await passed(here, 1)
    await passed(there, 2)
    assert 59 < await here.hit("anna") <= 60
    assert 59 < await there.hit("anna") <= 60


async def test_after_that_wait_there_is_one_place_again(redises: tuple[Redis, Redis]) -> None:
    here, there = limiters(redises, "2/second")
    began = time.monotonic()
    await passed(here, 1)
    await asyncio.sleep(0.5)
    await passed(there, 1)
    wait_s = await here.hit("anna")
    assert 0 < wait_s <= 0.5
    await asyncio.sleep(wait_s + 0.01)
    if time.monotonic() - began < 1.4:
        assert [await here.hit("anna") == 0, await there.hit("anna") == 0] == [True, False]
    (key,) = await redises[0].ask("KEYS", "*")
    assert await redises[0].ask("LLEN", key) == 2, "no more is kept than is needed"


@pytest.mark.parametrize("rate", ["2/second", "2/minute", "2/hour", "2/day", "100000/day"])
async def test_every_kind_of_rate_is_kept(redises: tuple[Redis, Redis], rate: str) -> None:
    here, there = limiters(redises, rate)
    assert await here.hit("anna") == 0
    key = (await redises[0].ask("KEYS", "*"))[0]
    assert 0 < await redises[0].ask("PTTL", key) <= here._window.seconds * 1000
    assert await there.hit("anna") == 0


async def test_no_name_or_address_lies_in_redis(redises: tuple[Redis, Redis]) -> None:
    here, _ = limiters(redises, "2/minute")
    await here.hit("address:203.0.113.7")
    keys = await redises[0].ask("KEYS", "*")
    assert len(keys) == 1
    assert b"203.0.113" not in keys[0]


async def test_what_was_let_through_counts_on_when_redis_is_gone(redises: tuple[Redis, Redis], own_redis: OwnRedis) -> None:
    for number, hurt in enumerate((own_redis.freeze, own_redis.kill)):
        own_redis.revive()
        redis = Redis(own_redis.url)
        await redis.open()
        here = Limiter("test", f"{5 + number}/hour", redis)
        assert await passed(here, 3) == 3
        hurt()
        began = time.monotonic()
        assert await passed(here, 20) == 2 + number
        assert redis.unanswered <= 2
        assert time.monotonic() - began < 1
        await redis.close()


async def test_a_crowd_that_comes_when_redis_is_frozen_gets_no_more_than_the_rate_of_this_process(
    redises: tuple[Redis, Redis], own_redis: OwnRedis
) -> None:
    here, _ = limiters(redises, "5/hour")
    own_redis.freeze()
    assert (await asyncio.gather(*(here.hit("anna") for _ in range(100)))).count(0) == 5


async def test_a_flush_gives_no_process_more_than_the_rate(redises: tuple[Redis, Redis]) -> None:
    here, there = limiters(redises, "5/hour")
    assert await passed(here, 5) == 5
    await redises[0].ask("FLUSHALL")
    assert await passed(here, 3) == 0
    assert await passed(there, 6) == 5


async def test_who_alone_is_too_many_is_refused_without_asking(redises: tuple[Redis, Redis], own_redis: OwnRedis) -> None:
    here, _ = limiters(redises, "2/hour")
    assert await passed(here, 2) == 2
    own_redis.freeze()
    assert await passed(here, 100) == 0
    assert redises[0].unanswered == 0
