"""Ambassadors that are deleted elsewhere leave the carts here (purchases contract, section 8).

The ambassadors service tells it on a channel of Redis. A message that is no such event is logged and dropped. One that was heard
is kept until it has had its effect, however long the database is away. What is published while nobody listens is lost, so all carts
are looked at whenever the channel is followed anew, when more is heard than can be kept, and every five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kassa import catalog, checkout
from kassa.kit import clock, heard
from kassa.kit.bell import Ear
from kassa.kit.context import Context
from kassa.kit.database import DatabaseAway
from kassa.kit.errors import Busy, KassaError
from kassa.kit.figures import beat
from kassa.kit.jsontext import BadJson, parse
from kassa.kit.redis import Redis
from kassa.orders import AMBASSADORS

log = logging.getLogger("kassa.workers")

CHANNEL: Final = "ambassador.deleted"
_MERCHANT = "1"
_HIGHEST = 2**63 - 1
_LONGEST = 64 * 1024
_WHOLE = re.compile(rb"[ \t\r\n]*([1-9][0-9]{0,18})[ \t\r\n]*")
_AT_ONCE = 1000
"""Ambassadors that are withdrawn together."""
_MOST = 20_000
"""Ambassadors that wait to be withdrawn, and ids of events that are remembered."""
_LONGEST_NAME = 255
_AGAIN_S = 1.0
_LOOK_EVERY = timedelta(minutes=5)
_LOOK_AGAIN_S = 30.0
"""A service that does not answer is spared: buyers ask it, too."""
_CLOCK_S = 2.0
_IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Deleted:
    """An ambassador that is no longer sold. `event_id` is None where the message has none."""

    ambassador_id: int
    event_id: str | int | None = None


def read(raw: bytes) -> Deleted | None:
    """What a message says, None for one that is no such event: an object with `ambassador_id` or `id`, or a bare number."""
    if len(raw) > _LONGEST:
        return None
    if bare := _WHOLE.fullmatch(raw):
        alone = int(bare[1])
        return Deleted(alone) if alone <= _HIGHEST else None
    try:
        said = parse(raw)
    except BadJson:
        return None
    number: Any = said["ambassador_id"] if "ambassador_id" in said else said.get("id")
    event_id = said.get("event_id")
    if said.get("type", CHANNEL) != CHANNEL or not _is_id(number) or not (event_id is None or _is_name(event_id)):
        return None
    return Deleted(number, event_id)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _HIGHEST


def _is_name(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST_NAME
    return isinstance(value, int) and not isinstance(value, bool)


class Inbox:
    """What was heard and has had no effect yet. An event whose id was heard before is skipped; the newest ids are remembered."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[int, set[str]] = OrderedDict()
        """Ambassadors with the ids of the events that told it; none for one that was told without."""
        self._known: OrderedDict[str | int, None] = OrderedDict()
        self.heard, self.lost = Ear(), Ear()
        """Rung when something waits, and when something may have been lost."""

    def hear(self, raw: bytes) -> None:
        """Take a message in. It neither waits nor raises."""
        deleted = read(raw)
        if deleted is None:
            log.warning("%s: a message that is none was dropped", CHANNEL)
        elif len(self.waiting) >= _MOST:
            self.lost.ring()
        elif not self._is_known(deleted.event_id):
            self._wait_with(deleted.ambassador_id, set() if deleted.event_id is None else {str(deleted.event_id)})
            self.heard.ring()

    def _wait_with(self, ambassador_id: int, event_ids: set[str]) -> None:
        there = self.waiting.get(ambassador_id)
        # Told once without an id, it is withdrawn whatever was heard before.
        self.waiting[ambassador_id] = event_ids if there is None else there | event_ids if there and event_ids else set()

    def take(self) -> list[tuple[int, set[str]]]:
        """Ambassadors to withdraw now, the oldest first. One that is told again meanwhile waits again."""
        return [self.waiting.popitem(last=False) for _ in range(min(_AT_ONCE, len(self.waiting)))]

    def put_back(self, taken: list[tuple[int, set[str]]]) -> None:
        """They are still to be withdrawn."""
        for ambassador_id, event_ids in reversed(taken):
            self._wait_with(ambassador_id, event_ids)
            self.waiting.move_to_end(ambassador_id, last=False)

    def _is_known(self, event_id: str | int | None) -> bool:
        if event_id is None:
            return False
        if event_id in self._known:
            return True
        self._known[event_id] = None
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return False


async def run(ctx: Context, stop: asyncio.Event) -> None:
    """Listen and look until `stop` is set. Without Redis nobody tells, and the looks do it. May run in any number of processes."""
    redis: Redis | None = ctx.ports.get(Redis)
    inbox = Inbox()
    works: list[Coroutine[Any, Any, None]] = [_wait(stop), _look(ctx, inbox.lost), _by_the_clock(ctx, inbox.lost)]
    if redis is not None:
        works += [redis.follow(CHANNEL, inbox.hear, listening=inbox.lost.ring), _withdraw(ctx, inbox)]
    tasks = [asyncio.create_task(work, name=CHANNEL) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()  # but for the wish to stop none ends by itself: whoever begins this anew is told why


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _withdraw(ctx: Context, inbox: Inbox) -> None:
    while True:
        if not inbox.waiting and not await inbox.heard.wait(_IDLE_S):
            continue
        taken = inbox.take()
        try:
            if taken:
                await _have_effect(ctx, taken)
        except KassaError as error:
            log.warning("%s: %s; trying again", CHANNEL, error.code)
            inbox.put_back(taken)
            await asyncio.sleep(_AGAIN_S)
        except Exception:
            # Tried again it might fail for ever, and whatever follows would wait: the look at all carts finds it, too.
            log.exception("%s: could not be done", CHANNEL)
            inbox.lost.ring()


async def _have_effect(ctx: Context, taken: list[tuple[int, set[str]]]) -> None:
    """Withdraw them, but for those all of whose events have been heard before, by whatever process."""
    event_ids = sorted(set().union(*(each for _, each in taken)))
    known = await heard.known(ctx.db, _MERCHANT, CHANNEL, event_ids) if event_ids else set()
    new = [str(ambassador_id) for ambassador_id, told in taken if not told or not told <= known]
    await checkout.withdraw(ctx, _MERCHANT, new)
    if event_ids:
        await heard.remember(ctx.db, _MERCHANT, CHANNEL, event_ids)


async def _by_the_clock(ctx: Context, lost: Ear) -> None:
    """Have carts looked at now and every five minutes of the one clock, which tests can shift."""
    looked_at: datetime | None = None
    while True:
        with contextlib.suppress(KassaError):
            now = await clock.now(ctx.db)
            if looked_at is None or now - looked_at >= _LOOK_EVERY:
                looked_at = now
                lost.ring()
        await asyncio.sleep(_CLOCK_S)


async def _look(ctx: Context, lost: Ear) -> None:
    while True:
        if not await lost.wait(_IDLE_S):
            continue
        if await _revalidate(ctx):
            beat("ambassadors", "ambassadors")
        else:
            await asyncio.sleep(_LOOK_AGAIN_S)
            lost.ring()


async def _revalidate(ctx: Context) -> bool:
    """Whether nothing is left to do: carts were looked at, or there is no such channel."""
    try:
        channel = await catalog.channel_of(ctx, _MERCHANT, AMBASSADORS)
    except DatabaseAway:
        return False
    except Busy:
        return True
    try:
        await checkout.revalidate(ctx, channel)
    except KassaError as error:
        log.info("carts were not looked at: %s", error.code)
        return False
    except Exception:
        log.exception("carts could not be looked at")
    return True
