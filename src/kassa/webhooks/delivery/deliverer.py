"""The deliverer of a process: it claims deliveries, attempts them side by side, and writes down how they ended.

Each attempt is a task of its own, so a slow server holds up nobody but itself: it has at most eight requests in flight, and what is
behind them waits in the database. Each merchant has its turns, one after the other: outcomes that came within a few milliseconds
are written together, and with the same commit its endpoints' next deliveries are claimed, and those that were asked for meanwhile.
So one endpoint's backlog goes on as fast as the endpoint answers, and a claim has seldom a transaction to itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from kassa.events import OUTBOX
from kassa.kit.bell import Bell
from kassa.kit.context import Context
from kassa.kit.egress import Outcome
from kassa.kit.errors import KassaError
from kassa.kit.figures import beat
from kassa.webhooks.delivery import store
from kassa.webhooks.delivery.attempt import attempt
from kassa.webhooks.delivery.claim import claim_named, claim_oldest
from kassa.webhooks.delivery.due import mark_due
from kassa.webhooks.delivery.model import LEASE_BEYOND_S, MOST_IN_FLIGHT, Claimed, Due, Ended
from kassa.webhooks.delivery.note import Wish, note
from kassa.webhooks.delivery.store import QUEUED_S, Taken
from kassa.webhooks.delivery.upkeep import reclaim_lapsed, tidy_up
from kassa.webhooks.model import WebhookRules
from kassa.webhooks.switch import follow_up

log = logging.getLogger("kassa.webhooks")

MOST_TASKS = 2000
"""Attempts of a process at the same time: more than a hundred slow endpoints can hold."""
_AT_DATABASE = 4
"""Transactions of a deliverer at the same time; the other connections of the pool are for those who wait for an answer."""
_LOOK_S = 0.5
_REST = 5
"""Looking for due work takes at most one part in so many and one of the time."""
_SHORTEST_REST_S = 0.02
_LONGEST_REST_S = 0.25
_AFTER_FAILURE_S = 2.0
_AGAIN_S = 0.25
_LONGEST_PAUSE_S = 5.0
_TOGETHER_S = 0.002
_MOST_WAITS = 5
"""A turn waits so often for outcomes that are likely to come soon."""
_MOST_TOGETHER = 64
_MOST_LEFT = 2048
"""Deliveries of one endpoint that are remembered because they came and had no room; behind them those due longest are claimed."""
_ASKED_FOR = 2 * MOST_IN_FLIGHT
"""Remembered deliveries of an endpoint that are asked for together."""

_Place = tuple[str, uuid.UUID]


@dataclass(frozen=True, slots=True)
class Begun:
    """The attempts that `take` began, and the events of which something was due."""

    attempts: list[asyncio.Task[None]]
    met: frozenset[uuid.UUID]


@dataclass(frozen=True, slots=True)
class _Ask:
    """Events and deliveries that wait for their merchant's next turn."""

    event_ids: Sequence[uuid.UUID]
    delivery_ids: Sequence[uuid.UUID]
    answer: asyncio.Future[Begun]


