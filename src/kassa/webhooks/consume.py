"""From the broker to the endpoints: a message names an event, and its deliveries are claimed and attempted.

The database stays the truth about what was delivered. A message only says *look now*: one that comes twice, or late, finds nothing
to do. Waiting is done in the database, and what is due again is published anew, so the queue never holds a sleeping message. While
the broker is away all deliveries wait, later attempts too, and no attempt is used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from kassa.events import Recorded
from kassa.events.broker import PREFETCH, RETRY, Broker, Incoming, Message, message_of
from kassa.events.feed import known_events, recorded_events
from kassa.kit import crash
from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.kit.figures import beat
from kassa.kit.ids import parse
from kassa.webhooks.delivery import Deliverer, Due
from kassa.webhooks.delivery.deliverer import MOST_TASKS

log = logging.getLogger("kassa.webhooks")

_TOGETHER_S = 0.003
"""Messages of a merchant that come within so many seconds are claimed together."""
_MOST_TOGETHER = 2 * PREFETCH
_ACK_S = 0.25
_CROWDED = 48
"""Deliveries of a merchant that may wait for room before its messages are held back a little."""
_CROWDED_LOOK_S = 0.004
_AGAIN_S = 1.0
_PATIENCE_S = 60.0
_LOOK_S = 0.25
_DUE = 500
_MERCHANT = re.compile(r"[\x21-\x7e]{1,64}")


async def run(ctx: Context, stop: asyncio.Event) -> None:
    """Deliver what the broker brings, and give it what is due again, until `stop` is set; then end what was begun.

    May run in any number of processes. For a process with a broker; without one `Deliverer.run` does both.
    """
    broker = ctx.port(Broker)
    desk = Desk(ctx, ctx.port(Deliverer))
    async with broker.consume(desk.receive):
        await _publish_due(ctx, broker, stop)
        await desk.close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a message names. `delivery_id` is there for a later attempt."""

    incoming: Incoming
    event_id: uuid.UUID
    delivery_id: uuid.UUID | None


