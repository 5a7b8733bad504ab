"""RabbitMQ between the outbox and the deliverers (webhooks contract, section 5).

Two connections of a process, one to publish and one to consume: a broker that is short of memory stops reading from whoever
publishes, and must still hear what consumers have done. Each is kept up for ever, and thrown away as soon as it does not answer
within 5 seconds; nothing of the library's own recovery is used. The library declares and keeps the lines alive, messages go past it
(`line.py`). Addresses and passwords are in no log line and in no error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.channel import Channel as Wire
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelPreconditionFailed
from pamqp.common import FieldTable
from yarl import URL

from kassa.events import frames
from kassa.events.catalogue import FAMILIES, TYPES, routing_key
from kassa.events.envelope import Recorded
from kassa.events.frames import DELIVER, Message, Properties
from kassa.events.line import Line
from kassa.events.publisher import DEADLINE_S, Publisher
from kassa.kit.database import in_transaction

__all__ = ["CHANNELS", "DEADLINE_S", "PREFETCH", "RETRY", "Broker", "Incoming", "Message", "message_of"]

RETRY: Final = "delivery.retry"
"""The routing key of a delivery that is tried again."""
PREFETCH: Final = 20
CHANNELS = 16
"""Consumers of a process, each with at most `PREFETCH` messages in hand: so many that a merchant's next ones are here when outcomes
of the earlier ones are written, and are claimed with them."""
_FRAME_MAX = 131_072
"""Bytes of a frame where the broker names no limit: its own usual one."""
_LOOK_S = 5.0
_HEARTBEAT_S = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_SAY_AGAIN_S = 60.0
_CLOSE_S = 2.0
_BROKEN = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
_BINDINGS = (*(f"{family}.*" for family in sorted(FAMILIES)), "delivery.*")

T = TypeVar("T")
V = TypeVar("V")
log = logging.getLogger("kassa.broker")
for _library in ("aio_pika", "aiormq"):  # what they would say is said below, once and without an address
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)


def message_of(event: Recorded, key: str | None = None, **headers: str) -> Message:
    """An event as it is published, under `key` if one is given, with more `headers`, whose names are written with underscores."""
    return Message(
        key or routing_key(event.type),
        str(event.event_id),
        event.type,
        event.body(),
        {
            "kassa-subject": event.subject,
            "kassa-sequence": event.sequence,
            "kassa-merchant-id": event.merchant_id,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


class Incoming:
    """A message that has arrived. It stays the broker's until it is settled, once; a lost connection gives it to somebody else."""

    __slots__ = ("_channel", "_line", "_tag", "headers", "message_id", "routing_key")

    def __init__(self, line: Line, channel: int, tag: int, routing_key: str, properties: Properties) -> None:
        self._line = line
        self._channel = channel
        self._tag = tag
        self.routing_key = routing_key
        self.message_id = properties.message_id
        self.headers = properties.headers

    def done(self) -> None:
        """It needs nobody any more."""
        self._line.write(frames.acknowledged(self._channel, self._tag))

    def refuse(self) -> None:
        """It can never be done: to the dead letters."""
        self._line.write(frames.rejected(self._channel, self._tag))

    def give_back(self) -> None:
        """Somebody may try again; after 20 times it is a dead letter."""
        self._line.write(frames.given_back(self._channel, self._tag))


class _Consumer:
    """A channel on which messages arrive: each goes to `take`."""

    def __init__(self, line: Line, channel: int, take: Callable[[Incoming], None]) -> None:
        self._line = line
        self._channel = channel
        self._take = take
        self._next = 0, ""

    def begin(self, method: int, data: bytes, at: int) -> bool | None:
        """Take what the broker says of a delivery: see `Taker`."""
        if method != DELIVER:
            return None
        self._next = frames.read_deliver(data, at)
        return True

    def whole(self, message: Properties) -> None:
        """Hand it on. What goes wrong with it leaves it to the broker, and the next one comes all the same."""
        try:
            self._take(Incoming(self._line, self._channel, *self._next, message))
        except Exception:
            log.exception("broker: a message was not taken")

    def lost(self) -> None:
        """The broker gives what was not settled to somebody else."""


