"""Redis may be away, frozen, slow or flushed: nobody gets an error, another's answer, or more than a few time limits of waiting."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from tests import rig
from tests.services import OwnRedis

from kassa.kit.redis import LONGEST_PAUSE_S, TIMEOUT_S, Redis, Script

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


class Clock:
    """Seconds that pass when the test says so: for the pauses alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(loop_scope="session")
async def redis(own_redis: OwnRedis, clock: Clock) -> AsyncIterator[Redis]:
    client = Redis(own_redis.url, clock=clock)
    await client.open()
    yield client
    await client.close()


async def until(true: Callable[[], Awaitable[bool]], timeout_s: float = 20) -> None:
    """Wait until it is so."""
    end = time.monotonic() + timeout_s
    while not await true():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.01)


async def answers_again(redis: Redis, clock: Clock) -> None:
    """Let the pauses pass until it answers."""

    async def answers() -> bool:
        clock.now += LONGEST_PAUSE_S
        return bool(await redis.ask("PING") == b"PONG")

    await until(answers)


async def opened(url: str) -> Redis:
    """With all the time of the world for an answer."""
    redis = Redis(url, timeout_s=20)
    await redis.open()
    return redis


async def test_what_was_set_is_got(redis: Redis) -> None:
    assert await redis.ask("SET", "mouse", "squeak") == b"OK"
    assert await redis.ask("MGET", "mouse", "cat") == [b"squeak", None]
    assert redis.unanswered == 0


async def test_a_script_runs_whether_or_not_it_is_known(redis: Redis, own_redis: OwnRedis) -> None:
    assert [await redis.run(ADD, ["n"], 2), await redis.run(ADD, ["n"], 3)] == [2, 5]
    await redis.ask("SCRIPT", "FLUSH")
    assert await redis.run(ADD, ["n"], 1) == 6
    assert redis.unanswered == 0


async def test_many_at_once_get_their_own_answers(redis: Redis) -> None:
    asked = [f"{number}" * (1 + number % 50) for number in range(500)]
    assert await asyncio.gather(*(redis.ask("ECHO", text) for text in asked)) == [text.encode() for text in asked]


