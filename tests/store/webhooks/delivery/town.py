"""A small town for deliveries: merchants' servers on loopback that do as they are told, and deliverers with a world of their own each."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
from tests.factories import SECRET

from kassa import events, webhooks
from kassa.events import Event, FanOut
from kassa.kit import clock
from kassa.kit.bell import Bell
from kassa.kit.context import Context
from kassa.kit.database import Database, Row
from kassa.kit.egress import Egress
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks import DELIVERY_MADE, Endpoint, WebhookRules, Wish
from kassa.webhooks.delivery import Deliverer

MERCHANT = "7"
PLAN = (0, 1, 1, 1)


@dataclass(frozen=True)
class Answer:
    """What a merchant's server does with one call: after so many seconds, and not before the gate is open."""

    status: int = 200
    after_s: float = 0.0
    gate: asyncio.Event | None = None
    headers: str = ""
    body: bytes = b""
    cut: bool = False


@dataclass
class Call:
    """One request as it arrived; times are seconds of the clock that only goes forward."""

    path: str
    headers: dict[str, str]
    body: bytes
    began: float
    ended: float = 0.0

    @property
    def subject(self) -> str:
        return self.headers["kassa-subject"]

    @property
    def sequence(self) -> int:
        return int(self.headers["kassa-sequence"])

    @property
    def attempt(self) -> int:
        return int(self.headers["kassa-attempt"])


Rule = Callable[[Call], Answer | Awaitable[Answer]]


@dataclass
class Merchants:
    """All merchants' servers behind one port, told apart by the path."""

    calls: list[Call] = field(default_factory=list)
    rules: dict[str, Rule] = field(default_factory=dict)
    most: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    port: int = 0
    _busy: Counter[str] = field(default_factory=Counter)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def will(self, path: str, *answers: Answer) -> None:
        """One answer after another; the last one stays."""
        left = list(answers)
        self.rules[path] = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def of(self, subject: str) -> list[Call]:
        return [call for call in self.calls if call.subject == subject]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        call = Call(line.split()[1], headers, await reader.readexactly(int(headers["content-length"])), time.monotonic())
        self.calls.append(call)
        self._busy[call.path] += 1
        self.most[call.path] = max(self.most[call.path], self._busy[call.path])
        try:
            answer = self.rules.get(call.path, lambda _: Answer())(call)
            answer = answer if isinstance(answer, Answer) else await answer
            await asyncio.sleep(answer.after_s)
            if answer.gate is not None:
                await answer.gate.wait()
        finally:
            self._busy[call.path] -= 1
            call.ended = time.monotonic()
        if answer.cut:
            return False
        writer.write(
            f"HTTP/1.1 {answer.status} x\r\nContent-Length: {len(answer.body)}\r\n{answer.headers}\r\n".encode() + answer.body
        )
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def open_merchants() -> AsyncIterator[Merchants]:
    """Their servers, until the block ends."""
    merchants = Merchants()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await merchants.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    merchants.port = server.sockets[0].getsockname()[1]
    try:
        yield merchants
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@dataclass
class Town:
    """A database of its own, and as many deliverers over it as a test wants."""

    dsn: str
    merchants: Merchants
    ctx: Context
    _stack: contextlib.AsyncExitStack
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _runs: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def db(self) -> Database:
        return self.ctx.db

    @property
    def deliverer(self) -> Deliverer:
        return self.ctx.port(Deliverer)

    async def another(self, *, size: int = 6, deliverer: Deliverer | None = None, **rules: Any) -> Context:
        """One more process, as it were: its own pool, sessions and deliverer. No bell rings in it."""
        return await self._stack.enter_async_context(open_office(self.dsn, size=size, deliverer=deliverer, **rules))

    async def endpoint(self, path: str = "/hook", merchant_id: str = MERCHANT, **wish: Any) -> Endpoint:
        """An endpoint that wants everything as envelopes, unless told otherwise."""
        given = {"events": ("*",), "format": "event", "url": self.merchants.url(path)} | wish
        async with self.db.transaction("test") as tx:
            endpoint, _ = await webhooks.add_endpoint(tx, self.ctx.keys, merchant_id, Wish(**given))
        return endpoint

    async def tell(self, *subjects: str, merchant_id: str = MERCHANT, type_: str = "payment.created") -> None:
        """Record an event of each subject, all at once."""
        async with self.db.transaction("test") as tx:
            for subject in subjects:
                events.record(tx, Event(merchant_id, subject, type_, {"n": 1}))

    async def deliveries(self, subject: str | None = None) -> list[Row]:
        """All deliveries, by subject and number."""
        return await self.db.rows(
            """
            SELECT * FROM deliveries WHERE ($1::text IS NULL OR subject = $1) ORDER BY subject, sequence, delivery_id
            """,
            subject,
        )

    async def one(self, subject: str) -> Row:
        [found] = await self.deliveries(subject)
        return found

    async def attempts(self, delivery_id: uuid.UUID) -> list[Row]:
        return await self.db.rows("SELECT * FROM delivery_attempts WHERE delivery_id = $1 ORDER BY number", delivery_id)

    async def health(self, endpoint: Endpoint) -> Row:
        found = await self.db.row("SELECT * FROM endpoints WHERE endpoint_id = $1", endpoint.endpoint_id)
        assert found is not None
        return found

    async def now(self, ctx: Context | None = None) -> int:
        """Begin what is due now, and wait until it has ended and been written; returns how many began."""
        deliverer = (ctx or self.ctx).port(Deliverer)
        began = await deliverer.take_due(ctx or self.ctx)
        await settled(deliverer)
        return began

    async def later(self, **by: float) -> None:
        """Move the clock."""
        await clock.move(self.db, timedelta(**by))

    def begin(self, *worlds: Context) -> None:
        """Let the deliverers of these worlds run until the test ends."""
        for ctx in worlds or (self.ctx,):
            self._runs.append(asyncio.create_task(ctx.port(Deliverer).run(ctx, self._stop)))

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._runs)

    async def all_ended(self, within_s: float = 20) -> list[Row]:
        """Wait until every delivery is a success or a dead letter."""
        open_ = "SELECT count(*) FROM deliveries WHERE status NOT IN ('success', 'failed')"
        await until(lambda: self._is_none(open_), within_s)
        return await self.deliveries()

    async def _is_none(self, sql: str) -> bool:
        return await self.db.value(sql) == 0