class Deliverer:
    """One per process. Its methods may be called side by side."""

    def __init__(self, *, most_tasks: int = MOST_TASKS) -> None:
        self._most = most_tasks
        self._running: set[asyncio.Task[None]] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._over: dict[str, list[tuple[Ended, asyncio.Future[None]]]] = {}
        self._asks: dict[str, list[_Ask]] = {}
        self._flying: Counter[str] = Counter()
        self._turning: set[str] = set()
        self._busy: Counter[_Place] = Counter()
        self._asking: set[_Place] = set()
        self._left: dict[_Place, dict[uuid.UUID, None]] = {}
        self._overflowed: dict[_Place, float] = {}
        """Where more came than is remembered, and until when that counts: then it is published again."""
        self._at_database = asyncio.Semaphore(_AT_DATABASE)
        self._pulls = False
        self._closing = False

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._running)

    def waiting(self, merchant_id: str) -> int:
        """How many deliveries of a merchant came and have had no room yet."""
        return sum(len(left) for (whose, _), left in self._left.items() if whose == merchant_id)

    async def take(
        self, ctx: Context, merchant_id: str, event_ids: Sequence[uuid.UUID] = (), delivery_ids: Sequence[uuid.UUID] = ()
    ) -> Begun:
        """Claim what may begin now of these, and begin it. An attempt is done when its outcome is committed, or its lease is lost.

        What has no room now begins when there is some. Raises `DatabaseAway`, and then nothing was claimed, or `CommitUnknown`.
        """
        if self._closing or len(self._running) >= self._most:
            return Begun([], frozenset())
        ask = _Ask(event_ids, delivery_ids, asyncio.get_running_loop().create_future())
        self._asks.setdefault(merchant_id, []).append(ask)
        self._see_to_turn(ctx, merchant_id)
        return await ask.answer

    async def take_due(self, ctx: Context, limit: int = MOST_TASKS) -> int:
        """Find what is due at all merchants' endpoints, claim it and begin it; returns how many began, about `limit` at most.

        Raises `DatabaseAway` or `CommitUnknown`; what was claimed before has begun all the same.
        """
        room = min(limit, self._most - len(self._running)) // MOST_IN_FLIGHT
        if self._closing or room < 1:
            return 0
        async with self._at_database:
            found = await store.endpoints_with_due(ctx.db, room)
        merchants = groupby(sorted(found), key=lambda each: each[0])
        claims = [self._take_oldest(ctx, merchant_id, [each for _, each in group]) for merchant_id, group in merchants]
        counts = await asyncio.gather(*claims, return_exceptions=True)
        for count in counts:
            if isinstance(count, BaseException):
                raise count
        return sum(count for count in counts if isinstance(count, int))

    async def _take_oldest(self, ctx: Context, merchant_id: str, endpoint_ids: Sequence[uuid.UUID]) -> int:
        """Those due longest may all wait for one that is due later: then the next ones are looked at."""
        while not self._closing:
            async with self._at_database:
                taken = await claim_oldest(ctx, merchant_id, endpoint_ids)
            if taken.claimed or not taken.held:
                return len(self._begin(ctx, merchant_id, taken, remember=False))
        return 0

    async def due(self, ctx: Context, limit: int) -> list[Due]:
        """What is due and not on its way through the broker, marked as being so for 60 s: see `mark_due`."""
        async with self._at_database:
            return await mark_due(ctx, limit)

    async def reclaim(self, ctx: Context) -> int:
        """Make due again what dead owners held; returns how many."""
        return await reclaim_lapsed(ctx)

    async def tidy(self, ctx: Context) -> int:
        """Put in order what became old, or waits for nobody; returns how much was done. For a slow tick."""
        return await tidy_up(ctx)

    async def run(self, ctx: Context, stop: asyncio.Event) -> None:
        """Deliver straight from the database, without a broker, until `stop` is set: woken by the bell, else every half second."""
        self._pulls = True
        bell: Bell = ctx.db.ports.get(Bell) or Bell()
        async with bell.listen(OUTBOX) as ear:
            while not stop.is_set():
                began, found, rest_s = time.monotonic(), 0, _SHORTEST_REST_S
                try:
                    found = await self.take_due(ctx)
                    beat("deliver", "deliver")
                except KassaError as error:
                    log.warning("deliveries: %s", error.code)
                    rest_s = _AFTER_FAILURE_S
                except Exception:
                    log.exception("deliveries failed")
                    rest_s = _AFTER_FAILURE_S
                # With many endpoints a look costs more; news that come meanwhile wait for the next.
                await asyncio.sleep(max(rest_s, min(_LONGEST_REST_S, _REST * (time.monotonic() - began)) if not found else 0))
                if not found:
                    await ear.wait(_LOOK_S)

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and wait until what is under way has been written, at most `timeout_s` seconds.

        The rest is given up: its leases end, and another process makes it due again.
        """
        self._closing = True
        until = time.monotonic() + timeout_s
        while (tasks := self._running | self._aside) and time.monotonic() < until:
            await asyncio.wait(tasks, timeout=until - time.monotonic())
        tasks = self._running | self._aside
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)

    def _begin(self, ctx: Context, merchant_id: str, taken: Taken, *, remember: bool = True) -> list[asyncio.Task[None]]:
        if remember:
            for endpoint_id, delivery_id in taken.left:
                left = self._left.setdefault(place := (merchant_id, endpoint_id), {})
                if len(left) < _MOST_LEFT or delivery_id in left:
                    left[delivery_id] = None
                else:
                    self._overflowed[place] = time.monotonic() + QUEUED_S
        self._busy.update((merchant_id, claimed.endpoint_id) for claimed in taken.claimed)
        if taken.claimed:
            self._flying[merchant_id] += len(taken.claimed)
        tasks = [self._spawn(self._running, self._deliver(ctx, claimed)) for claimed in taken.claimed]
        for endpoint_id in {endpoint_id for endpoint_id, _ in taken.left} if remember else ():
            self._see_to_left(ctx, (merchant_id, endpoint_id))
        return tasks

    def _spawn(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _deliver(self, ctx: Context, claimed: Claimed) -> None:
        try:
            outcome = await attempt(ctx, claimed)
        except Exception:
            log.exception("an attempt ended in a way that nobody thought of")
            outcome = Outcome(None, "cut")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        merchant_id = claimed.merchant_id
        self._over.setdefault(merchant_id, []).append((Ended(claimed, outcome), written))
        self._flying[merchant_id] -= 1
        if not self._flying[merchant_id]:
            del self._flying[merchant_id]
        self._see_to_turn(ctx, merchant_id)
        await written

    def _see_to_turn(self, ctx: Context, merchant_id: str) -> None:
        if merchant_id not in self._turning:
            self._turning.add(merchant_id)
            self._spawn(self._aside, self._take_turns(ctx, merchant_id))

    async def _take_turns(self, ctx: Context, merchant_id: str) -> None:
        """Write a merchant's outcomes and claim what is asked for, until there is no more.

        What comes while one transaction runs is in the next.
        """
        try:
            while self._over.get(merchant_id) or self._asks.get(merchant_id):
                await self._gather(merchant_id)
                over = self._over.get(merchant_id, [])
                batch, over[:_MOST_TOGETHER] = over[:_MOST_TOGETHER], []
                await self._write(ctx, merchant_id, [ended for ended, _ in batch], self._asks.pop(merchant_id, []))
                for place in self._no_longer_busy(batch):
                    self._see_to_left(ctx, place)
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
        finally:
            self._turning.discard(merchant_id)
            self._over.pop(merchant_id, None)
            for ask in self._asks.pop(merchant_id, []):
                ask.answer.cancel()

    async def _gather(self, merchant_id: str) -> None:
        """Wait a moment for what may travel along: attempts that are under way are likely to end soon, and make room."""
        for _ in range(_MOST_WAITS):
            before = len(self._over.get(merchant_id, ()))
            if not self._flying[merchant_id] or before >= _MOST_TOGETHER:
                return
            await asyncio.sleep(_TOGETHER_S)
            if before == len(self._over.get(merchant_id, ())) > 0:
                return

    async def _write(self, ctx: Context, merchant_id: str, ended: Sequence[Ended], asks: Sequence[_Ask]) -> None:
        """Write outcomes, again and again while the database is away, as long as their leases can last.

        Who asks is told at once, and asks again.
        """
        until = time.monotonic() + ctx.port(WebhookRules).timeout_s + LEASE_BEYOND_S
        places = {(merchant_id, each.claimed.endpoint_id) for each in ended}
        while True:
            wish = self._wish(places, asks)
            try:
                async with self._at_database:
                    done = await note(ctx, merchant_id, ended, wish)
            except Exception as error:
                _refuse(asks, error)
                if not ended:
                    return
                if not isinstance(error, KassaError):
                    log.exception("outcomes of deliveries are lost, their leases will end")
                    return
                log.warning("outcomes of deliveries: %s", error.code)
                if time.monotonic() > until:
                    return
                asks = ()
                await asyncio.sleep(_AGAIN_S)
            else:
                break
        self._forget_left(places, wish, done.taken)
        attempts = self._begin(ctx, merchant_id, done.taken, remember=not self._pulls)
        _answer(asks, done.taken, attempts)
        for endpoint_id in done.disabled:
            self._spawn(self._aside, self._follow(ctx, merchant_id, endpoint_id))

    def _no_longer_busy(self, batch: Sequence[tuple[Ended, object]]) -> set[_Place]:
        places = [(ended.claimed.merchant_id, ended.claimed.endpoint_id) for ended, _ in batch]
        self._busy.subtract(places)
        idle = {place for place in places if self._busy[place] <= 0}
        for place in idle:
            del self._busy[place]
        return idle

    def _see_to_left(self, ctx: Context, place: _Place) -> None:
        """What had no room is claimed with an outcome of its endpoint; ask for it where no outcome is to come any more."""
        if self._has_left(place) and not self._busy[place] and place not in self._asking:
            self._asking.add(place)
            self._spawn(self._aside, self._ask_for_left(ctx, place))

    async def _ask_for_left(self, ctx: Context, place: _Place) -> None:
        """Others had all the room, or the endpoint is being spared: ask again, less and less often."""
        merchant_id, pause_s = place[0], _AGAIN_S
        try:
            while not self._closing and self._has_left(place) and not self._busy[place]:
                wish = self._wish({place})
                try:
                    async with self._at_database:
                        taken = await self._claim_left(ctx, place, wish)
                except KassaError as error:
                    log.warning("deliveries: %s", error.code)
                else:
                    self._forget_left({place}, wish, taken)
                    self._begin(ctx, merchant_id, taken)
                if not self._busy[place]:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            self._asking.discard(place)

    async def _claim_left(self, ctx: Context, place: _Place, wish: Wish | None) -> Taken:
        if wish is not None and wish.oldest:
            return await claim_oldest(ctx, place[0], [place[1]], wish.delivery_ids)
        return await claim_named(ctx, place[0], (), wish.delivery_ids if wish else ())

    def _has_left(self, place: _Place) -> bool:
        return bool(self._left.get(place)) or place in self._overflowed

    def _wish(self, places: set[_Place], asks: Sequence[_Ask] = ()) -> Wish | None:
        if self._closing or len(self._running) >= self._most:
            return None
        left = [each for place in places for each in islice(self._left.get(place, ()), _ASKED_FOR)]
        event_ids = [each for ask in asks for each in ask.event_ids]
        oldest = self._pulls or any(len(self._left.get(place, ())) < _ASKED_FOR for place in places & self._overflowed.keys())
        return Wish(left, oldest, event_ids, [each for ask in asks for each in ask.delivery_ids])

    def _forget_left(self, places: set[_Place], wish: Wish | None, taken: Taken) -> None:
        """What was asked for and is not left again has begun, or waits for another, or is somebody else's."""
        still = {delivery_id for _, delivery_id in taken.left}
        if wish is not None and wish.oldest:
            for place in places & self._overflowed.keys():
                self._see_how_many_more(place, taken)
        for place in places & self._left.keys():
            left = self._left[place]
            for delivery_id in () if wish is None else wish.delivery_ids:
                if delivery_id not in still:
                    left.pop(delivery_id, None)
            if not left:
                del self._left[place]

    def _see_how_many_more(self, place: _Place, taken: Taken) -> None:
        """Those due longest were claimed here, and some behind them looked at. Where there was no room nothing is known."""
        began = any(claimed.endpoint_id == place[1] for claimed in taken.claimed)
        if taken.held or any(endpoint_id == place[1] for endpoint_id, _ in taken.left):
            self._overflowed[place] = time.monotonic() + QUEUED_S
        elif began or time.monotonic() > self._overflowed[place]:
            del self._overflowed[place]

    async def _follow(self, ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> None:
        try:
            await follow_up(ctx, merchant_id, endpoint_id)
        except KassaError as error:
            log.warning("deliveries of a disabled endpoint: %s", error.code)  # the worker that tidies goes on


def _answer(asks: Sequence[_Ask], taken: Taken, attempts: Sequence[asyncio.Task[None]]) -> None:
    """Tell each who asked which attempts are his."""
    for ask in asks:
        if not ask.answer.done():
            events, deliveries = set(ask.event_ids), set(ask.delivery_ids)
            mine = [
                attempt
                for claimed, attempt in zip(taken.claimed, attempts, strict=True)
                if claimed.event.event_id in events or claimed.delivery_id in deliveries
            ]
            ask.answer.set_result(Begun(mine, taken.met))


def _refuse(asks: Sequence[_Ask], error: Exception) -> None:
    for ask in asks:
        if not ask.answer.done():
            ask.answer.set_exception(error)
