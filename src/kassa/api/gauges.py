"""What the whole shop looks like at this moment: asked of the database, and of what this process holds, when somebody scrapes.

However many scrape and however often, the database is asked once in a few seconds, one question after the other over one
connection. Every process shows the same of it, so an operator takes the largest. What cannot be known is no number: NaN.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from prometheus_client import Gauge

from kassa import desk, verify, webhooks
from kassa.desk.model import STATES, Queue, State
from kassa.events.broker import Broker
from kassa.kit import statistics
from kassa.kit.breaker import breakers
from kassa.kit.context import Context
from kassa.kit.readiness import Readiness
from kassa.verify import Seen, WatchRules
from kassa.webhooks import Backlog

T = TypeVar("T")
log = logging.getLogger("kassa")
WITHIN_S: Final = 2.0
"""How long the database may take for all of it."""
_GOOD_S: Final = 3.0
"""For how long what was asked is shown again."""

READY = Gauge("kassa_ready", "1 when /ready would say yes, else 0")
DATABASE_UP = Gauge("kassa_database_up", "1 when the database answers, else 0")
POOL = Gauge("kassa_pool_connections", "Connections to the database: lent, open, and how many there may be (most)", ["state"])
BREAKER_OPEN = Gauge("kassa_breaker_open", "1 while calls to a neighbour are being spared, else 0", ["neighbour"])
BROKER_CONNECTED = Gauge("kassa_broker_connected", "1 when events can be published to the broker, 0 when not or without a broker")

IN_DOUBT = Gauge("kassa_payments_in_doubt", "Payments whose end is not known: unknown or parked", ["status"])
IN_DOUBT_AGE = Gauge("kassa_payment_in_doubt_oldest_seconds", "For how long the oldest of them has been in doubt", ["status"])
REFUNDS_OPEN = Gauge("kassa_refunds_open", "Refunds that the provider has not confirmed: pending or parked", ["status"])
REFUNDS_AGE = Gauge("kassa_refund_open_oldest_seconds", "Age of the oldest of them", ["status"])
OVERDUE = Gauge("kassa_reservations_overdue", "Lines of stock held past their time that nobody has let go")
OVERDUE_AGE = Gauge("kassa_reservation_overdue_oldest_seconds", "For how long the oldest of them has been overdue")
CASES = Gauge("kassa_cases_open", "Cases that wait for a person", ["kind"])
CASES_AGE = Gauge("kassa_case_open_oldest_seconds", "Age of the oldest of them", ["kind"])
QUEUE = Gauge("kassa_queue_due", "Work that is due and not yet taken up", ["queue"])
QUEUE_LATE = Gauge("kassa_queue_late_seconds", "For how long the oldest of it has been due", ["queue"])

WAITING = Gauge("kassa_events_waiting_seconds", "Age of the oldest event that the broker has not confirmed; 0 without a broker")
LATE = Gauge("kassa_deliveries_late_seconds", "For how long the oldest due delivery to a merchant has been due")
OPEN = Gauge("kassa_deliveries", "Deliveries to merchants that are not at their end", ["status"])
DEAD = Gauge("kassa_dead_letters", "Deliveries to merchants that are not tried any more")
SNAPSHOT = Gauge("kassa_oldest_snapshot_seconds", "For how long the oldest open transaction keeps PostgreSQL from clearing up")

BREACHES = Gauge("kassa_invariant_breaches", "Breaches of an invariant that the watch knows of", ["invariant"])
LOOKED = Gauge("kassa_invariant_age_seconds", "Time since the watch last looked at all of an invariant", ["invariant"])
LOOK_SECONDS = Gauge("kassa_invariant_look_seconds", "Time of the database that the last whole look took", ["invariant"])
LOOK_EVERY = Gauge("kassa_invariant_every_seconds", "How often the watch is to look; 0: never")


@dataclass(frozen=True, slots=True)
class _Look:
    """A question, and how its answer is shown; None where there was none."""

    ask: Callable[[Context], Awaitable[Any]]
    show: Callable[[Any], None]


class Gauges:
    """Of one process."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._asked_at = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self, ctx: Context) -> None:
        """Show what is so now, or was within the last three seconds. Takes two seconds at most, whatever the database does."""
        _show_process(ctx)
        if time.monotonic() - self._asked_at < _GOOD_S:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask(ctx), name="figures")
        await asyncio.shield(self._asking)

    async def _ask(self, ctx: Context) -> None:
        until = asyncio.get_running_loop().time() + WITHIN_S
        is_up = await _answer(ctx, lambda ctx: ctx.db.value("SELECT 1"), until) is not None
        for look in _LOOKS:
            look.show(await _answer(ctx, look.ask, until) if is_up else None)
        DATABASE_UP.set(is_up)
        READY.set(is_up and await self._readiness.look(ctx.db))
        self._asked_at = time.monotonic()


