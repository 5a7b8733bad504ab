"""A corner of RabbitMQ for one test server, a listener in it, and a wire to it that can be cut and frozen.

The corner is a virtual host when this machine lets us make one, else the names of its exchange and queue are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelClosed, DeliveryError
from tests.contracts.payments.till import Json
from tests.rig import run_alone

T = TypeVar("T")
_LOCAL: Final = ("127.0.0.1", 5672)
"""Where the node is that `rabbitmqctl` speaks to."""


def _rabbitmqctl(*words: str) -> bool:
    program = shutil.which("rabbitmqctl")
    return (
        program is not None
        and subprocess.run([program, "-q", *words], capture_output=True, timeout=60, check=False).returncode == 0
    )


class Broker:
    """The corner: where it is, what it is called, and what can be done in it."""

    def __init__(self, server: str) -> None:
        parts, name = urlsplit(server), f"kassa-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 5672
        self._who = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self._own = (self.host, self.port) == _LOCAL and _rabbitmqctl("add_vhost", name)
        if self._own and not _rabbitmqctl("set_permissions", "-p", name, parts.username or "guest", ".*", ".*", ".*"):
            raise AssertionError("a virtual host was made that nobody may enter")
        self.vhost = name if self._own else ""
        self.exchange = "payments" if self._own else f"{name}.payments"
        self.queue = "payments.merchant" if self._own else f"{name}.payments.merchant"

    def url(self, port: int | None = None) -> str:
        return f"amqp://{self._who}@{self.host}:{port or self.port}/{self.vhost}"

    def settings(self, port: int | None = None) -> dict[str, str]:
        """The settings with which a Kassa uses this corner, through the wire at `port` if that is given."""
        names = {} if self._own else {"EXCHANGE_NAME": self.exchange, "QUEUE_NAME": self.queue}
        return {"RABBITMQ_URL": self.url(port), **names}

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._own:
            _rabbitmqctl("delete_vhost", self.vhost)
            return
        for name in (self.queue, f"{self.queue}.dead"):
            self.delete_queue(name)
        for name in (self.exchange, f"{self.exchange}.dlx"):
            self.do(lambda channel, n=name: channel.exchange_delete(n))  # type: ignore[misc]

    def do(self, work: Callable[[AbstractChannel], Awaitable[T]]) -> T:
        """Do this in a channel of its own."""

        async def act() -> T:
            connection = await aio_pika.connect(self.url(), timeout=10)
            async with connection:
                return await work(await connection.channel(on_return_raises=True))

        return run_alone(act)

    def delete_queue(self, name: str) -> None:
        self.do(lambda channel: channel.queue_delete(name))

    def waiting(self, name: str) -> int:
        """How many messages of a queue are ready."""

        async def ask(channel: AbstractChannel) -> int:
            found = await channel.declare_queue(name, passive=True)
            return found.declaration_result.message_count or 0

        return self.do(ask)

    def has_queue(self, name: str) -> bool:
        try:
            self.waiting(name)
        except ChannelClosed:
            return False
        return True

    def make_queue(self, name: str, **arguments: Any) -> None:
        given = {each.replace("_", "-"): value for each, value in arguments.items()}
        self.do(lambda channel: channel.declare_queue(name, durable=True, arguments=given))

    def is_queue(self, name: str, **arguments: Any) -> bool:
        """Whether a durable queue with exactly these arguments is there: it can be declared again."""
        if not self.has_queue(name):
            return False
        with contextlib.suppress(AMQPError):
            self.make_queue(name, **arguments)
            return True
        return False

    def is_exchange(self, name: str, kind: str) -> bool:
        """Whether a durable exchange of this kind is there."""

        async def ask(channel: AbstractChannel) -> bool:
            await channel.declare_exchange(name, passive=True)
            await channel.declare_exchange(name, kind, durable=True)
            return True

        with contextlib.suppress(AMQPError):
            return self.do(ask)
        return False

    def publish(self, key: str, body: bytes = b"", **properties: Any) -> bool:
        """Publish a message; whether any queue took it."""

        async def send(channel: AbstractChannel) -> bool:
            exchange = await channel.declare_exchange(self.exchange, passive=True)
            try:
                await exchange.publish(aio_pika.Message(body, **properties), key, mandatory=True)
            except DeliveryError:
                return False
            return True

        return self.do(send)

    def take(self, name: str) -> Message | None:
        """Take one message out of a queue."""

        async def get(channel: AbstractChannel) -> Message | None:
            queue = await channel.declare_queue(name, passive=True)
            found = await queue.get(no_ack=True, fail=False)
            return None if found is None else Message.of(found)

        return self.do(get)

    @contextlib.contextmanager
    def listening(self, *keys: str) -> Iterator[list[Message]]:
        """What a consumer with a queue of its own, bound to these keys, gets while the block runs."""
        heard: list[Message] = []
        ready, over = threading.Event(), threading.Event()

        async def listen() -> None:
            connection = await aio_pika.connect(self.url(), timeout=10)
            async with connection:
                channel = await connection.channel()
                queue = await channel.declare_queue(exclusive=True)
                for key in keys:
                    await queue.bind(self.exchange, key)

                async def note(message: AbstractIncomingMessage) -> None:
                    heard.append(Message.of(message))

                await queue.consume(note, no_ack=True)
                ready.set()
                while not over.is_set():
                    await asyncio.sleep(0.05)

        thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
        thread.start()
        assert ready.wait(15), "the listener does not come up"
        try:
            yield heard
        finally:
            over.set()
            thread.join(10)


@dataclass(frozen=True)
class Message:
    """A message as a consumer sees it."""

    key: str
    id: str | None
    type: str | None
    content_type: str | None
    persistent: bool
    headers: Json
    raw: bytes

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> Message:
        return cls(
            message.routing_key or "",
            message.message_id,
            message.type,
            message.content_type,
            message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT,
            dict(message.headers),
            message.body,
        )


class Wire:
    """A port of this machine that leads to the broker; it can be cut, mended and frozen."""

    def __init__(self, host: str, port: int, *, cut: bool = False) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._frozen: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self.mend()
        if cut:
            self.cut()

    def mend(self) -> None:
        """Lead to the broker (again, on the same port)."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def freeze(self) -> None:
        """Carry nothing more on the connections of now, and keep them open; new ones work."""
        with self._lock:
            self._frozen.update(self._ends)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                guest, _ = listener.accept()
            except OSError:
                return
            try:
                host = socket.create_connection(self._target, timeout=5)
            except OSError:
                guest.close()
                continue
            host.settimeout(None)
            with self._lock:
                self._ends += [guest, host]
            for one, other in ((guest, host), (host, guest)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(65_536):
                if one in self._frozen:
                    continue
                other.sendall(part)
        if one in self._frozen:
            return
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
