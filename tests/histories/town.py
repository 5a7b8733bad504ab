"""The town in which a history happens: one database, the strangers, and processes of Kassa that can be slow, stand still and die.

All that is left to chance is drawn from one generator, in the order in which it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests import factories
from tests.factories import RemoteShelf, Shop, Till, open_shop, world
from tests.histories.loop import VirtualLoop, instead_of_the_world
from tests.histories.memory import Address, Pool, Server
from tests.histories.strangers import Book, Services, Stranger, words_for

from kassa import checkout, collect
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules
from kassa.kit.database import Database
from kassa.kit.errors import KassaError
from kassa.kit.secrets import Keys
from kassa.payments.providers import CardService, Links

KINDS = ("own", "services", "products")
NAMES = ("api1", "api2", "worker")
STOCK = {"mouse": 6, "lamp": 3}
_here: ContextVar[Process | None] = ContextVar("the process that a task belongs to", default=None)
_KEYS = Keys(factories.SECRET)


class Gone(Exception):
    """The process died before it answered."""


class Process:
    """One process of Kassa: a context, a pool, and tasks that end with it."""

    def __init__(self, town: Town, name: str) -> None:
        self.town, self.name = town, name
        self.alive = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.frozen_until = 0.0
        self.crash_in: int | None = None
        self.cut_in: tuple[int, bool] | None = None
        self.pool = Pool(town.server, self)
        self.ctx = town.context(self)
        self.till = Till(replace(town.shop, ctx=self.ctx)) if town.shop is not None else None

    async def moment(self, what: str) -> None:
        """The process comes to a point where it waits for somebody else: here it may be slow, stand still or die."""
        self._dead()
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.town.say(f"{self.name} dies when it {what}")
                self.die()
        self._dead()
        draw = self.town.random.random()
        await asyncio.sleep(0.0005 if draw < 0.6 else 0.004 if draw < 0.95 else 0.06)
        while self.frozen_until > (now := self.town.loop.time()):
            await asyncio.sleep(self.frozen_until - now)
        self._dead()

    async def before(self, what: str) -> None:
        """See `memory.Host`."""
        await self.moment(f"says {what}")
        self._cut(done=False)

    async def after(self, what: str) -> None:
        """See `memory.Host`. The answer is as quick as the question was, but for one in eight."""
        self._cut(done=True)
        if self.crash_in is not None or self.frozen_until or self.town.random.random() < 0.125:
            await self.moment(f"has said {what}")
        self._dead()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Work of this process, which ends with it."""
        token = _here.set(self)
        try:
            return self.town.loop.create_task(work)
        finally:
            _here.reset(token)

    def die(self) -> None:
        """End at once: what was not committed never was, and nothing that is running here goes on."""
        if not self.alive:
            return
        self.alive = False
        self.town.count["crash"] += 1
        self.pool.terminate()
        for task in sorted(self.tasks, key=lambda each: each.get_name()):
            task.cancel()
        again_s = self.town.random.choice((0.3, 2.0, 12.0))
        self.town.loop.call_later(again_s, self.town.start, self.name, context=contextvars.Context())  # it remembers nothing

    def _dead(self) -> None:
        if not self.alive:
            raise asyncio.CancelledError

    def _cut(self, *, done: bool) -> None:
        """The connection to the database breaks, before a statement is done or after it."""
        if self.cut_in is None or self.cut_in[1] is not done:
            return
        left = self.cut_in[0] - 1
        self.cut_in = (left, done) if left > 0 else None
        if self.cut_in is None:
            self.town.count["cut"] += 1
            self.town.say(f"{self.name} loses the database {'after' if done else 'before'} a statement is done")
            raise ConnectionResetError

    async def work(self) -> None:
        """A worker: what is due, again and again. While nothing is due the database is not asked, for it would answer nothing."""
        while True:
            await asyncio.sleep(self.town.pause_s())
            due = self.town.due_at()
            if due is None or due > self.town.server.clock():
                continue
            for act in (checkout.sweep_checkouts, checkout.sweep_refunds, collect.sweep_unmatched):
                with contextlib.suppress(KassaError):
                    await act(self.ctx)


class _NoPulse:
    """Nobody need watch whether this database answers at all: it does, or the process loses its connection."""

    def begin(self, connection: Any) -> None:
        pass

    def end(self, connection: Any) -> None:
        pass

    def be_patient(self, connection: Any) -> None:
        pass

    def waiting(self, seconds: float) -> contextlib.nullcontext[None]:
        del seconds
        return contextlib.nullcontext()

    away = False