class Desk:
    """Where messages arrive: each merchant's are claimed together, one claim after the other."""

    def __init__(self, ctx: Context, deliverer: Deliverer) -> None:
        self._ctx = ctx
        self._deliverer = deliverer
        self._waiting: dict[str, list[_Asked]] = {}
        self._served: set[str] = set()
        self._slow: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def receive(self, incoming: Incoming) -> None:
        """Take a message. After `close` it is left to the broker, which gives it to somebody else."""
        if self._closed:
            return
        read = _read(incoming)
        if read is None:
            log.warning("a message of the broker names no event")
            incoming.refuse()
            return
        merchant_id, asked = read
        self._waiting.setdefault(merchant_id, []).append(asked)
        if merchant_id not in self._served:
            self._served.add(merchant_id)
            self._spawn(self._serve(merchant_id))

    async def close(self) -> None:
        """Take nothing more, and wait for what was begun."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, merchant_id: str) -> None:
        try:
            while self._waiting.get(merchant_id) and not self._closed:
                await asyncio.sleep(_TOGETHER_S)
                if self._deliverer.running >= MOST_TASKS:
                    await asyncio.sleep(_LOOK_S)
                    continue
                batch = self._waiting[merchant_id][:_MOST_TOGETHER]
                del self._waiting[merchant_id][:_MOST_TOGETHER]
                await self._deliver(merchant_id, batch)
        finally:
            self._served.discard(merchant_id)
            self._waiting.pop(merchant_id, None)

    async def _deliver(self, merchant_id: str, batch: Sequence[_Asked]) -> None:
        until = asyncio.get_running_loop().time() + _PATIENCE_S
        first = [each.event_id for each in batch if each.delivery_id is None]
        later = [each.delivery_id for each in batch if each.delivery_id is not None]
        attempts: list[asyncio.Task[None]] = []
        while True:
            try:
                begun = await self._deliverer.take(self._ctx, merchant_id, first, later)
                attempts += begun.attempts
                strange = [each.event_id for each in batch if each.event_id not in begun.met]
                unknown = set(strange) - (await known_events(self._ctx.db, merchant_id, strange) if strange else set())
            except KassaError as error:
                # Each giving back counts against a message, so the database is waited for here first.
                log.warning("messages of the broker: %s", error.code)
                if self._closed or asyncio.get_running_loop().time() > until:
                    for each in batch:
                        each.incoming.give_back()
                    return
                await asyncio.sleep(_AGAIN_S)
            else:
                break
        for each in batch:
            if each.event_id in unknown:
                log.warning("a message of the broker names an unknown event")
                each.incoming.refuse()
        self._spawn(self._settle(merchant_id, [each.incoming for each in batch if each.event_id not in unknown], attempts))

    async def _settle(self, merchant_id: str, messages: Sequence[Incoming], attempts: Sequence[asyncio.Task[None]]) -> None:
        """Acknowledge when the outcomes are written, or soon."""
        # The claims are in the database under their leases by then; to wait longer would let slow endpoints hold the prefetch.
        until = asyncio.get_running_loop().time() + _ACK_S
        ended = (await asyncio.wait(attempts, timeout=_ACK_S))[0] if attempts else ()
        if ended:
            self._slow.discard(merchant_id)
        # What has no room yet is remembered, but not without end: so endpoints that get on are given no more than they do.
        while (crowded := self._deliverer.waiting(merchant_id) > _CROWDED) and merchant_id not in self._slow:
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(_CROWDED_LOOK_S)
        if crowded and not ended:
            self._slow.add(merchant_id)
        crash.reach("acknowledge", "before_call")
        for message in messages:
            message.done()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read(incoming: Incoming) -> tuple[str, _Asked] | None:
    """Which merchant's event a message names; None for one that was not made by a relay."""
    headers = incoming.headers
    merchant_id, delivery = headers.get("kassa-merchant-id"), headers.get("kassa-delivery-id")
    event_id = parse(incoming.message_id or "")
    delivery_id = parse(delivery) if isinstance(delivery, str) else None
    if event_id is None or not isinstance(merchant_id, str) or _MERCHANT.fullmatch(merchant_id) is None:
        return None
    if (delivery is not None or incoming.routing_key == RETRY) and delivery_id is None:
        return None
    return merchant_id, _Asked(incoming, event_id, delivery_id)


# ── later attempts ───────────────────────────────────────────────────────────────────────────────────────────────────


async def _publish_due(ctx: Context, broker: Broker, stop: asyncio.Event) -> None:
    """Give the broker what is due again, and first attempts that nobody has made for a minute, until `stop` is set."""
    while not stop.is_set():
        pause_s = _LOOK_S
        try:
            if await broker.ready(_LOOK_S) and await publish_due(ctx, broker) == _DUE:
                pause_s = 0.0
            beat("deliver", "deliver")
        except KassaError as error:
            log.warning("later attempts: %s", error.code)
            pause_s = _AGAIN_S
        except Exception:
            log.exception("later attempts failed")
            pause_s = _AGAIN_S
        await _wait(stop, pause_s)


async def publish_due(ctx: Context, broker: Broker) -> int:
    """Publish due deliveries, at most 500; returns how many were found. What is not confirmed is found again a minute later."""
    found = await ctx.port(Deliverer).due(ctx, _DUE)
    by_merchant: dict[str, list[Due]] = {}
    for each in found:
        by_merchant.setdefault(each.merchant_id, []).append(each)
    for merchant_id, due in by_merchant.items():
        events = await recorded_events(ctx.db, merchant_id, [each.event_id for each in due])
        waiting = [each for each in due if each.event_id in events]
        while waiting:  # several endpoints may wait for one event, and what is in flight has different ids
            flight = {each.event_id: each for each in waiting}
            waiting = [each for each in waiting if flight[each.event_id] is not each]
            await broker.publish([_retry(events[event_id], each) for event_id, each in flight.items()])
    return len(found)


def _retry(event: Recorded, due: Due) -> Message:
    return message_of(event, RETRY, kassa_delivery_id=str(due.delivery_id), kassa_endpoint_id=str(due.endpoint_id))


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await stop.wait()
