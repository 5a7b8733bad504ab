"""From the broker to merchants' servers: each delivery at least once, in order, whoever dies and whatever lies in the queue."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from tests import rig
from tests.flows.broker_town import (
    Listener,
    Merchant,
    add_endpoint,
    backlog,
    consumer_of,
    count,
    drain,
    open_hall,
    payment_data,
    process,
    relay_of,
    remove,
    running,
    states,
    tell,
    until,
)
from tests.services import OwnRabbit

from kassa.events.broker import Broker
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.webhooks.delivery import Deliverer


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest_asyncio.fixture
async def hall(dsn: str, rabbitmq_url: str, name: str) -> AsyncIterator[Context]:
    """An outbox, a deliverer and the shared broker."""
    async with open_hall(dsn, rabbitmq_url, name) as ctx:
        assert await ctx.port(Broker).ready(10)
        yield ctx
    await remove(rabbitmq_url, name)


@pytest_asyncio.fixture
async def merchant() -> AsyncIterator[Merchant]:
    """A merchant's server."""
    async with Merchant().open() as merchant:
        yield merchant


async def all_done(ctx: Context, many: int) -> bool:
    return await states(ctx) == {"success": many}


async def publish(url: str, name: str, body: bytes = b"{}", key: str = "order.updated", **properties: Any) -> None:
    """Put a message of somebody's into the exchange."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(name)
        await exchange.publish(aio_pika.Message(body, **properties), key)


async def test_an_event_reaches_its_merchant_within_a_second(hall: Context, merchant: Merchant) -> None:
    await add_endpoint(hall, "1", merchant.url)
    async with running(relay_of(hall), consumer_of(hall)):
        await asyncio.sleep(0.7)
        began = time.monotonic()
        await tell(hall, "1", ["payment:p"], "payment.paid", **payment_data())
        await until(lambda: merchant.seen)
        assert time.monotonic() - began < 1
        await until(lambda: all_done(hall, 1))
    [request] = merchant.seen
    assert (request["kassa-event-type"], request["kassa-attempt"]) == ("payment.paid", "1")


async def test_deliveries_keep_the_order_of_their_subjects_and_come_once(
    hall: Context, merchant: Merchant, rabbitmq_url: str, name: str
) -> None:
    for each in ("1", "2", "3"):
        await add_endpoint(hall, each, f"{merchant.url}/{each}")
    async with running(relay_of(hall), consumer_of(hall)):
        for _ in range(20):
            for each in ("1", "2", "3"):
                await tell(hall, each, [f"order:{each}-{n}" for n in range(5)])
        await until(lambda: all_done(hall, 300), 40)
        await until(lambda: emptied(rabbitmq_url, name))
    assert len(merchant.seen) == len({(each["path"], each["webhook-id"]) for each in merchant.seen}) == 300
    assert all(numbers == list(range(1, 21)) for numbers in merchant.numbers().values())
    assert await count(rabbitmq_url, f"{name}.queue.dead") == 0


async def emptied(url: str, name: str) -> bool:
    return await count(url, f"{name}.queue") == 0


async def test_a_failed_attempt_comes_again_through_the_broker(
    hall: Context, merchant: Merchant, rabbitmq_url: str, name: str
) -> None:
    refused = Counter[str]()

    def twice_no(headers: dict[str, str]) -> int:
        refused[headers["webhook-id"]] += 1
        return 200 if refused[headers["webhook-id"]] > 2 else 500

    merchant.answer = twice_no
    endpoints = [await add_endpoint(hall, "1", f"{merchant.url}/{n}") for n in (1, 2)]
    async with Listener(rabbitmq_url, name).listening() as listener, running(relay_of(hall), consumer_of(hall)):
        await tell(hall, "1", ["order:1"])
        await until(lambda: all_done(hall, 2))
    again = [message for message in listener.heard if message.routing_key == "delivery.retry"]
    assert {str(message.headers["kassa-endpoint-id"]) for message in again} <= {str(each) for each in endpoints}
    assert {str(message.headers["kassa-delivery-id"]) for message in again} == {
        str(row["delivery_id"]) for row in await hall.db.rows("SELECT delivery_id FROM deliveries WHERE attempts > 1")
    }
    assert len(set(listener.ids())) == 1, "an event keeps its id"
    assert all(message.body == listener.heard[0].body for message in again)


@pytest.mark.parametrize(
    ("body", "properties"),
    [
        (b"{}", {"message_id": "no-id", "headers": {"kassa-merchant-id": "1"}}),
        (b"{}", {"message_id": str(new_id())}),
        (b"\xff\x00", {"message_id": str(new_id()), "headers": {"kassa-merchant-id": "x" * 100}}),
        (b"", {"message_id": str(new_id()), "headers": {"kassa-merchant-id": 1}}),
        (b"{}", {"message_id": str(new_id()), "headers": {"kassa-merchant-id": "1", "kassa-delivery-id": "x"}}),
        (b"{}", {"message_id": str(new_id()), "headers": {"kassa-merchant-id": "1"}}),
        (b"{}", {}),
    ],
    ids=["no id", "no merchant", "a long merchant", "a merchant of another type", "no delivery", "an unknown event", "nothing"],
)
async def test_a_message_that_names_no_event_is_a_dead_letter_at_once(
    hall: Context, rabbitmq_url: str, name: str, body: bytes, properties: dict[str, Any]
) -> None:
    async with running(consumer_of(hall)):
        await publish(rabbitmq_url, name, body, **properties)
        await until(lambda: count(rabbitmq_url, f"{name}.queue.dead"), 5)
    [dead] = await drain(rabbitmq_url, f"{name}.queue.dead")
    assert dead.body == body
    assert dead.headers["x-death"][0]["reason"] == "rejected"  # type: ignore[index, call-overload]


async def test_poison_does_not_hold_up_the_others(hall: Context, merchant: Merchant, rabbitmq_url: str, name: str) -> None:
    await add_endpoint(hall, "1", merchant.url)
    async with running(relay_of(hall), consumer_of(hall)):
        for n in range(30):
            await publish(rabbitmq_url, name, message_id=str(new_id()), headers={"kassa-merchant-id": "1"} if n % 2 else {})
            if n % 10 == 0:
                began = time.monotonic()
                await tell(hall, "1", [f"order:{n}"])
                await until(lambda n=n: len(merchant.seen) == n // 10 + 1)
                assert time.monotonic() - began < 1
        await until(lambda: all_done(hall, 3))
        await until(lambda: are_dead(rabbitmq_url, name, 30))


async def are_dead(url: str, name: str, messages: int) -> bool:
    return await count(url, f"{name}.queue.dead") == messages


async def test_a_slow_merchant_does_not_delay_the_others(hall: Context, merchant: Merchant) -> None:
    async with Merchant(wait_s=3).open() as slow:
        await add_endpoint(hall, "1", slow.url, ordered=False)
        await add_endpoint(hall, "2", merchant.url)
        async with running(relay_of(hall), consumer_of(hall)):
            for n in range(10):
                await tell(hall, "1", [f"order:{n}-{each}" for each in range(20)])
            await until(lambda: len(slow.seen) == 8)
            for n in range(10):
                began = time.monotonic()
                await tell(hall, "2", [f"order:{n}"])
                await until(lambda n=n: len(merchant.seen) == n + 1)
                assert time.monotonic() - began < 1
            slow.wait_s = 0


@pytest.mark.parametrize("point", ["webhooks.claim:after_commit", "webhook:after_call", "webhooks.note:before_commit", "webhooks.note:after_commit", "acknowledge:before_call"])  # fmt: skip
async def test_a_consumer_that_dies_anywhere_leads_to_at_most_one_more_request(
    hall: Context, merchant: Merchant, dsn: str, rabbitmq_url: str, name: str, point: str
) -> None:
    await add_endpoint(hall, "1", merchant.url)
    async with running(relay_of(hall)):
        await tell(hall, "1", ["order:1", "order:2", "order:3", "order:1"])
        await until(lambda: settled(hall))
    with process("deliver", dsn, rabbitmq_url, name, point) as dying:
        assert await asyncio.to_thread(dying.wait, 20) == -9
    written = {str(row["event_id"]) for row in await hall.db.rows("SELECT event_id FROM deliveries WHERE status = 'success'")}
    await hall.db.execute("UPDATE deliveries SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
    await hall.port(Deliverer).reclaim(hall)
    async with running(consumer_of(hall)):
        await until(lambda: all_done(hall, 4))
        await until(lambda: emptied(rabbitmq_url, name))
    requests = Counter(each["webhook-id"] for each in merchant.seen)
    assert len(requests) == 4
    assert max(requests.values()) <= 2
    assert all(requests[each] == 1 for each in written), "its message comes again and finds nothing to do"
    assert bool(written) == (point in {"webhooks.note:after_commit", "acknowledge:before_call"})


async def settled(ctx: Context) -> bool:
    return await backlog(ctx) == 0


async def test_what_lost_its_message_is_published_again_a_minute_later(
    hall: Context, merchant: Merchant, rabbitmq_url: str, name: str
) -> None:
    await add_endpoint(hall, "1", merchant.url)
    async with running(relay_of(hall)):
        await tell(hall, "1", ["order:1"])
        await until(lambda: settled(hall))
    assert len(await drain(rabbitmq_url, f"{name}.queue")) == 1
    async with running(consumer_of(hall)):
        await asyncio.sleep(0.6)
        assert merchant.seen == []
        await hall.db.execute(
            "UPDATE deliveries SET next_at = next_at - interval '61 seconds', created_at = created_at - interval '61 seconds'"
        )
        await until(lambda: all_done(hall, 1), 5)
    assert len(merchant.seen) == 1


async def test_while_the_broker_is_away_deliveries_wait_and_then_go_on(
    dsn: str, own_rabbitmq: OwnRabbit, merchant: Merchant, name: str
) -> None:
    async with open_hall(dsn, own_rabbitmq.url, name) as hall:
        assert await hall.port(Broker).ready(10)
        await add_endpoint(hall, "1", merchant.url)
        async with running(relay_of(hall), consumer_of(hall)):
            await tell(hall, "1", ["order:1", "order:2"])
            await until(lambda: all_done(hall, 2))
            await asyncio.to_thread(own_rabbitmq.stop)
            merchant.answer = lambda _: 500
            for _ in range(10):
                await tell(hall, "1", ["order:1", "order:2"])
            await asyncio.sleep(1)
            assert await states(hall) == {"success": 2, "pending": 20}
            assert await hall.db.value("SELECT sum(attempts) FROM deliveries") == 2, "no attempt is used up"
            merchant.answer = lambda _: 200
            await asyncio.to_thread(own_rabbitmq.start)
            await until(lambda: all_done(hall, 22), 40)
    assert all(numbers == list(range(1, 12)) for numbers in merchant.numbers().values())
    assert len(merchant.seen) == 22
    await remove(own_rabbitmq.url, name)


async def test_a_database_that_goes_away_for_a_moment_costs_no_message(
    hall: Context,
    merchant: Merchant,
    rabbitmq_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from kassa.kit.database import DatabaseAway
    from kassa.webhooks import consume
    from kassa.webhooks.delivery import store

    real, left = store.claim, [2]

    async def away_twice(*args: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise DatabaseAway
        return await real(*args, **more)

    monkeypatch.setattr(store, "claim", away_twice)
    monkeypatch.setattr(consume, "_AGAIN_S", 0.05)
    await add_endpoint(hall, "1", merchant.url)
    with caplog.at_level(logging.WARNING):
        async with running(relay_of(hall), consumer_of(hall)):
            await tell(hall, "1", ["order:1"])
            await until(lambda: all_done(hall, 1))
            await until(lambda: emptied(rabbitmq_url, name))
    assert caplog.text.count("messages of the broker: unavailable") == 2
    assert await count(rabbitmq_url, f"{name}.queue.dead") == 0


async def test_twenty_rolling_restarts_under_load_lose_nothing_and_double_nothing(
    hall: Context, merchant: Merchant, dsn: str, rabbitmq_url: str, name: str
) -> None:
    """Old and new overlap; what an old one has begun it ends, the rest it leaves to the broker."""
    await add_endpoint(hall, "1", merchant.url)
    sent, over = [0], asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            await tell(hall, "1", [f"order:{n}" for n in range(4)])
            sent[0] += 4
            await asyncio.sleep(0.02)

    writer = asyncio.create_task(write())
    for _ in range(20):
        async with open_hall(dsn, rabbitmq_url, name, size=3) as one, running(relay_of(one), consumer_of(one)):
            await asyncio.sleep(0.15)
            async with open_hall(dsn, rabbitmq_url, name, size=3) as other, running(relay_of(other), consumer_of(other)):
                await asyncio.sleep(0.15)
    over.set()
    await writer
    async with running(relay_of(hall), consumer_of(hall)):
        await until(lambda: settled(hall))
        await hall.db.execute("UPDATE deliveries SET queued_until = now(), next_at = next_at - interval '61 seconds', created_at = created_at - interval '61 seconds' WHERE status = 'pending'")  # fmt: skip
        await until(lambda: all_done(hall, sent[0]), 60)
    assert len(merchant.seen) == len({each["webhook-id"] for each in merchant.seen}) == sent[0]
    assert all(numbers == list(range(1, sent[0] // 4 + 1)) for numbers in merchant.numbers().values())
    assert await count(rabbitmq_url, f"{name}.queue.dead") == 0
