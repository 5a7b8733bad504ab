"""Row 7: events on their way to merchants, through RabbitMQ, against the bare way through RabbitMQ."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import aio_pika

from bench.report import Row
from bench.town import Town
from kassa.events import Event, FanOut, record
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks import DELIVERY_MADE
from kassa.webhooks.endpoints import add_endpoint
from kassa.webhooks.model import Wish

MERCHANTS = 16
EACH_SECOND = 1500
PATIENCE_S = 300


def events_to_merchants(place: Town, pairs: int, seconds: int, say: Callable[[str], None]) -> Row:
    """Events to merchants' servers through RabbitMQ against raw publish and consume."""
    many = EACH_SECOND * seconds
    ours, theirs, told = [], [], 0
    with _rabbitmq() as url, _running("bench.sink", str(port := place.free_port())):
        dsn, name = place.another("kassa_told"), f"bench-{uuid.uuid4().hex[:8]}"
        asyncio.run(_merchants(place, dsn, f"http://127.0.0.1:{port}/hook"))
        settings = {
            "DATABASE_URL": dsn,
            "RABBITMQ_URL": url,
            "EXCHANGE_NAME": name,
            "QUEUE_NAME": f"{name}.queue",
            "ALLOW_PRIVATE_CALLBACKS": "true",
        }
        with place.working(settings):
            asyncio.run(_deliver(dsn, 500))
            place.ask(dsn, "ANALYZE")  # as a database does by itself that has lived for some minutes
            _raw(url, 500)
            for pair in range(pairs):
                ours.append(many / asyncio.run(_deliver(dsn, many)))
                told += many
                theirs.append(many / _raw(url, many))
                say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} /s = {ours[-1] / theirs[-1]:.2f}")
        [counted] = place.ask(dsn, _COUNTED)
        asyncio.run(_remove(url, name))
    checks = {
        f"each of {told} events was delivered at the first attempt": dict(counted)
        == {"deliveries": told + 500, "delivered": told + 500, "attempts": told + 500, "relayed": told + 500},
        "kassa verify is clean": place.verify({"DATABASE_URL": dsn}),
    }
    notes = [f"{MERCHANTS} merchants, an endpoint each; recorded, relayed, consumed, signed, posted, noted"]
    return Row(7, "events to merchants through RabbitMQ", "raw publish and consume", 0.5, ours, theirs, checks, notes)


_OPEN = "SELECT EXISTS (SELECT FROM deliveries WHERE status NOT IN ('success', 'failed') AND NOT replayed)"
"""As the index of open deliveries has it, so that looking costs little."""
_COUNTED = """
    SELECT (SELECT count(*) FROM deliveries) AS deliveries,
           (SELECT count(*) FROM deliveries WHERE status = 'success') AS delivered,
           (SELECT count(*) FROM delivery_attempts) AS attempts,
           (SELECT sum(relayed) FROM feeds)::bigint AS relayed
"""


async def _merchants(place: Town, dsn: str, url: str) -> None:
    db = await Database.connect(dsn, size=2)
    keys = Keys(base64.b64decode(place.environment["KASSA_SECRET"]))
    for merchant in range(1, MERCHANTS + 1):
        await db.execute("INSERT INTO merchants (merchant_id, name) VALUES ($1, 'Bench')", str(merchant))
        async with db.transaction("endpoint") as tx:
            await add_endpoint(tx, keys, str(merchant), Wish(url, events=("payment.*",)))
    await db.close()


async def _deliver(dsn: str, many: int) -> float:
    """Record so many events with one commit; the seconds from then on until the outcome of each is written."""
    db = await Database.connect(dsn, size=2, statement_timeout_s=120)
    db.ports[FanOut] = FanOut((DELIVERY_MADE,))
    async with db.transaction("tell") as tx:
        for n in range(many):
            record(tx, _opened(str(n % MERCHANTS + 1)))
    began = time.perf_counter()
    while await db.value(_OPEN):
        if time.perf_counter() - began > PATIENCE_S:
            raise RuntimeError("deliveries do not end")
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    await db.close()
    return took


def _opened(merchant_id: str) -> Event:
    payment_id = str(new_id())
    data = {
        "payment_id": payment_id, "order_id": 1001, "status": 1, "status_name": "PAYMENT_PENDING", "state": "opened",
        "provider": "stripe", "amount": "2", "price": "349.70", "currency": "USD", "captured": "0.00", "refunded": "0.00",
        "reason": None,
    }  # fmt: skip
    return Event(merchant_id, f"payment:{payment_id}", "payment.created", data)


def _raw(url: str, many: int) -> float:
    command = [sys.executable, "-m", "bench.wire", url, f"bench-{uuid.uuid4().hex[:8]}", str(many)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=PATIENCE_S)
    return float(done.stdout)


@contextlib.contextmanager
def _running(module: str, *args: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", module, *args])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _rabbitmq() -> Iterator[str]:
    """A RabbitMQ as the tests find it: one that runs, else one that is started for as long as the block."""
    from tests import services

    url = services.running(services.RABBITMQ)
    if url is not None:
        yield url
        return
    rabbit = services.make_rabbitmq()
    rabbit.start()
    try:
        yield rabbit.url
    finally:
        rabbit.close()


async def _remove(url: str, name: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        for queue in (f"{name}.queue", f"{name}.queue.dead"):
            async with connection.channel() as channel:
                await channel.queue_delete(queue)
        for exchange in (name, f"{name}.dlx"):
            async with connection.channel() as channel:
                await channel.exchange_delete(exchange)
