"""Put in order what nobody's act would: endpoints that fail for days, deliveries that wait for nobody, and what became old.

Every step looks again under the endpoint's lock, so it may run in any number of processes, and again.
"""

from __future__ import annotations

import uuid

from kassa import events
from kassa.events import ring
from kassa.kit.context import Context
from kassa.webhooks import store as rooms
from kassa.webhooks.delivery.model import GIVEN_UP_AFTER, GIVEN_UP_ATTEMPTS
from kassa.webhooks.delivery.note import disabling
from kassa.webhooks.delivery.store import lock
from kassa.webhooks.delivery.upkeep import store
from kassa.webhooks.switch import follow_up

_AT_ONCE = 100
_STEP = 500


async def tidy_up(ctx: Context) -> int:
    """Do all of it once; returns how much was done."""
    done = 0
    for merchant_id, endpoint_id in await store.endpoints_given_up(ctx.db, _AT_ONCE, GIVEN_UP_AFTER.days, GIVEN_UP_ATTEMPTS):
        done += await _give_up(ctx, merchant_id, endpoint_id)
    for merchant_id, endpoint_id in await store.endpoints_left_over(ctx.db, _AT_ONCE):
        done += await follow_up(ctx, merchant_id, endpoint_id)
    for merchant_id, endpoint_id in await store.endpoints_with_forgotten(ctx.db, _AT_ONCE):
        done += await _remember(ctx, merchant_id, endpoint_id)
    for merchant_id, endpoint_id in await store.endpoints_with_old(ctx.db, _AT_ONCE):
        done += await _forget(ctx, merchant_id, endpoint_id)
    return done


async def _give_up(ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> int:
    """Disable an endpoint that answered no 2xx for five days."""
    async with ctx.db.transaction("webhooks.tidy") as tx:
        [locked] = await lock(tx, merchant_id, [endpoint_id])
        health = locked.health
        fails = health.attempts_since_success >= GIVEN_UP_ATTEMPTS and locked.now - health.good_at >= GIVEN_UP_AFTER
        if not locked.enabled or not fails:
            return 0
        await store.disable(tx, merchant_id, endpoint_id, "failing")
        await rooms.hold_due(tx, merchant_id, endpoint_id, rooms.STEP)
        events.record(tx, disabling(merchant_id, endpoint_id, "failing"))
    return 1


async def _remember(ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> int:
    """Release what is blocked behind nothing."""
    async with ctx.db.transaction("webhooks.tidy") as tx:
        await lock(tx, merchant_id, [endpoint_id])
        found = await store.release_forgotten(tx, merchant_id, endpoint_id)
        tx.after_commit("webhooks.tidy", lambda: ring(ctx.db))
    return found


async def _forget(ctx: Context, merchant_id: str, endpoint_id: uuid.UUID) -> int:
    """Make dead letters of what was blocked for 90 days, and drop dead letters of 90 days."""
    done = 0
    while True:
        async with ctx.db.transaction("webhooks.tidy") as tx:
            await lock(tx, merchant_id, [endpoint_id])
            step = await store.drop_dead(tx, merchant_id, endpoint_id, _STEP)
            step += await store.end_blocked(tx, merchant_id, endpoint_id, _STEP)
        done += step
        if step == 0:
            return done
