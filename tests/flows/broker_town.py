"""A merchant's outbox, a broker and what runs between them, in this process or in one of its own that may be killed.

Run as `python -m tests.flows.broker_town relay|deliver DSN URL NAME [KILL POINT]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web
from tests import rig
from tests.factories import SECRET

from kassa.events import Event, FanOut, record
from kassa.events import relay as relaying
from kassa.events.broker import Broker
from kassa.kit import crash
from kassa.kit.bell import Bell
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.egress import Egress
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks import DELIVERY_MADE, consume, endpoints
from kassa.webhooks.delivery import Deliverer
from kassa.webhooks.model import WebhookRules, Wish


@contextlib.asynccontextmanager
async def open_hall(
    dsn: str, url: str | None, name: str, *, size: int = 6, plan: tuple[int, ...] = (0, 0, 0, 0, 0, 1, 1, 1)
) -> AsyncIterator[Context]:
    """A context with a bell, a deliverer and, where an address is given, a broker; exchange and queue are called after `name`."""
    async with contextlib.AsyncExitStack() as stack:
        db = await Database.connect(dsn, size=size)
        stack.push_async_callback(db.close)
        rules = WebhookRules(plan=plan, timeout_s=5, private=True)
        ports: dict[type, Any] = {Bell: Bell(), WebhookRules: rules, Deliverer: Deliverer()}
        ports[Egress] = await stack.enter_async_context(Egress(private=True))
        db.ports |= {Bell: ports[Bell], FanOut: FanOut((DELIVERY_MADE,))}
        if url is not None:
            ports[Broker] = Broker(url, name, f"{name}.queue")
            stack.push_async_callback(ports[Broker].close)
        stack.push_async_callback(ports[Deliverer].drain, 5)
        yield Context(db, Keys(SECRET), ports=ports)


@contextlib.asynccontextmanager
async def running(*acts: Callable[[asyncio.Event], Any]) -> AsyncIterator[None]:
    """Run these until the block ends."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(act(stop)) for act in acts]
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)


def relay_of(ctx: Context) -> Callable[[asyncio.Event], Any]:
    """The relay of a context."""
    return lambda stop: relaying.run(ctx, stop)


def consumer_of(ctx: Context) -> Callable[[asyncio.Event], Any]:
    """The consumer of a context."""
    return lambda stop: consume.run(ctx, stop)


async def add_endpoint(ctx: Context, merchant_id: str, url: str, **wish: Any) -> uuid.UUID:
    """An endpoint for all events of a merchant, who is made if need be."""
    await ctx.db.execute("INSERT INTO merchants (merchant_id, name) VALUES ($1, 'Merchant') ON CONFLICT DO NOTHING", merchant_id)
    async with ctx.db.transaction("endpoint") as tx:
        endpoint, _ = await endpoints.add_endpoint(tx, ctx.keys, merchant_id, Wish(url, **{"events": ("*",), **wish}))
    return endpoint.endpoint_id


async def states(ctx: Context) -> dict[str, int]:
    """How many deliveries are in each state."""
    rows = await ctx.db.rows("SELECT status, count(*) AS many FROM deliveries GROUP BY status")
    return {row["status"]: row["many"] for row in rows}