class Broker:
    """The port that bootstrap fills when `RABBITMQ_URL` is set. One per process; connects when it is first needed."""

    def __init__(self, url: str, exchange: str, queue: str) -> None:
        self.exchange = exchange
        self.queue = queue
        self._url = url
        self._warned: set[str] = set()
        self._publisher = _Link[Publisher](url, queue, self._open_publisher)

    def __repr__(self) -> str:
        return f"Broker({self.exchange!r}, {self.queue!r})"

    @property
    def connected(self) -> bool:
        """Whether messages can be published now, as far as this process knows."""
        return self._publisher.opened is not None

    async def ready(self, timeout_s: float) -> bool:
        """Whether messages can be published; waits for it for at most `timeout_s` seconds."""
        self._publisher.keep_up()
        if not self.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._publisher.up.wait()
        return self.connected

    async def publish(self, messages: Sequence[Message]) -> int:
        """Publish in this order, all in flight together; returns how many of the leading ones the broker has confirmed.

        What is not confirmed within 5 s, refused or returned because no queue wants it, counts as not published, and so does what
        follows it, though some of it may have arrived.
        """
        if (outer := in_transaction()) is not None:
            raise RuntimeError(f"published inside {outer!r}")
        publisher = self._publisher.opened
        return await publisher.publish(messages) if publisher is not None and messages else 0

    @contextlib.asynccontextmanager
    async def consume(self, take: Callable[[Incoming], None]) -> AsyncIterator[None]:
        """Inside the block `take` is called with each message that arrives, over all reconnections."""

        async def open_consumers(connection: AbstractConnection, line: Line) -> None:
            await self._declare(connection)
            for _ in range(CHANNELS):
                channel = await connection.channel(publisher_confirms=False)
                wire = await _wire(channel)
                await wire.basic_qos(prefetch_count=PREFETCH)
                link.watch(channel)
                line.take(wire.number, _Consumer(line, wire.number, take))
                await wire.basic_consume(self.queue, _passed_over)

        link = _Link[None](self._url, self.queue, open_consumers)
        link.keep_up()
        try:
            yield
        finally:
            await link.close()

    async def close(self) -> None:
        """Close the publishing connection, within some seconds at most."""
        await self._publisher.close()

    async def _open_publisher(self, connection: AbstractConnection, line: Line) -> Publisher:
        await self._declare(connection)
        channel = await connection.channel(publisher_confirms=True)
        self._publisher.watch(channel)
        wire = await _wire(channel)
        frame_max = wire.connection.connection_tune.frame_max or _FRAME_MAX
        publisher = Publisher(wire.number, self.exchange, frame_max, line.write, self._publisher.give_up)
        line.take(wire.number, publisher)
        return publisher

    # ── topology ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _declare(self, connection: AbstractConnection) -> None:
        """Declare what the contract names. What is there already in another shape is used as it is."""
        dead_letters, dead = f"{self.exchange}.dlx", f"{self.queue}.dead"
        quorum: FieldTable = {"x-queue-type": "quorum"}
        limited: FieldTable = {**quorum, "x-delivery-limit": 20, "x-dead-letter-exchange": dead_letters}
        as_wanted = await self._attempt(
            connection,
            "EXCHANGE_NAME",
            self.exchange,
            lambda at: at.declare_exchange(self.exchange, ExchangeType.TOPIC, durable=True),
        )
        await self._attempt(
            connection,
            "EXCHANGE_NAME",
            dead_letters,
            lambda at: at.declare_exchange(dead_letters, ExchangeType.FANOUT, durable=True),
        )
        await self._attempt(connection, "QUEUE_NAME", dead, lambda at: at.declare_queue(dead, durable=True, arguments=quorum))
        await self._attempt(
            connection, "QUEUE_NAME", self.queue, lambda at: at.declare_queue(self.queue, durable=True, arguments=limited)
        )
        # An exchange of another type may not know patterns.
        keys = _BINDINGS if as_wanted else (*_BINDINGS, *sorted({routing_key(name) for name in TYPES}), RETRY)
        async with connection.channel(publisher_confirms=False) as channel:
            wire = await _wire(channel)
            await wire.queue_bind(dead, dead_letters)
            for key in keys:
                await wire.queue_bind(self.queue, self.exchange, key)

    async def _attempt(
        self, connection: AbstractConnection, setting: str, name: str, declare: Callable[[AbstractChannel], Awaitable[Any]]
    ) -> bool:
        # A refused declaration closes its channel, so each has one of its own.
        try:
            async with connection.channel(publisher_confirms=False) as channel:
                await declare(channel)
        except ChannelPreconditionFailed:
            if name not in self._warned:
                self._warned.add(name)
                log.warning("broker: %s is there already with other arguments, and is used as it is (%s)", name, setting)
            return False
        return True


