"""`/office/system`: queues and their lag, breakers, connections, signs of life, the watch over the invariants, versions, sizes."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from fastapi import APIRouter

from kassa import __version__, desk, verify, webhooks
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.checkout import Neighbours
from kassa.events.broker import Broker
from kassa.kit import statistics
from kassa.kit.context import Context
from kassa.kit.redis import Redis
from kassa.pages.office.look import look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions
from kassa.verify import INVARIANTS


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant and what the watch saw of it last; `breaches` is None before its first look."""

    number: int
    says: str
    breaches: int | None
    age_s: float | None
    took_s: float


def router(options: PageOptions) -> APIRouter:
    """The page."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/system", response_model=None)
    async def system(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        broker = call.ctx.ports.get(Broker) is not None
        return await look.page(
            "office/system.html",
            system=await desk.read_system(look.reader),
            backlog=await webhooks.read_backlog(look.reader, broker=broker),
            snapshot_s=await statistics.oldest_snapshot_s(look.reader),
            invariants=await _invariants(call.ctx),
            breakers=_breakers(call.ctx),
            has_broker=broker,
            has_redis=call.ctx.ports.get(Redis) is not None,
            database_away=call.ctx.db.pulse.away,
            version=__version__,
            python=platform.python_version(),
        )

    return made


async def _invariants(ctx: Context) -> list[Invariant]:
    seen = {each.invariant: each for each in await verify.read_seen(ctx.db)}
    return [
        Invariant(number, says, found.breaches, found.age_s, found.took_s)
        if (found := seen.get(number)) is not None
        else Invariant(number, says, None, None, 0.0)
        for number, says in INVARIANTS
    ]


def _breakers(ctx: Context) -> list[tuple[str, bool, int]]:
    """The neighbours of checkouts as this process sees them: name, whether its breaker is open, seconds until the next try."""
    found = ctx.ports.get(Neighbours, Neighbours())
    named = [each for each in (found.payment, found.inventory, found.order, found.product) if each is not None]
    return [(each.name, each.breaker.is_open, each.breaker.retry_after()) for each in named]
