"""The merchants' feed: every event has a place in its merchant's order, and whoever follows the places misses nothing.

Transactions commit in another order than their events' ids. So a place is given only to what is committed, by one giver at a time
per merchant (rulings, 21): nothing can appear later below a place that was seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kassa.events import store
from kassa.events.envelope import Recorded
from kassa.kit.context import Context
from kassa.kit.database import Reader
from kassa.kit.errors import Invalid

_PLACES = 2000
_ROUNDS = 25
"""A reader gives at most 50,000 places; then it is told that there is more."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A page of the feed. `next_after` is the last id shown, or the one that was asked for if nothing is."""

    items: list[Recorded]
    next_after: uuid.UUID | None
    has_next: bool


class UnknownPlace(Invalid):
    """There is no such event in this feed."""

    code = "validation_error"


class CursorExpired(Invalid):
    """That event is over 90 days old; begin anew."""

    code = "cursor_expired"
    advice = "Begin anew without `after`, and compare with what you have."


async def read_feed(
    ctx: Context,
    merchant_id: str,
    *,
    after: uuid.UUID | None,
    limit: int,
    types: Sequence[str] = (),
    subjects: Sequence[str] = (),
) -> FeedPage:
    """The merchant's events behind `after` (all of the last 90 days for None), oldest first, at most `limit`.

    Events that have no place yet are given one before the answer. Raises `UnknownPlace` and `CursorExpired`.
    """
    bounds = await store.bounds(ctx.db, merchant_id, after)
    if not bounds.known:
        raise UnknownPlace
    if bounds.expired:
        raise CursorExpired
    missing, begins_at = bounds.missing, bounds.begins_at
    items: list[Recorded] = []
    for _ in range(_ROUNDS):
        if missing:
            missing = await give_places(ctx, merchant_id, _PLACES) >= _PLACES
        if not begins_at:  # a webhook may have named the event before it had a place
            begins_at = (await store.bounds(ctx.db, merchant_id, after)).begins_at
        if begins_at:
            found = await store.shown_from(ctx.db, merchant_id, begins_at, limit + 1 - len(items), types, subjects)
            items += [event for _, event in found]
            begins_at = found[-1][0] + 1 if found else begins_at
        if len(items) > limit or not missing:
            break
    shown = items[:limit]
    return FeedPage(shown, shown[-1].event_id if shown else after, len(items) > limit or missing)


async def give_places(ctx: Context, merchant_id: str, limit: int) -> int:
    """Give the next places to events that have none, `limit` and those that come before them; returns to how many."""
    async with ctx.db.transaction("events.place") as tx:
        await store.lock_feed(tx, merchant_id)
        return await store.give_next_places(tx, merchant_id, limit)


async def shorten_feeds(ctx: Context) -> int:
    """Let feeds begin where their 90 days begin, so that a fresh reader walks over nothing; returns how many did."""
    merchants = await store.feeds_to_shorten(ctx.db)
    for merchant_id in merchants:
        await store.shorten_feed(ctx.db, merchant_id)
    return len(merchants)


async def recorded_events(reader: Reader, merchant_id: str, event_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Recorded]:
    """Those of these events that there are, as they were recorded."""
    return {event.event_id: event for event in await store.recorded(reader, merchant_id, event_ids)}


async def known_events(reader: Reader, merchant_id: str, event_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these ids that events of the merchant have."""
    return await store.known(reader, merchant_id, event_ids)