@dataclass
class Merchant:
    """A merchant's server: it notes each request, and answers as `answer` says, after `wait_s`."""

    url: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    answer: Callable[[dict[str, str]], int] = lambda _: 200
    wait_s: float = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Merchant]:
        """Listen inside the block."""
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append({**headers, "path": request.path, "body": (await request.read()).decode()})
        self.at.append(time.monotonic())
        await asyncio.sleep(self.wait_s)
        return web.Response(status=self.answer(headers))

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of each subject in the order of their first requests."""
        found: dict[str, dict[int, None]] = {}
        for each in self.seen:
            found.setdefault(each["kassa-subject"], {}).setdefault(int(each["kassa-sequence"]), None)
        return {subject: list(numbers) for subject, numbers in found.items()}


async def tell(ctx: Context, merchant_id: str, subjects: Sequence[str], type_: str = "order.updated", **data: Any) -> None:
    """Record an event for each of these subjects, in one transaction."""
    async with ctx.db.transaction("tell") as tx:
        for subject in subjects:
            record(tx, Event(merchant_id, subject, type_, data))


async def until(true: Callable[[], Any], timeout_s: float = 20, what: str = "it did not come to pass") -> float:
    """Wait until `true()`, which may be a coroutine, is true; returns the seconds that it took."""
    began = time.monotonic()
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return time.monotonic() - began
        assert time.monotonic() - began < timeout_s, what
        await asyncio.sleep(0.02)


async def backlog(ctx: Context) -> int:
    """How many events no broker has confirmed."""
    found: int = await ctx.db.value(
        """SELECT count(*) FROM events e LEFT JOIN feeds f USING (merchant_id)
            WHERE e.place IS NULL OR e.place > coalesce(f.relayed, 0)"""
    )
    return found


@dataclass
class Listener:
    """A consumer of somebody else's, bound to the exchange beside ours: what the broker was given, in its order."""

    url: str
    name: str
    queue: str = field(default_factory=lambda: f"listener-{uuid.uuid4().hex[:10]}")
    heard: list[AbstractIncomingMessage] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def listening(self, *keys: str) -> AsyncIterator[Listener]:
        """Hear these keys inside the block."""
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(self.queue, auto_delete=True)
            for key in keys or ("#",):
                await queue.bind(self.name, key)
            await queue.consume(self._hear, no_ack=True)
            yield self
            await queue.delete(if_unused=False, if_empty=False)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self.heard.append(message)

    def ids(self) -> list[str]:
        """The message ids, as they came."""
        return [str(message.message_id) for message in self.heard]

    def by_subject(self) -> dict[str, list[int]]:
        """The numbers of each subject, first hearing of each message only."""
        found: dict[str, dict[int, None]] = {}
        for message in self.heard:
            found.setdefault(str(message.headers["kassa-subject"]), {}).setdefault(
                int(str(message.headers["kassa-sequence"])), None
            )
        return {subject: list(numbers) for subject, numbers in found.items()}


async def drain(url: str, queue: str) -> list[AbstractIncomingMessage]:
    """Take everything out of a queue."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        found = await channel.get_queue(queue)
        taken = []
        while (message := await found.get(fail=False, no_ack=True)) is not None:
            taken.append(message)
        return taken


async def count(url: str, queue: str) -> int:
    """How many messages of a queue wait for a consumer."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        found = await channel.declare_queue(queue, passive=True)
        return int(found.declaration_result.message_count or 0)


async def remove(url: str, name: str) -> None:
    """Take away the exchanges and queues that are called after `name`."""
    connection = await aio_pika.connect(url)
    async with connection:
        for queue in (f"{name}.queue", f"{name}.queue.dead"):
            async with connection.channel() as channel:
                await channel.queue_delete(queue)
        for exchange in (name, f"{name}.dlx"):
            async with connection.channel() as channel:
                await channel.exchange_delete(exchange)


@contextlib.contextmanager
def process(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A relay or a consumer in a process of its own, as `_main` runs it."""
    command = [sys.executable, "-m", "tests.flows.broker_town", *args]
    environment = rig.clean_environment(PYTHONPATH=os.pathsep.join([str(rig.ROOT / "src"), str(rig.ROOT)]))
    started = subprocess.Popen(command, env=environment, cwd=rig.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "running\n"
        yield started
    finally:
        started.kill()
        started.wait()
        assert started.stdout is not None
        started.stdout.close()


def payment_data(merchant_id: str = "1") -> dict[str, Any]:
    """What an event of a payment says."""
    return {
        "payment_id": str(new_id()), "order_id": 1001, "status": 2, "status_name": "PAYMENT_FINISHED", "state": "paid",
        "provider": "stripe", "amount": "2", "price": "349.70", "currency": "USD", "captured": "349.70", "refunded": "0.00",
        "reason": None,
    }  # fmt: skip


class Proxy:
    """A small TCP proxy in front of the broker. `blackhole` keeps connections open and lets nothing through."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.accepted = 0
        self._through = asyncio.Event()
        self._through.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        """Listen inside the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def blackhole(self) -> None:
        """Let nothing through from now on, in either direction, on old and new connections."""
        self._through.clear()

    def restore(self) -> None:
        """Let new connections through; what was caught stays lost."""
        for task in self._tasks:
            task.cancel()
        self._through.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            await self._through.wait()
            back, there = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.wait(
                {asyncio.create_task(self._pump(reader, there)), asyncio.create_task(self._pump(back, writer))},
                return_when=asyncio.FIRST_COMPLETED,
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._through.wait()
                writer.write(data)
                await writer.drain()


async def _main(role: str, dsn: str, url: str, name: str, kill_point: str | None) -> None:
    crash.arm(kill_point)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_hall(dsn, url, name) as ctx:
        sys.stdout.write("running\n")
        sys.stdout.flush()
        await (relaying if role == "relay" else consume).run(ctx, stop)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5] if len(sys.argv) > 5 else None))
