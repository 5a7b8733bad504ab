"""The outbox and a real RabbitMQ: everything that was recorded arrives, in the order of its subject, whatever happens between them."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import aio_pika
import orjson
import psutil
import pytest
import pytest_asyncio
from tests import rig
from tests.flows.broker_town import (
    Listener,
    Proxy,
    backlog,
    count,
    drain,
    open_hall,
    payment_data,
    process,
    relay_of,
    remove,
    running,
    tell,
    until,
)
from tests.services import OwnRabbit

from kassa.events import relay
from kassa.events.broker import Broker, Message
from kassa.kit.context import Context


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest_asyncio.fixture
async def hall(dsn: str, rabbitmq_url: str, name: str) -> AsyncIterator[Context]:
    """An outbox and the shared broker."""
    async with open_hall(dsn, rabbitmq_url, name) as ctx:
        assert await broker_of(ctx).ready(10)
        yield ctx
    await remove(rabbitmq_url, name)


@pytest_asyncio.fixture
async def own_hall(dsn: str, own_rabbitmq: OwnRabbit, name: str) -> AsyncIterator[Context]:
    """An outbox and a broker that the test may stop."""
    async with open_hall(dsn, own_rabbitmq.url, name) as ctx:
        assert await broker_of(ctx).ready(10)
        yield ctx
    own_rabbitmq.revive()
    await remove(own_rabbitmq.url, name)


def broker_of(ctx: Context) -> Broker:
    return ctx.port(Broker)


def letter(n: int = 1, key: str = "order.updated") -> Message:
    return Message(key, str(uuid.uuid4()), "order.updated", b"{}", {"kassa-subject": "order:1", "kassa-sequence": n})


# ── what is published ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_is_published_as_the_contract_says(hall: Context, rabbitmq_url: str, name: str) -> None:
    data = payment_data()
    async with Listener(rabbitmq_url, name).listening() as listener, running(relay_of(hall)):
        await tell(hall, "1", ["payment:p"], "payment.paid", **data)
        await until(lambda: listener.heard)
    [message] = listener.heard
    event = await hall.db.row("SELECT event_id FROM events")
    assert event is not None
    assert message.message_id == str(event["event_id"])
    assert (message.routing_key, message.type, message.content_type) == ("payment.updated", "payment.paid", "application/json")
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.headers == {"kassa-subject": "payment:p", "kassa-sequence": 1, "kassa-merchant-id": "1"}
    assert message.body == (
        b'{"payment_id":"%s","order_id":1001,"merchant_id":1,"status":2,"amount":"2","price":"349.70"}'
        % data["payment_id"].encode()
    )


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        *((f"payment.{each}", "payment.updated") for each in ("paid", "declined", "expired", "cancelled", "refunded", "reversed")),
        ("payment.created", "payment.created"),
        ("refund.failed", "refund.failed"),
        ("order.shipped", "order.shipped"),
        ("checkout.undone", "checkout.undone"),
        ("subscription.exhausted", "subscription.exhausted"),
        ("endpoint.disabled", "endpoint.disabled"),
        ("test.ping", "test.ping"),
    ],
)
async def test_each_type_has_its_key_and_reaches_the_queue(
    hall: Context, rabbitmq_url: str, name: str, type_: str, key: str
) -> None:
    async with running(relay_of(hall)):
        await tell(hall, "1", ["payment:p"], type_, **payment_data())
        await until(lambda: settled(hall))
    [message] = await drain(rabbitmq_url, f"{name}.queue")
    assert message.routing_key == key
    body = orjson.loads(message.body)
    assert ("data" in body) != type_.startswith("payment.")


async def settled(ctx: Context) -> bool:
    return await backlog(ctx) == 0


async def test_events_are_published_in_the_order_of_their_subjects(hall: Context, rabbitmq_url: str, name: str) -> None:
    async with Listener(rabbitmq_url, name).listening() as listener, running(relay_of(hall)):
        for merchant in ("1", "2", "3"):
            for _ in range(30):
                await tell(hall, merchant, [f"order:{merchant}-{n}" for n in range(10)])
        await until(lambda: len(listener.heard) >= 900)
        await until(lambda: settled(hall))
    assert len(set(listener.ids())) == len(listener.heard) == 900, "nothing twice where nothing broke"
    assert all(numbers == list(range(1, 31)) for numbers in listener.by_subject().values())


async def test_an_event_is_published_within_a_second_of_its_commit(hall: Context, rabbitmq_url: str, name: str) -> None:
    async with Listener(rabbitmq_url, name).listening() as listener, running(relay_of(hall)):
        await asyncio.sleep(0.7)
        for n in range(1, 6):
            await tell(hall, "1", ["order:1"])
            assert await until(lambda n=n: len(listener.heard) >= n) < 1


async def test_what_no_bell_told_of_is_found_by_looking(hall: Context, dsn: str, rabbitmq_url: str, name: str) -> None:
    async with Listener(rabbitmq_url, name).listening() as listener, running(relay_of(hall)), open_hall(dsn, None, "") as elsewhere:
        await tell(elsewhere, "1", ["order:1"])
        await until(lambda: listener.heard, 5)


# ── topology ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_topology_is_the_contracts(own_hall: Context, own_rabbitmq: OwnRabbit, name: str) -> None:
    queues = own_rabbitmq.ctl("list_queues", "name", "type", "durable", "arguments")
    [queue] = [line for line in queues.splitlines() if line.startswith(f"{name}.queue\t")]
    assert "quorum\ttrue" in queue
    for argument in ('"x-queue-type","quorum"', '"x-delivery-limit",20', f'"x-dead-letter-exchange","{name}.dlx"'):
        assert argument in queue
    [dead] = [line for line in queues.splitlines() if line.startswith(f"{name}.queue.dead\t")]
    assert "quorum\ttrue" in dead
    exchanges = own_rabbitmq.ctl("list_exchanges", "name", "type", "durable")
    assert f"{name}\ttopic\ttrue" in exchanges
    assert f"{name}.dlx\tfanout\ttrue" in exchanges
    bindings = own_rabbitmq.ctl("list_bindings", "source_name", "destination_name", "routing_key").splitlines()
    keys = {line.split("\t")[2] for line in bindings if line.startswith(f"{name}\t{name}.queue\t")}
    families = ("payment", "refund", "order", "checkout", "subscription", "endpoint", "test", "delivery")
    assert keys == {f"{family}.*" for family in families}
    assert f"{name}.dlx\t{name}.queue.dead\t" in "\n".join(bindings)
    assert broker_of(own_hall).connected


async def test_a_queue_of_an_older_installation_is_used_as_it_is_with_one_warning(
    dsn: str, rabbitmq_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(f"{name}.queue", durable=True)
        await channel.declare_exchange(name, aio_pika.ExchangeType.DIRECT, durable=True)
    with caplog.at_level(logging.WARNING):
        async with open_hall(dsn, rabbitmq_url, name) as ctx:
            for _ in range(2):
                assert await broker_of(ctx).ready(10)
                assert await broker_of(ctx).publish([letter(), letter(2, "payment.updated"), letter(3, "delivery.retry")]) == 3
                broker_of(ctx)._publisher.give_up()
                await until(lambda ctx=ctx: not broker_of(ctx).connected)
    warnings = [each.getMessage() for each in caplog.records if "other arguments" in each.getMessage()]
    assert sorted(warning[warning.rindex("(") :] for warning in warnings) == ["(EXCHANGE_NAME)", "(QUEUE_NAME)"]
    assert await count(rabbitmq_url, f"{name}.queue") == 6
    await remove(rabbitmq_url, name)


async def test_a_queue_that_was_deleted_is_made_again(hall: Context, rabbitmq_url: str, name: str) -> None:
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection, running(relay_of(hall)):
        channel = await connection.channel()
        await channel.queue_delete(f"{name}.queue")
        await tell(hall, "1", ["order:1", "order:2"])
        await until(lambda: settled(hall))
    assert await count(rabbitmq_url, f"{name}.queue") == 2, "a return is no confirmation"


# ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_no_queue_wants_and_what_follows_it_is_not_published(hall: Context) -> None:
    assert await broker_of(hall).publish([letter(1), letter(2), letter(3, "nobody.wants"), letter(4)]) == 2


async def test_thousands_at_once_arrive_whole_and_each_batch_in_its_order(hall: Context, rabbitmq_url: str, name: str) -> None:
    batches = [[letter(n) for n in range(50)] for _ in range(40)]
    assert await asyncio.gather(*(broker_of(hall).publish(batch) for batch in batches)) == [50] * 40
    place = {message.message_id: n for n, message in enumerate(await drain(rabbitmq_url, f"{name}.queue"))}
    assert len(place) == 2000
    for batch in batches:
        places = [place[message.message_id] for message in batch]
        assert places == sorted(places)


async def test_bodies_of_all_sizes_arrive_as_they_were(hall: Context, rabbitmq_url: str, name: str) -> None:
    bodies = [b"", b"x", b"y" * 20_000, b"z" * 131_064, b"a" * 131_065, bytes(n % 256 for n in range(400_000))]
    assert await broker_of(hall).publish([replace(letter(), body=body) for body in bodies]) == len(bodies)
    assert [message.body for message in await drain(rabbitmq_url, f"{name}.queue")] == bodies


async def test_what_the_broker_refuses_and_what_follows_it_is_not_published(dsn: str, rabbitmq_url: str, name: str) -> None:
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection:
        channel = await connection.channel()
        full = {"x-max-length": 3, "x-overflow": "reject-publish"}
        await channel.declare_queue(f"{name}.queue", durable=True, arguments=full)
    async with open_hall(dsn, rabbitmq_url, name) as ctx:
        assert await broker_of(ctx).ready(10)
        assert await broker_of(ctx).publish([letter(n) for n in range(10)]) == 3
        assert broker_of(ctx).connected, "a refusal says nothing about the connection"
    await remove(rabbitmq_url, name)


async def test_a_connection_that_is_cut_within_batches_ends_them_at_once(dsn: str, rabbitmq_url: str, name: str) -> None:
    async with Proxy(urlsplit(rabbitmq_url).port or 5672).open() as proxy:
        url = rabbitmq_url.replace(f":{urlsplit(rabbitmq_url).port or 5672}", f":{proxy.port}")
        async with open_hall(dsn, url, name) as ctx:
            assert await broker_of(ctx).ready(10)
            batches = [[letter(n) for n in range(200)] for _ in range(10)]
            tasks = [asyncio.create_task(broker_of(ctx).publish(batch)) for batch in batches]
            await until(lambda: count(rabbitmq_url, f"{name}.queue"))
            proxy.restore()
            async with asyncio.timeout(3):  # nobody waits out the deadline
                confirmed = await asyncio.gather(*tasks)
            assert await broker_of(ctx).ready(10)
            arrived = {message.message_id for message in await drain(rabbitmq_url, f"{name}.queue")}
            for batch, leading in zip(batches, confirmed, strict=True):
                assert {message.message_id for message in batch[:leading]} <= arrived, "what was confirmed is there"
            assert await broker_of(ctx).publish([letter()]) == 1
    await remove(rabbitmq_url, name)


async def test_a_busy_line_is_not_taken_for_a_dead_one(hall: Context) -> None:
    """The library sees nothing of messages, so it is asked something meanwhile: 18 s without a frame would end the line for it."""
    publisher = broker_of(hall)._publisher.opened
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        assert await broker_of(hall).publish([letter()]) == 1
        await asyncio.sleep(0.05)
    assert broker_of(hall)._publisher.opened is publisher


async def test_nothing_is_published_inside_a_transaction(hall: Context) -> None:
    async with hall.db.transaction("tell"):
        with pytest.raises(RuntimeError, match="inside 'tell'"):
            await broker_of(hall).publish([letter()])


async def test_neither_log_nor_error_shows_credentials(
    dsn: str, rabbitmq_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(rabbitmq_url)
    wrong = f"amqp://kassa:canary-password@{parts.hostname}:{parts.port}/"
    nobody = f"amqp://kassa:canary-password@127.0.0.1:{rig.free_port()}/"
    with caplog.at_level(logging.DEBUG):
        for url in (wrong, nobody):
            async with open_hall(dsn, url, name) as ctx:
                assert not await broker_of(ctx).ready(1)
                assert await broker_of(ctx).publish([letter()]) == 0
                assert "canary" not in repr(broker_of(ctx))
    assert "broker: away" in caplog.text
    assert "canary" not in caplog.text


async def test_a_missing_broker_leaves_a_stop_prompt(dsn: str, name: str) -> None:
    async with open_hall(dsn, f"amqp://guest:guest@127.0.0.1:{rig.free_port()}/", name) as ctx:
        await tell(ctx, "1", ["order:1"])
        began = time.monotonic()
        async with running(relay_of(ctx)):
            await asyncio.sleep(0.3)
        assert time.monotonic() - began < 3
        assert await backlog(ctx) == 1


async def test_without_a_broker_a_later_one_gets_what_happens_then(dsn: str, rabbitmq_url: str, name: str) -> None:
    async with open_hall(dsn, None, "") as ctx, running(relay_of(ctx)):
        await tell(ctx, "1", ["order:1", "order:2"])
        await until(lambda: settled(ctx))
    async with open_hall(dsn, rabbitmq_url, name) as ctx, running(relay_of(ctx)):
        await tell(ctx, "1", ["order:3"])
        await until(lambda: settled(ctx))
    [message] = await drain(rabbitmq_url, f"{name}.queue")
    assert message.headers["kassa-subject"] == "order:3"
    await remove(rabbitmq_url, name)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def everything_arrived(ctx: Context, url: str, queue: str, subjects: int, each: int) -> None:
    """The queue holds each event at least once, and first sightings stand in the order of their subject."""
    await until(lambda: settled(ctx), 60)
    listener = Listener(url, "")
    listener.heard = await drain(url, queue)
    assert len(set(listener.ids())) == subjects * each
    assert all(numbers == list(range(1, each + 1)) for numbers in listener.by_subject().values())


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_broker_that_goes_and_comes_back_loses_nothing(
    own_hall: Context, own_rabbitmq: OwnRabbit, name: str, how: str
) -> None:
    async def write(writer: int) -> list[float]:
        took = []
        for _ in range(60):
            began = time.monotonic()
            await tell(own_hall, str(writer % 2), [f"order:{writer}-{n}" for n in range(3)])
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        return took

    # The broker writes the name of a new queue to its disk seconds later, or when it is stopped properly; killed before, it loses the queue.
    await asyncio.to_thread(own_rabbitmq.stop)
    await asyncio.to_thread(own_rabbitmq.start)
    async with running(relay_of(own_hall)):
        writers = [asyncio.create_task(write(n)) for n in range(4)]
        await until(lambda: count(own_rabbitmq.url, f"{name}.queue"))
        await asyncio.to_thread(own_rabbitmq.stop if how == "stop" else own_rabbitmq.kill)
        took = [each for writer in writers for each in await writer]
        assert max(took) < 2, "nobody who records waits for the broker"
        await asyncio.to_thread(own_rabbitmq.start)
        await everything_arrived(own_hall, own_rabbitmq.url, f"{name}.queue", 12, 60)


async def test_a_frozen_broker_is_left_within_five_seconds(own_hall: Context, own_rabbitmq: OwnRabbit) -> None:
    own_rabbitmq.freeze()
    began = time.monotonic()
    assert await broker_of(own_hall).publish([letter()]) == 0
    assert time.monotonic() - began < 6
    await until(lambda: not broker_of(own_hall).connected, 1)
    own_rabbitmq.thaw()
    assert await broker_of(own_hall).ready(15)
    assert await broker_of(own_hall).publish([letter()]) == 1


async def test_a_link_that_swallows_everything_is_noticed_and_made_anew(dsn: str, rabbitmq_url: str, name: str) -> None:
    async with Proxy(urlsplit(rabbitmq_url).port or 5672).open() as proxy:
        url = rabbitmq_url.replace(f":{urlsplit(rabbitmq_url).port or 5672}", f":{proxy.port}")
        async with open_hall(dsn, url, name) as ctx:
            assert await broker_of(ctx).ready(10)
            proxy.blackhole()
            async with running(relay_of(ctx)):
                await tell(ctx, "1", ["order:1", "order:1"])
                await until(lambda: not broker_of(ctx).connected, 7, "the dead link was kept")
                assert await backlog(ctx) == 2
                proxy.restore()
                await until(lambda: settled(ctx), 20)
    assert await count(rabbitmq_url, f"{name}.queue") >= 2
    await remove(rabbitmq_url, name)


async def test_an_idle_link_that_swallows_everything_is_noticed_too(dsn: str, rabbitmq_url: str, name: str) -> None:
    async with Proxy(urlsplit(rabbitmq_url).port or 5672).open() as proxy:
        url = rabbitmq_url.replace(f":{urlsplit(rabbitmq_url).port or 5672}", f":{proxy.port}")
        async with open_hall(dsn, url, name) as ctx:
            assert await broker_of(ctx).ready(10)
            proxy.blackhole()
            await until(lambda: not broker_of(ctx).connected, 12)
    await remove(rabbitmq_url, name)


async def test_a_broker_short_of_memory_holds_up_nobody_who_records(own_hall: Context, own_rabbitmq: OwnRabbit, name: str) -> None:
    await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.0001")
    try:
        async with running(relay_of(own_hall)):
            for _ in range(20):
                began = time.monotonic()
                await tell(own_hall, "1", ["order:1"])
                assert time.monotonic() - began < 1
            assert await backlog(own_hall) == 20
            await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "256MB")
            await everything_arrived(own_hall, own_rabbitmq.url, f"{name}.queue", 1, 20)
    finally:
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "256MB")


# ── relays that die, sleep and meet ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("point", "copies"), [("relay:before_call", 1), ("relay:after_call", 2), ("events.relayed:before_commit", 2), ("events.relayed:after_commit", 1), ("events.lead:before_commit", 1), ("events.lead:after_commit", 1)])  # fmt: skip
async def test_a_relay_that_dies_anywhere_loses_nothing(
    hall: Context, dsn: str, rabbitmq_url: str, name: str, point: str, copies: int
) -> None:
    for _ in range(2):
        await tell(hall, "1", [f"order:{n}" for n in range(20)])
    with process("relay", dsn, rabbitmq_url, name, point) as dying:
        assert await asyncio.to_thread(dying.wait, 20) == -9
    await hall.db.execute("UPDATE feeds SET lease_until = now() WHERE lease_until IS NOT NULL")  # the patience of its lease
    async with running(relay_of(hall)):
        await until(lambda: settled(hall))
    listener = Listener(rabbitmq_url, name, heard=await drain(rabbitmq_url, f"{name}.queue"))
    assert len(listener.heard) == copies * 40, "at most what was in flight comes twice"
    assert len(set(listener.ids())) == 40
    assert all(numbers == [1, 2] for numbers in listener.by_subject().values())


@pytest.mark.parametrize(
    ("point", "twice"),
    [
        ("events.lead:before_commit#2", 50),
        ("events.lead:after_commit#2", 0),
        ("relay:before_call#2", 0),
        ("relay:after_call#2", 50),
    ],
)
async def test_a_relay_that_dies_in_a_backlog_repeats_one_batch_at_most(
    hall: Context, dsn: str, rabbitmq_url: str, name: str, point: str, twice: int
) -> None:
    """It has read more than it has published."""
    await tell(hall, "1", [f"order:{n % 40}" for n in range(130)])
    with process("relay", dsn, rabbitmq_url, name, point) as dying:
        assert await asyncio.to_thread(dying.wait, 20) == -9
    await hall.db.execute("UPDATE feeds SET lease_until = now() WHERE lease_until IS NOT NULL")
    async with running(relay_of(hall)):
        await until(lambda: settled(hall))
    listener = Listener(rabbitmq_url, name, heard=await drain(rabbitmq_url, f"{name}.queue"))
    assert len(set(listener.ids())) == 130
    assert len(listener.heard) == 130 + twice
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in listener.by_subject().values())


async def test_what_was_read_ahead_is_dropped_when_somebody_took_it_as_relayed(hall: Context) -> None:
    """A process without a broker beside one with a broker."""
    from kassa.events import store

    await tell(hall, "1", [f"order:{n}" for n in range(60)])
    lead, ahead = await relay._look_ahead(hall, "1", None)
    assert lead is not None
    assert len(ahead) == 60
    async with hall.db.transaction("other") as tx:
        await store.pass_all(tx, "1")
    lead, ahead = await relay._go_on(hall, replace(lead, relayed=50), ahead[50:])
    assert lead is not None
    assert (lead.relayed, ahead) == (60, [])


async def test_the_lease_of_a_dead_relay_ends_by_itself(hall: Context, dsn: str, rabbitmq_url: str, name: str) -> None:
    await tell(hall, "1", ["order:1"])
    with process("relay", dsn, rabbitmq_url, name, "relay:before_call") as dying:
        assert await asyncio.to_thread(dying.wait, 20) == -9
    async with running(relay_of(hall)):
        assert await until(lambda: settled(hall), 25) > 5


async def test_a_relay_that_slept_past_its_lease_changes_nothing(hall: Context, dsn: str, rabbitmq_url: str, name: str) -> None:
    from kassa.events import store

    await tell(hall, "1", ["order:1", "order:2", "order:3"])
    async with hall.db.transaction("sleeper") as tx:
        await store.lock_feed(tx, "1")
        await store.give_next_places(tx, "1", 2)
        lead = await store.lead_feed(tx, "1", 15)
    assert lead is not None
    await hall.db.execute("UPDATE feeds SET lease_until = now() - interval '1 second'")
    async with hall.db.transaction("other") as tx:
        other = await store.lead_feed(tx, "1", 15)
    assert other is not None
    async with hall.db.transaction("sleeper") as tx:
        await store.note_relayed(tx, lead, 2)
    assert await hall.db.value("SELECT relayed FROM feeds") == 0
    async with hall.db.transaction("other") as tx:
        await store.note_relayed(tx, other, 1)
    assert await hall.db.value("SELECT relayed FROM feeds") == 1


async def test_two_relays_share_the_work_and_publish_nothing_twice(hall: Context, dsn: str, rabbitmq_url: str, name: str) -> None:
    async with open_hall(dsn, rabbitmq_url, name) as second, running(relay_of(hall), relay_of(second)):
        for n in range(40):
            await tell(hall, str(n % 4), [f"order:{n % 4}-{each}" for each in range(10)])
        await until(lambda: settled(hall))
    listener = Listener(rabbitmq_url, name, heard=await drain(rabbitmq_url, f"{name}.queue"))
    assert len(listener.heard) == len(set(listener.ids())) == 400
    assert all(numbers == list(range(1, 11)) for numbers in listener.by_subject().values())


async def test_a_hundred_thousand_queued_events_need_no_more_memory(hall: Context, dsn: str, rabbitmq_url: str, name: str) -> None:
    await hall.db.execute(
        """INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
           SELECT (n % 3)::text, lpad(to_hex(n), 32, '0')::uuid, 'order:' || n % 3 || '-' || n / 3 % 1000, n / 3000 + 1,
                  'order.updated', kassa_now(), '{"order_id": 1}'
             FROM generate_series(0, 99999) n"""
    )
    with process("relay", dsn, rabbitmq_url, name) as running_relay:
        seen = psutil.Process(running_relay.pid)
        base = seen.memory_info().rss
        peak = base
        while await backlog(hall):
            peak = max(peak, seen.memory_info().rss)
            await asyncio.sleep(0.3)
        running_relay.terminate()
        assert await asyncio.to_thread(running_relay.wait, 20) == 0
    assert peak - base < 60 * 2**20
    assert await count(rabbitmq_url, f"{name}.queue") == 100_000