async def settled(deliverer: Deliverer) -> None:
    """Wait until nothing is under way."""
    async with asyncio.timeout(20):
        while deliverer.running or deliverer._aside:
            await asyncio.sleep(0.002)


async def until(true: Callable[[], Any], within_s: float = 10) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(within_s):
        while True:
            found = true()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def open_office(
    dsn: str, *, size: int = 10, egress: Egress | None = None, deliverer: Deliverer | None = None, **rules: Any
) -> AsyncIterator[Context]:
    """A world that can deliver."""
    async with contextlib.AsyncExitStack() as stack:
        db = await Database.connect(dsn, size=size)
        stack.push_async_callback(db.close)
        db.ports[FanOut] = FanOut(parts=(DELIVERY_MADE,))
        db.ports[Bell] = Bell()
        out = await stack.enter_async_context(egress or Egress(private=True))
        deliverer = deliverer or Deliverer()
        rules = {"plan": PLAN, "timeout_s": 5.0, "private": True} | rules
        ports = {WebhookRules: WebhookRules(**rules), Egress: out, Deliverer: deliverer}
        stack.push_async_callback(deliverer.drain, 5)
        yield Context(db, Keys(SECRET), ports=ports)


@contextlib.asynccontextmanager
async def open_town(dsn: str, merchants: Sequence[str] = (MERCHANT,), **rules: Any) -> AsyncIterator[Town]:
    """A town over a fresh database."""
    async with contextlib.AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_merchants())
        ctx = await stack.enter_async_context(open_office(dsn, **rules))
        await ctx.db.execute(
            "INSERT INTO merchants (merchant_id, name) SELECT m, 'A merchant' FROM unnest($1::text[]) m", list(merchants)
        )
        worlds = await stack.enter_async_context(contextlib.AsyncExitStack())
        town = Town(dsn, servers, ctx, worlds)
        stack.push_async_callback(town.stop)
        yield town


def payment() -> str:
    """A new subject."""
    return f"payment:{new_id()}"


async def raw(dsn: str, sql: str, *args: Any) -> list[Row]:
    """One statement over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(sql, *args))
    finally:
        await connection.close()
