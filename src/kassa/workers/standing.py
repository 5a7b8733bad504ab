"""What works without pause beside the clockwork: one table. Each may run in any number of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kassa.events import relay
from kassa.events.broker import Broker
from kassa.kit.context import Context
from kassa.webhooks import consume
from kassa.webhooks.delivery import Deliverer
from kassa.workers import deleted


@dataclass(frozen=True, slots=True)
class Standing:
    """`work` goes on until the event that it is given is set; when it fails it is begun again.

    `looks_s`: how long at most it rests between two looks at what there is to do, each of which it notes as a `beat`.
    """

    name: str
    looks_s: float
    work: Callable[[Context, asyncio.Event], Awaitable[None]]


async def _deliver(ctx: Context, stop: asyncio.Event) -> None:
    """Through the broker where there is one, else straight from the database."""
    if ctx.ports.get(Broker) is not None:
        await consume.run(ctx, stop)
    else:
        await ctx.port(Deliverer).run(ctx, stop)


STANDING = (
    Standing("relay", 1.0, relay.run),
    Standing("deliver", 1.0, _deliver),
    Standing("ambassadors", 300.0, deleted.run),
)
