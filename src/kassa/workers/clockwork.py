"""Every N seconds, do Z: one table. Each act finds its own due work, claims it, and may run in any number of processes.

Acts of one name are started together: `kassa work --only deliver`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kassa import cardwatch, checkout, collect, notices, staff, verify, webhooks
from kassa.collect import payme
from kassa.events import feed
from kassa.kit import heard, once, statistics
from kassa.kit.context import Context
from kassa.payments import payme as receipts
from kassa.webhooks.delivery import Deliverer


@dataclass(frozen=True, slots=True)
class Tick:
    """`act` is called every `every_s` seconds and returns how much it found to do; after a find it is called at once again."""

    name: str
    every_s: float
    act: Callable[[Context], Awaitable[int]]


async def _sweep_keys(ctx: Context) -> int:
    """Delete idempotency keys whose time is over; returns how many."""
    return await once.sweep(ctx.db)


async def _forget_heard(ctx: Context) -> int:
    """Delete the ids of old messages from elsewhere; returns how many."""
    return await heard.sweep(ctx.db)


async def _forget_measures(ctx: Context) -> int:
    """Delete measures of tried cards that are empty again; returns how many."""
    return await cardwatch.sweep(ctx.db)


async def _forget_tries(ctx: Context) -> int:
    """Delete old tries to sign in, and sessions that ended long ago; returns how many."""
    return await staff.sweep(ctx.db)


async def _look_at_grown_tables(ctx: Context) -> int:
    """Tell the database's planner of tables that have grown since it last looked."""
    await statistics.look_at_grown_tables(ctx.db)
    return 0


async def _reclaim(ctx: Context) -> int:
    """Make deliveries due again whose process died over an attempt; returns how many."""
    return await ctx.port(Deliverer).reclaim(ctx)


async def _watch(ctx: Context) -> int:
    """Look at the invariants for about a second, if it is time; what is broken becomes a case and a figure."""
    await verify.turn(ctx)
    return 0


async def _tidy(ctx: Context) -> int:
    """Switch off endpoints that answer nothing good, follow up what was disabled, and delete what is old; returns how much."""
    return await ctx.port(Deliverer).tidy(ctx)


CLOCKWORK = (
    Tick("checkouts", 0.5, checkout.sweep_checkouts),
    Tick("checkouts", 1.0, checkout.ask_again),
    Tick("payments", 0.25, collect.sweep_payments),
    Tick("payments", 1.0, payme.sweep_attempts),
    Tick("payments", 1.0, receipts.sweep_charges),
    Tick("reports", 1.0, collect.sweep_unmatched),
    Tick("refunds", 1.0, checkout.sweep_refunds),
    Tick("notices", 0.5, notices.send_due),
    Tick("notices", 3600.0, notices.sweep_sent),
    Tick("deliver", 1.0, _reclaim),
    Tick("deliver", 5.0, webhooks.ensure_callbacks),
    Tick("deliver", 60.0, _tidy),
    Tick("relay", 3600.0, feed.shorten_feeds),
    Tick("keys", 60.0, _sweep_keys),
    Tick("keys", 3600.0, _forget_heard),
    Tick("cards", 60.0, _forget_measures),
    Tick("keys", 60.0, _forget_tries),
    Tick("statistics", 2.0, _look_at_grown_tables),
    Tick("verify", 4.0, _watch),
)
