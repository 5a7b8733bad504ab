"""From the outbox to the broker: each merchant's events in the order of their places, each at least once.

A relay leads a merchant's feed under a lease, publishes what follows the newest place that the broker has confirmed, and notes how
far it came. Whoever dies between a confirmation and its note leaves events that are published again, with the same id. What decides
is the place that was confirmed, so a relay that slept past its lease changes nothing. A broker that is away leaves the outbox to
grow; nobody who records an event waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized
from dataclasses import replace
from functools import partial

from kassa.events import store
from kassa.events.broker import DEADLINE_S, Broker, message_of
from kassa.events.envelope import Recorded
from kassa.events.outbox import OUTBOX
from kassa.events.store import Lead
from kassa.kit import crash, trace
from kassa.kit.bell import Bell, Ear
from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.kit.figures import beat

IN_FLIGHT = 50
"""Events of one merchant that are published together."""
_AHEAD = 4 * IN_FLIGHT
"""Events that are given places, and read, together: with one commit that waits for the disk."""
_MERCHANTS = 1000
AT_ONCE = 16
"""Merchants whose events are published at the same time."""
_LEASE_S = 3 * DEADLINE_S
_POLL_S = 0.5
_AFTER_FAILURE_S = 1.0
_PLACES = 2000
log = logging.getLogger("kassa.relay")


class _Turns:
    """So many merchants at the same time; whoever leads goes on as long as nobody waits and nobody wishes to stop."""

    def __init__(self, relaying: Sized, stop: asyncio.Event) -> None:
        self.gate = asyncio.Semaphore(AT_ONCE)
        self._relaying = relaying
        self._stop = stop

    @property
    def over(self) -> bool:
        """Whether it is another's turn."""
        return self._stop.is_set() or len(self._relaying) > AT_ONCE


async def run(ctx: Context, stop: asyncio.Event) -> None:
    """Publish events to the broker until `stop` is set; what is in flight then is waited for. Any number of processes may.

    Without a broker nothing is relayed, and nothing will be afterwards: a broker that is configured later gets what happens then.
    """
    broker: Broker | None = ctx.ports.get(Broker)
    relaying: dict[str, asyncio.Task[None]] = {}
    turns = _Turns(relaying, stop)
    async with ctx.port(Bell).listen(OUTBOX) as ear:
        ending = asyncio.ensure_future(_wake_at(stop, ear))
        while not stop.is_set():
            pause_s = _POLL_S
            try:
                if broker is None or await broker.ready(_POLL_S):
                    for merchant_id in await store.feeds_to_relay(ctx.db, _MERCHANTS):
                        if merchant_id not in relaying:
                            task = asyncio.ensure_future(_lead(ctx, broker, merchant_id, turns, ear))
                            relaying[merchant_id] = task
                            task.add_done_callback(partial(_ended, relaying, merchant_id))
                beat("relay", "relay")
            except KassaError as error:
                log.warning("relay: %s", error.code)
                pause_s = _AFTER_FAILURE_S
            await ear.wait(pause_s)
        ending.cancel()
        if relaying:
            await asyncio.wait(relaying.values())


async def _lead(ctx: Context, broker: Broker | None, merchant_id: str, turns: _Turns, ear: Ear) -> None:
    """Some batches of one merchant. Nobody waits for it, so that a busy merchant does not hold up the others."""
    async with turns.gate:
        try:
            if await (_pass(ctx, merchant_id) if broker is None else _relay(ctx, broker, merchant_id, turns)):
                ear.ring()
        except KassaError as error:
            log.warning("relay: %s", error.code)
        except Exception:
            log.exception("relay failed")


def _ended(relaying: dict[str, asyncio.Task[None]], merchant_id: str, _: asyncio.Task[None]) -> None:
    del relaying[merchant_id]


async def _relay(ctx: Context, broker: Broker, merchant_id: str, turns: _Turns) -> bool:
    """Publish batches of a merchant while each is confirmed whole and no other merchant waits; whether it pays to look again."""
    lead: Lead | None = None
    ahead: list[Recorded] = []
    while True:
        lead, ahead = await (_go_on(ctx, lead, ahead) if lead and ahead else _look_ahead(ctx, merchant_id, lead))
        if lead is None:
            return False
        batch, ahead = ahead[:IN_FLIGHT], ahead[IN_FLIGHT:]
        with trace.batch("relay", (event.traceparent for event in batch)) as span:
            crash.reach("relay", "before_call")
            confirmed = await broker.publish([message_of(event) for event in batch])
            crash.reach("relay", "after_call")
            span.say(merchant_id=merchant_id, events=len(batch), confirmed=confirmed)
        lead = replace(lead, relayed=lead.relayed + confirmed)
        if confirmed < IN_FLIGHT or turns.over:
            break
    async with ctx.db.transaction("events.relayed", lasting=False) as tx:
        await store.note_relayed(tx, lead, lead.relayed)
    return 0 < len(batch) == confirmed


async def _look_ahead(ctx: Context, merchant_id: str, lead: Lead | None) -> tuple[Lead | None, list[Recorded]]:
    """Lead, or go on leading, and read what the next batches are made of."""
    # Places are on the disk before anybody sees them: else a reader whose bookmark has one that a crash took away would miss
    # what got an earlier one afterwards.
    async with ctx.db.transaction("events.lead") as tx:
        lead = await (store.lead_feed(tx, merchant_id, _LEASE_S) if lead is None else store.lead_on(tx, lead, _LEASE_S))
        if lead is None:
            return None, []
        if lead.last - lead.relayed < _AHEAD:
            await store.give_next_places(tx, merchant_id, _AHEAD)
        return lead, await store.next_to_relay(tx, merchant_id, lead.relayed, _AHEAD)


async def _go_on(ctx: Context, lead: Lead, ahead: list[Recorded]) -> tuple[Lead | None, list[Recorded]]:
    """Note how far the broker has confirmed, and go on leading. A crash that undoes it lets a batch be published again."""
    async with ctx.db.transaction("events.lead", lasting=False) as tx:
        still = await store.lead_on(tx, lead, _LEASE_S)
    if still is not None and still.relayed != lead.relayed:  # a process without a broker took all of them as relayed
        return await _look_ahead(ctx, lead.merchant_id, still)
    return still, ahead


async def _pass(ctx: Context, merchant_id: str) -> bool:
    """There is no broker: give places, and take all of them as relayed; whether there may be more."""
    async with ctx.db.transaction("events.pass") as tx:
        await store.lock_feed(tx, merchant_id)
        given = await store.give_next_places(tx, merchant_id, _PLACES)
        await store.pass_all(tx, merchant_id)
    return given >= _PLACES


async def _wake_at(stop: asyncio.Event, ear: Ear) -> None:
    await stop.wait()
    ear.ring()