class _Link(Generic[T]):
    """One connection, made anew for ever; `opened` is what `prepare` gave for the present one."""

    def __init__(self, url: str, queue: str, prepare: Callable[[AbstractConnection, Line], Awaitable[T]]) -> None:
        self.opened: T | None = None
        self.up = asyncio.Event()
        self._url = URL(url)
        self._queue = queue
        self._prepare = prepare
        self._broken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._said_at = 0.0

    def keep_up(self) -> None:
        """Begin to connect, unless that has begun."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="broker")

    def give_up(self) -> None:
        """Throw the present connection away."""
        self._broken.set()

    def watch(self, channel: AbstractChannel) -> None:
        """Throw the connection away when this channel of it closes."""
        channel.close_callbacks.add(lambda *_: self.give_up())

    async def close(self) -> None:
        """End it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None

    async def _keep(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            began = time.monotonic()
            why = await self._live()
            self._say(why)
            if time.monotonic() - began > _LOOK_S:
                wait_s = _FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - so that processes do not knock together
            wait_s = min(_LONGEST_WAIT_S / 1.2, wait_s * 2)

    async def _live(self) -> str:
        """One connection from its beginning to its end; returns why it ended."""
        self._broken = asyncio.Event()
        line = Line(tls=self._url.scheme == "amqps")
        url = self._url if "heartbeat" in self._url.query else self._url.update_query(heartbeat=_HEARTBEAT_S)
        connection = aio_pika.Connection(url)
        connection.kwargs["transport_factory"] = line
        broken = True
        try:
            self.opened = await _in_time(self._open(connection, line))
            self.up.set()
            if self._said_at:
                log.info("broker: connected again")
                self._said_at = 0.0
            return await self._until_broken(connection)
        except _BROKEN as error:
            return type(error).__name__
        except asyncio.CancelledError:
            broken = False
            raise
        finally:
            self.opened = None
            self.up.clear()
            await _throw_away(connection, line, broken=broken)

    async def _open(self, connection: aio_pika.Connection, line: Line) -> T:
        await connection.connect()
        connection.close_callbacks.add(lambda *_: self.give_up())
        return await self._prepare(connection, line)

    async def _until_broken(self, connection: AbstractConnection) -> str:
        """Until it is given up; raises when the broker, asked every few seconds, does not answer or has no queue any more."""
        given_up, asking = asyncio.ensure_future(self._broken.wait()), asyncio.ensure_future(self._keep_asking(connection))
        try:
            await asyncio.wait({given_up, asking}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
            return "connection lost"
        finally:
            given_up.cancel()
            _leave(asking)

    async def _keep_asking(self, connection: AbstractConnection) -> None:
        channel = await _in_time(_opened(connection))
        while True:
            await asyncio.sleep(_LOOK_S)
            await _in_time(channel.queue_declare(self._queue, passive=True))

    def _say(self, why: str) -> None:
        if time.monotonic() - self._said_at >= _SAY_AGAIN_S or not self._said_at:
            self._said_at = time.monotonic()
            log.warning("broker: away: %s", why)


async def _opened(connection: AbstractConnection) -> Wire:
    return await _wire(await connection.channel(publisher_confirms=False))


async def _wire(channel: AbstractChannel) -> Wire:
    """The library's own layer below: it takes a message without a task and an object for each of its parts."""
    found = await channel.get_underlay_channel()
    assert isinstance(found, Wire)
    return found


async def _in_time(act: Coroutine[Any, Any, V]) -> V:
    """The library's clean-up after a cancellation waits for a broker that does not answer, so it is left behind."""
    task = asyncio.ensure_future(act)
    try:
        done, _ = await asyncio.wait({task}, timeout=DEADLINE_S)
    except asyncio.CancelledError:
        _leave(task)
        raise
    if not done:
        _leave(task)
        raise TimeoutError
    return task.result()


def _leave(task: asyncio.Future[Any]) -> None:
    _left.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Future[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()


_left: set[asyncio.Future[Any]] = set()


async def _throw_away(connection: aio_pika.Connection, line: Line, *, broken: bool) -> None:
    if broken:
        line.cut()
    closing = asyncio.ensure_future(connection.close())
    await asyncio.wait({closing}, timeout=_CLOSE_S)
    line.cut()
    if not closing.done():
        await asyncio.wait({closing}, timeout=_CLOSE_S)
    _leave(closing)


async def _passed_over(_: object) -> None:
    """What the library would be given: messages do not come so far."""