async def test_the_late_answer_of_one_who_left_goes_to_nobody_else(own_redis: OwnRedis) -> None:
    redis = await opened(own_redis.url)
    own_redis.freeze()
    gone = [asyncio.create_task(redis.ask("ECHO", "not yours")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    stayed = asyncio.create_task(redis.ask("ECHO", "mine"))
    await asyncio.wait(gone)
    own_redis.thaw()
    assert await stayed == b"mine"
    assert await redis.ask("ECHO", "next") == b"next"
    await redis.close()


async def test_the_late_answer_of_a_timed_out_command_goes_to_nobody_else(redis: Redis, own_redis: OwnRedis, clock: Clock) -> None:
    await redis.ask("PING")
    own_redis.freeze()
    assert await redis.ask("ECHO", "too late") is None
    own_redis.thaw()
    await answers_again(redis, clock)
    answers = [await redis.ask("ECHO", str(number)) for number in range(20)]
    assert answers == [str(number).encode() for number in range(20)]


async def test_one_who_leaves_in_the_middle_of_sending_ends_the_connection_for_all(own_redis: OwnRedis) -> None:
    redis = await opened(own_redis.url)
    own_redis.freeze()
    asking = [asyncio.create_task(redis.ask("SET", "large", b"x" * 50_000_000)), asyncio.create_task(redis.ask("ECHO", "next"))]
    await asyncio.sleep(0.2)
    asking[0].cancel()
    assert await asking[1] is None
    own_redis.thaw()
    await until(lambda: asyncio.sleep(0.01, redis._pause.over()))
    await redis.open()
    assert await redis.ask("ECHO", "later") == b"later"
    assert (await redis.ask("CLIENT", "LIST")).count(b"\n") == 1, "the other connection is closed"
    await redis.close()


async def test_whoever_is_cancelled_at_whatever_moment_nobody_gets_anothers_answer(own_redis: OwnRedis) -> None:
    redis, dice = await opened(own_redis.url), random.Random(7)

    async def one(number: int) -> bool:
        text = f"{number}".encode()
        task = asyncio.create_task(redis.ask("ECHO", text))
        for _ in range(dice.randrange(12)):
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert await task == text
            return True
        return False

    answered = 0
    for begin in range(0, 2000, 50):
        answered += sum(await asyncio.gather(*map(one, range(begin, begin + 50))))
    assert 500 < answered < 2000
    await redis.close()


async def test_a_frozen_redis_costs_one_time_limit_however_many_ask(redis: Redis, own_redis: OwnRedis, clock: Clock) -> None:
    own_redis.freeze()
    began = time.monotonic()
    assert await asyncio.gather(*(redis.ask("GET", "mouse") for _ in range(100))) == [None] * 100
    for _ in range(1000):
        assert await redis.ask("GET", "mouse") is None
    assert redis.unanswered == 1
    assert time.monotonic() - began < 1
    # Trying again is nobody's wait.
    clock.now += LONGEST_PAUSE_S
    asking = [asyncio.create_task(redis.ask("GET", "mouse")) for _ in range(100)]
    await asyncio.sleep(0)
    assert [task.done() for task in asking] == [True] * 100


async def test_the_pauses_grow_to_five_seconds(clock: Clock) -> None:
    redis = Redis(f"redis://127.0.0.1:{rig.free_port()}/0", clock=clock)
    tried = []
    for _ in range(6):
        before = redis.unanswered
        while redis.unanswered == before:
            clock.now += 0.25
            await redis.open()
        tried.append(clock.now)
    assert [later - earlier for earlier, later in itertools.pairwise(tried)] == [1, 2, 4, 5, 5]
    await redis.close()


async def test_an_answer_that_came_while_this_process_was_busy_counts(redis: Redis) -> None:
    await redis.ask("PING")
    asking = asyncio.create_task(redis.ask("PING"))
    await asyncio.sleep(0)
    time.sleep(4 * TIMEOUT_S)
    assert await asking == b"PONG"


async def test_it_is_used_again_when_it_answers_again(
    redis: Redis, own_redis: OwnRedis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kassa.redis")
    for hurt, mend in ((own_redis.freeze, own_redis.thaw), (own_redis.kill, own_redis.start), (own_redis.stop, own_redis.start)):
        hurt()
        await until(lambda: asyncio.sleep(0.01, redis._line is None or hurt == own_redis.freeze))
        for _ in range(3):
            assert await redis.ask("PING") is None
        await redis.open()
        mend()
        assert await redis.ask("PING") is None, "it is left alone for a while"
        await answers_again(redis, clock)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6
    assert not [text for text in said if str(own_redis.port) in text]


async def test_a_connection_that_ended_while_nobody_asked_is_made_anew(redis: Redis) -> None:
    await redis.ask("PING")
    killer = await redis.ask("CLIENT", "ID")
    other = await opened(redis._url)
    assert await other.ask("CLIENT", "KILL", "ID", killer) == 1
    await other.close()
    await until(lambda: asyncio.sleep(0, redis._line is None))
    await redis.open()
    assert await redis.ask("PING") == b"PONG"
    assert redis.unanswered == 0


async def test_where_nobody_listens_nothing_is_known(clock: Clock) -> None:
    redis = Redis(f"redis://127.0.0.1:{rig.free_port()}/0", clock=clock)
    await redis.open()
    assert await asyncio.gather(*(redis.ask("PING") for _ in range(20))) == [None] * 20
    assert await redis.run(ADD, ["n"], 1) is None
    assert redis.unanswered == 1
    await redis.close()


async def test_a_command_that_is_refused_has_no_answer_and_harms_no_other(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    await redis.ask("SET", "text", "mouse")
    for _ in range(3):
        assert await redis.ask("LPUSH", "text", "cat") is None
        assert await redis.ask("GET", "text") == b"mouse"
    assert len(caplog.records) == 1


async def test_a_server_that_lets_nobody_in_is_as_good_as_none(redis: Redis, own_redis: OwnRedis) -> None:
    await redis.ask("CONFIG", "SET", "requirepass", "secret word")
    stranger, friend = Redis(own_redis.url), Redis(own_redis.url.replace("//", "//:secret%20word@"))
    for each in (stranger, friend):
        await each.open()
    assert await stranger.ask("PING") is None
    assert await friend.ask("PING") == b"PONG"
    for each in (stranger, friend):
        await each.close()


async def test_after_the_end_nothing_is_tried(own_redis: OwnRedis) -> None:
    redis = Redis(own_redis.url)
    await redis.close()
    before = asyncio.all_tasks()
    assert await redis.ask("PING") is None
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://127.0.0.1:6379", "redis://127.0.0.1:6379?colour=red", "redis://h:port/0"]
)
def test_what_is_no_address_of_a_redis_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Redis(url)


async def test_who_follows_a_channel_hears_it_again_after_every_loss(own_redis: OwnRedis, redis: Redis, clock: Clock) -> None:
    heard: list[bytes] = []
    following = asyncio.create_task(redis.follow("news", heard.append))

    async def arrives(text: str) -> bool:
        clock.now += LONGEST_PAUSE_S
        await redis.ask("PUBLISH", "news", text)
        return text.encode() in heard

    await until(lambda: arrives("first"))
    own_redis.kill()
    own_redis.start()
    await until(lambda: arrives("after a kill"))
    following.cancel()
    await asyncio.wait([following])


async def test_closing_tells_whoever_waits(own_redis: OwnRedis) -> None:
    redis = await opened(own_redis.url)
    own_redis.freeze()
    waiting = asyncio.create_task(redis.ask("PING"))
    await asyncio.sleep(0)
    before = asyncio.all_tasks()
    await redis.close()
    assert await waiting is None
    assert {task.get_name() for task in before - asyncio.all_tasks()} >= {"redis replies"}
