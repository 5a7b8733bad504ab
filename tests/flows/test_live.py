"""Who follows an order hears of its events at once: in the process where they happen, and through Redis in every other one.

Without Redis, or when it dies, the others hear of them within two seconds, because every stream also looks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests import services
from tests.contracts.orders.journeys import Json, buy_paid, moved, people

from kassa.api import streams
from kassa.api.streams import Closing, Stream
from kassa.kit.bell import Bell

if TYPE_CHECKING:
    from tests import rig
    from tests.conftest import StartKassa

AT_ONCE_S = streams.POLL_S / 2
BY_ITSELF_S = 2.0
_tracking = itertools.count(1)


@pytest.fixture(scope="module")
def redis() -> Iterator[services.OwnRedis]:
    redis = services.make_redis()
    redis.start()
    yield redis
    redis.close()


@pytest.fixture(scope="module")
def here(start_kassa: StartKassa, redis: services.OwnRedis) -> rig.Server:
    return start_kassa(REDIS_URL=redis.url)


@pytest.fixture(scope="module")
def there(start_kassa: StartKassa, redis: services.OwnRedis, here: rig.Server) -> rig.Server:
    """Another process over the same database and the same Redis."""
    return start_kassa(database=here.dsn, REDIS_URL=redis.url)


@pytest.fixture(scope="module")
def alone(start_kassa: StartKassa, here: rig.Server) -> rig.Server:
    """Another process over the same database, without Redis."""
    return start_kassa(database=here.dsn)


class Order:
    """A shipped order, and the people who can move and follow it."""

    def __init__(self, server: rig.Server) -> None:
        with people(server) as sign_in:
            buyer, staff = sign_in(77), sign_in(role="staff")
            self.order_id = buy_paid(buyer)["id"]
            moved(staff, self.order_id, "processing")
            moved(staff, self.order_id, "shipped")

    @contextlib.contextmanager
    def followed_at(self, server: rig.Server) -> Iterator[queue.Queue[tuple[Json, float]]]:
        """The events of the order as they come in at `server`, with the moment of each; the present state has been read."""
        heard: queue.Queue[tuple[Json, float]] = queue.Queue()
        with people(server) as sign_in:
            buyer = sign_in(77)
            with buyer.stream("GET", f"/api/orders/{self.order_id}/events", timeout=30) as response:
                assert response.status_code == 200
                enough = threading.Event()
                reading = threading.Thread(target=_read, args=(response, heard, enough))
                reading.start()
                heard.get(timeout=10)
                try:
                    yield heard
                finally:
                    enough.set()
                    self.touch(server)
                    reading.join(10)

    def touch(self, server: rig.Server) -> float:
        """Something happens to the order, through `server`. The moment before."""
        began = time.monotonic()
        with people(server) as sign_in:
            moved(sign_in(role="staff"), self.order_id, "shipped", trackingNumber=f"T{next(_tracking)}")
        return began

    def delays(self, heard: queue.Queue[tuple[Json, float]], server: rig.Server, times: int = 6) -> list[float]:
        """How long after each of some events at `server` it was heard, the longest last."""
        found = []
        for _ in range(times):
            began = self.touch(server)
            _, at = heard.get(timeout=10)
            found.append(at - began)
        return sorted(found)


def _read(response: httpx2.Response, heard: queue.Queue[tuple[Json, float]], enough: threading.Event) -> None:
    for line in response.iter_lines():
        if line.startswith("data:"):
            heard.put((json.loads(line.removeprefix("data:")), time.monotonic()))
            if enough.is_set():
                return


def test_an_event_is_heard_at_once_in_its_own_process(alone: rig.Server) -> None:
    order = Order(alone)
    with order.followed_at(alone) as heard:
        assert order.delays(heard, alone)[-2] < AT_ONCE_S


def test_with_redis_an_event_is_heard_at_once_in_every_process(here: rig.Server, there: rig.Server) -> None:
    order = Order(here)
    with order.followed_at(there) as heard:
        assert order.delays(heard, here)[-2] < AT_ONCE_S
    with order.followed_at(here) as heard:
        assert order.delays(heard, there)[-2] < AT_ONCE_S


def test_without_redis_another_process_hears_of_it_within_two_seconds(here: rig.Server, alone: rig.Server) -> None:
    order = Order(here)
    with order.followed_at(alone) as heard:
        assert order.delays(heard, here, 3)[-1] < BY_ITSELF_S


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_when_redis_is_gone_events_still_come_and_come_quickly_again_afterwards(
    here: rig.Server, there: rig.Server, redis: services.OwnRedis, harm: str
) -> None:
    order = Order(here)
    with order.followed_at(there) as heard:
        redis.kill() if harm == "kill" else redis.freeze()
        assert order.delays(heard, here, 3)[-1] < BY_ITSELF_S
        redis.revive()
        end = time.monotonic() + 20
        while order.delays(heard, here, 4)[-1] >= AT_ONCE_S:
            assert time.monotonic() < end


def test_nothing_is_missed_and_nothing_repeated(here: rig.Server, there: rig.Server) -> None:
    order = Order(here)
    with order.followed_at(here) as heard:
        for server in [here, there] * 10:
            order.touch(server)
        sequences = [heard.get(timeout=10)[0]["sequence"] for _ in range(20)]
        assert sequences == list(range(sequences[0], sequences[0] + 20))


async def test_between_news_a_stream_looks_no_more_often_than_it_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_S", 0.1)
    looks, bell = 0, Bell()

    async def news() -> bytes:
        nonlocal looks
        looks += 1
        return b""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_message: Any) -> None:
        bell.ring("order:another", "outbox")

    await Stream(b"first", news, 1.05, Closing(), "order:1", bell)({}, receive, send)
    assert 1 <= looks <= 11


async def test_a_ring_brings_the_news_long_before_the_next_look() -> None:
    bell, parts, closing = Bell(), [], Closing()
    there_is: list[bytes] = []

    async def news() -> bytes:
        return there_is.pop() if there_is else b""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        parts.append(message.get("body"))

    streaming = asyncio.create_task(Stream(b"first", news, 60, closing, "order:1", bell)({}, receive, send))
    while not bell._ears:
        await asyncio.sleep(0)
    began = time.monotonic()
    for text in (b"one", b"two"):
        there_is.append(text)
        bell.ring("order:1")
        while text not in parts:
            await asyncio.sleep(0.001)
    assert time.monotonic() - began < AT_ONCE_S
    closing.close()
    await asyncio.wait_for(streaming, AT_ONCE_S)
    assert not bell._ears
