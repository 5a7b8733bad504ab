"""What a use case that opens its own transactions is given: `ctx`, made once by bootstrap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from kassa.kit.database import Database
from kassa.kit.errors import KassaError
from kassa.kit.secrets import Keys

T = TypeVar("T")
log = logging.getLogger("kassa")

request_id: ContextVar[str] = ContextVar("kassa_request_id", default="")
"""The id of the request that is being served: on every answer, every log line and every outgoing call."""
_NOTHING: Mapping[str, object] = {}
about: ContextVar[Mapping[str, object]] = ContextVar("kassa_about", default=_NOTHING)
"""What the work of this task is about: ids by the names that they have in log lines."""


def concerns(**ids: object) -> None:
    """From here on the log lines of this task name these: `merchant_id`, `order_id`, `payment_id` and the like; None is left out.

    An id that was named before stays, unless another one of its name is given. A task that was begun from here begins with them.
    """
    named = about.get()
    if not ids.items() <= named.items():
        about.set({**named, **ids})


@contextlib.contextmanager
def concerning(**ids: object) -> Iterator[None]:
    """The same for the length of the block, whatever is named in it: for a task that goes on with something else."""
    token = about.set({**about.get(), **ids})
    try:
        yield
    finally:
        about.reset(token)


class Background:
    """Work that goes on after an answer was given; `drain` waits for it when the process stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start `work` at once. An exception is logged, never lost: what it left is swept up by a worker."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout_s: float) -> None:
        """Wait until all work has ended, at most `timeout_s` seconds, then cancel the rest."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # An error that is raised on purpose says it by its name: a worker was quicker, or will be.
            unforeseen = None if isinstance(error, KassaError) else error
            log.warning("background work %s ended: %s", task.get_name(), type(error).__name__, exc_info=unforeseen)


class OnceAtATime:
    """Work of this process that must not run twice at the same time; only for efficiency, never for correctness."""

    def __init__(self) -> None:
        self._running: set[object] = set()

    def begin(self, what: object) -> bool:
        """Whether `what` may begin: nobody here is at it."""
        if what in self._running:
            return False
        self._running.add(what)
        return True

    def end(self, what: object) -> None:
        """`what` is over."""
        self._running.discard(what)


@dataclass(frozen=True, slots=True)
class Context:
    """The concrete world: the database, the keys, work in the background, and the ports that rooms declare."""

    db: Database
    keys: Keys
    background: Background = field(default_factory=Background)
    once_at_a_time: OnceAtATime = field(default_factory=OnceAtATime)
    ports: Mapping[type, Any] = field(default_factory=dict)
    lease_s: float = 5.0
    """Seconds that a leader of a piece of work may be silent before another takes over."""

    def port(self, kind: type[T]) -> T:
        """The concrete thing that bootstrap put behind the port `kind`."""
        return cast("T", self.ports[kind])