class _Log(logging.Handler):
    """Work in the background has nobody to tell of an error that was not foreseen; the log is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.unforeseen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, KassaError):
            self.unforeseen.append(f"{record.getMessage()}: {error}")


class Town:
    """A history while it happens."""

    def __init__(self, seed: str, kind: str) -> None:
        self.kind = kind
        self.loop = VirtualLoop()
        self.loop.set_task_factory(self._task)
        self.random = random.Random(seed)
        self.server = Server(self.loop.time)
        self.book = Book()
        told = Services(self.book, self)
        self.services = {name: getattr(told, name) for name in ("payment", "link", "inventory", "order", "product")}
        self.words: dict[str, list[str]] = {}
        self.processes: dict[str, Process] = {}
        self.shop: Shop | None = None
        self.count: Counter[str] = Counter()
        self.told: list[str] = []
        self.quiet = False
        self.weather = 0
        """How many calls of a hundred go wrong."""
        self.log = _Log()
        self._tasks = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[Town]:
        """The town while it stands."""
        log = logging.getLogger("kassa")
        before, log.propagate = log.propagate, False
        log.addHandler(self.log)
        with instead_of_the_world(self.loop):
            try:
                first = Process(self, "founder")
                self.shop = self.loop.run_until_complete(first.run(open_shop(first.ctx, **STOCK)))
                for name in NAMES:
                    self.start(name)
                yield self
            finally:
                self._close()
                log.removeHandler(self.log)
                log.propagate = before

    def start(self, name: str) -> None:
        """Start a process, if it is not running."""
        if name in self.processes and self.processes[name].alive:
            return
        process = self.processes[name] = Process(self, name)
        if name != "api1":
            process.run(process.work())

    def say(self, text: str) -> None:
        """One line of the history, with the time."""
        self.told.append(f"{self.loop.time():12.4f}  {text}")

    def word_for(self, act: str) -> str:
        """How the next call of an act goes."""
        words = self.words.get(act)
        word = words.pop(0) if words and not self.quiet else "yes"
        if word == "yes" and not self.quiet and self.weather and self.random.randrange(100) < self.weather:
            word = self.random.choice(words_for(act))
        if word != "yes":
            self.count[f"{act} {word}"] += 1
            self.say(f"{act}: {word}")
        return word

    def pause_s(self) -> float:
        """How long a worker rests: until something is due, and not so long that what comes meanwhile would be late."""
        due = self.due_at()
        wait_s = (due - self.server.clock()).total_seconds() + 0.01 if due is not None else 900.0
        return min(900.0 if self.quiet else 20.0, max(0.5, wait_s))

    def due_at(self) -> datetime | None:
        """When the next row is due, and free to be led."""
        times = [
            max(row["next_at"], row["lease_until"] or row["next_at"])
            for table in ("checkouts", "refunds")
            for row in self.server.of(table)
            if row["next_at"] is not None
        ]
        times += [row["next_at"] for row in self.server.of("inbox_unmatched")]
        return min(times, default=None)

    def context(self, process: Process) -> Any:
        """What bootstrap would make for a process."""
        db = Database(process.pool, Address())  # type: ignore[arg-type]
        db.pulse = _NoPulse()
        near: dict[str, Any] = {name: Stranger(self, process, name) for name in self.services}
        services = {"payment": near["payment"]}
        how: dict[str, Any] = {
            "own": {"rules": Rules(payment_service=True), "neighbours": Neighbours(**services)},
            "services": {
                "rules": Rules(payment_service=True, inventory_service=True, order_service=True),
                "neighbours": Neighbours(near["inventory"], near["order"], None, **services),
                "source": OwnSource(counted=False),
            },
            "products": {
                "rules": Rules(payment_service=True, product_service=True),
                "neighbours": Neighbours(None, None, near["product"], **services),
                "source": RemoteShelf({"mouse": 10**6, "lamp": 10**6}),
            },
        }[self.kind]
        return world(db, providers=[CardService(near["payment"]), Links(near["link"])], keys=_KEYS, **how)

    def pass_time(self, seconds: float) -> None:
        """Let everybody go on for so long."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def everybody_behaves(self) -> None:
        """From now on no call fails, nobody dies, and those who died are back."""
        self.quiet = True
        for process in self.processes.values():
            process.crash_in, process.cut_in, process.frozen_until = None, None, 0.0

    def _task(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **given: Any) -> asyncio.Task[Any]:
        self._tasks += 1
        task = asyncio.Task(work, loop=loop, **given)
        process = _here.get()
        if process is not None:
            task.set_name(f"{self._tasks:06d}")
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def _close(self) -> None:
        for process in self.processes.values():
            process.alive = False
        left = sorted(asyncio.all_tasks(self.loop), key=lambda each: each.get_name())
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()
