"""Write down how attempts ended, and claim with the same commit what their endpoints may be asked next.

An outcome is written by its `lease_version`: an owner that was paused and comes back late finds that it may write nothing.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa import events
from kassa.events import Event
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.webhooks import store as rooms
from kassa.webhooks.delivery import store
from kassa.webhooks.delivery.claim import claim_named
from kassa.webhooks.delivery.model import Ended, Health, Verdict, after, changed, verdict
from kassa.webhooks.delivery.store import Locked, Taken
from kassa.webhooks.model import WebhookRules


@dataclass(frozen=True, slots=True)
class Wish:
    """What to claim next: these deliveries at the endpoints of the outcomes and, with `oldest`, those that are due longest there.

    The deliveries of the events, and the deliveries `anywhere`, at all endpoints of the merchant.
    """

    delivery_ids: Sequence[uuid.UUID] = ()
    oldest: bool = False
    event_ids: Sequence[uuid.UUID] = ()
    anywhere: Sequence[uuid.UUID] = ()

    @property
    def named(self) -> list[uuid.UUID]:
        """All deliveries that are named themselves."""
        return [*self.delivery_ids, *self.anywhere]

    @property
    def wide(self) -> bool:
        """Whether other endpoints than those of the outcomes may have a part in it."""
        return bool(self.event_ids or self.anywhere)


@dataclass(frozen=True, slots=True)
class Written:
    """What was claimed next, and the endpoints that were disabled just now."""

    taken: Taken
    disabled: Sequence[uuid.UUID] = ()


class _Stale(Exception):
    """Some outcomes belong to leases that are over; `fresh` are the others."""

    def __init__(self, fresh: set[uuid.UUID]) -> None:
        super().__init__()
        self.fresh = fresh


async def note(ctx: Context, merchant_id: str, ended: Sequence[Ended], wish: Wish | None) -> Written:
    """Write outcomes of one merchant's deliveries, all or none; with a `wish`, claim what comes next.

    An outcome whose lease went to another is passed over. Called again, it finds all leases gone and writes nothing. Without any
    outcome it only claims.
    """
    while ended:
        try:
            async with ctx.db.transaction("webhooks.note", lasting=False) as tx:
                return await _write(ctx, tx, merchant_id, ended, wish)
        except _Stale as stale:
            ended = [each for each in ended if each.claimed.delivery_id in stale.fresh]
    if wish is None or not (wish.event_ids or wish.named):
        return Written(Taken([], []))
    return Written(await claim_named(ctx, merchant_id, wish.event_ids, wish.named))


async def _write(ctx: Context, tx: Tx, merchant_id: str, ended: Sequence[Ended], wish: Wish | None) -> Written:
    rules = ctx.port(WebhookRules)
    endpoint_ids = list({each.claimed.endpoint_id for each in ended})
    wide = wish is not None and wish.wide
    locked = {each.endpoint_id: each for each in await store.lock(tx, merchant_id, endpoint_ids, live=wide)}
    judged, healths = judge(ended, locked, rules.plan)
    alive = [endpoint_id for endpoint_id, health in healths.items() if health.reason is None]
    other = {endpoint_id: health for endpoint_id, health in healths.items() if changed(locked[endpoint_id].health, health)}
    noted = await store.note(tx, merchant_id, judged, alive, other)
    if len(noted.written) < len(ended):
        raise _Stale(noted.written)
    disabled = [each for each in endpoint_ids if locked[each].enabled and healths[each].reason is not None]
    for endpoint_id in disabled:
        await rooms.hold_due(tx, merchant_id, endpoint_id, rooms.STEP)
        events.record(tx, disabling(merchant_id, endpoint_id, healths[endpoint_id].reason))
    if wish is None or not (wish.oldest or wish.wide or wish.delivery_ids or noted.released):
        return Written(Taken([], []), disabled)
    named = [*wish.named, *noted.released]
    taken = await store.claim(
        tx, merchant_id, list(locked), rules.timeout_s, event_ids=wish.event_ids, delivery_ids=named, oldest=wish.oldest
    )
    return Written(taken, disabled)


def judge(
    ended: Sequence[Ended], locked: dict[uuid.UUID, Locked], plan: Sequence[int]
) -> tuple[list[tuple[Ended, Verdict, str | None]], dict[uuid.UUID, Health]]:
    """What becomes of each delivery, and of each endpoint after all of them."""
    healths = {each.claimed.endpoint_id: locked[each.claimed.endpoint_id].health for each in ended}
    judged: list[tuple[Ended, Verdict, str | None]] = []
    for each in ended:
        endpoint_id = each.claimed.endpoint_id
        healths[endpoint_id] = health = after(healths[endpoint_id], each, locked[endpoint_id].now)
        if locked[endpoint_id].deleted and not each.delivered:
            judged.append((each, Verdict("failed"), "endpoint_deleted"))
        else:
            said = verdict(each, plan, enabled=health.reason is None, chance=random.random())  # noqa: S311 - spreads, hides nothing
            judged.append((each, said, None))
    return judged, healths


def disabling(merchant_id: str, endpoint_id: uuid.UUID, reason: str | None) -> Event:
    """The event that tells a merchant's other endpoints."""
    data = {"endpoint_id": str(endpoint_id), "disabled_reason": reason}
    return Event(merchant_id, f"endpoint:{endpoint_id}", "endpoint.disabled", data)