async def _answer(ctx: Context, ask: Callable[[Context], Awaitable[T]], until: float) -> T | None:
    try:
        async with asyncio.timeout_at(until):
            return await ask(ctx)
    except Exception as error:  # noqa: BLE001 - a figure that cannot be had must not take the others along
        log.warning("figures: %s", type(error).__name__)
        return None


def _show_process(ctx: Context) -> None:
    for state, number in zip(("lent", "open", "most"), ctx.db.connections(), strict=True):
        POOL.labels(state).set(number)
    for neighbour, is_open in breakers().items():
        BREAKER_OPEN.labels(neighbour).set(is_open)
    broker = ctx.ports.get(Broker)
    BROKER_CONNECTED.set(broker is not None and broker.connected)
    rules: WatchRules | None = ctx.ports.get(WatchRules)
    LOOK_EVERY.set(math.nan if rules is None else rules.every_s)


async def _backlog(ctx: Context) -> Backlog:
    return await webhooks.read_backlog(ctx.db, broker=ctx.ports.get(Broker) is not None)


def _show_states(found: Sequence[State] | None) -> None:
    CASES.clear()
    CASES_AGE.clear()
    if found is None:
        for subject, statuses in STATES.items():
            for status in statuses:
                _show_state(subject, status, math.nan, math.nan)
    for each in found or ():
        _show_state(each.subject, each.status, each.count, each.age_s)


def _show_state(subject: str, status: str, count: float, age_s: float) -> None:
    match subject:
        case "payment":
            IN_DOUBT.labels(status).set(count)
            IN_DOUBT_AGE.labels(status).set(age_s)
        case "refund":
            REFUNDS_OPEN.labels(status).set(count)
            REFUNDS_AGE.labels(status).set(age_s)
        case "reservation":
            OVERDUE.set(count)
            OVERDUE_AGE.set(age_s)
        case _:
            CASES.labels(status).set(count)
            CASES_AGE.labels(status).set(age_s)


def _show_queues(found: Sequence[Queue] | None) -> None:
    if found is None:
        QUEUE.clear()
        QUEUE_LATE.clear()
    for each in found or ():
        QUEUE.labels(each.name).set(each.count)
        QUEUE_LATE.labels(each.name).set(each.late_s)


def _show_backlog(found: Backlog | None) -> None:
    WAITING.set(found.waiting_s if found else math.nan)
    LATE.set(found.late_s if found else math.nan)
    DEAD.set(found.dead if found else math.nan)
    OPEN.clear()
    for status, number in (found.open if found else {}).items():
        OPEN.labels(status).set(number)


def _show_invariants(found: Iterable[Seen] | None) -> None:
    for gauge in (BREACHES, LOOKED, LOOK_SECONDS):
        gauge.clear()
    for each in found or ():
        name = str(each.invariant)
        BREACHES.labels(name).set(each.breaches)
        LOOKED.labels(name).set(math.nan if each.age_s is None else each.age_s)
        LOOK_SECONDS.labels(name).set(each.took_s)


def _show_snapshot(found: float | None) -> None:
    SNAPSHOT.set(math.nan if found is None else found)


_LOOKS = (
    _Look(lambda ctx: desk.read_states(ctx.db), _show_states),
    _Look(lambda ctx: desk.read_queues(ctx.db), _show_queues),
    _Look(_backlog, _show_backlog),
    _Look(lambda ctx: verify.read_seen(ctx.db), _show_invariants),
    _Look(lambda ctx: statistics.oldest_snapshot_s(ctx.db), _show_snapshot),
)
