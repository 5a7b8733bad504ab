"""Let a card be tried, or say that it is too much; and note what came of it.

A try is counted before its card goes anywhere, and stays counted as failed until it is known to be paid: so a hundred that come at
the same moment are a hundred. One that is refused here is taken out again, so that waiting helps and knocking does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from kassa.cardwatch import store
from kassa.cardwatch.model import ADDRESS, BUYER, CARD, EARNED, SHOP, SPANS, Attempt, CardLimits, TooManyTries, key_of_buyer
from kassa.cardwatch.store import Level, Measure
from kassa.kit.context import Context

log = logging.getLogger("kassa.cardwatch")

_FULL = 1 + 1e-9


class Tried:
    """A try that was let through. One of its verbs is called when its end is known; without one it counts as failed.

    They do not wait and do not raise; what they note is noted in the background.
    """

    def __init__(self, ctx: Context, attempt: Attempt, measures: Sequence[Measure]) -> None:
        self._ctx = ctx
        self._attempt = attempt
        self._measures = {each.kind: each for each in measures}
        self._is_over = False

    def paid(self) -> None:
        """The card was good: nothing has failed, and its address has earned some room. The buyer has used one card more."""
        address = self._measures[ADDRESS]
        self._take_back([self._measures[CARD], replace(address, cost=address.cost * (1 + EARNED))])

    def declined(self) -> None:
        """The card was refused: it stays counted, and the whole shop has one refused card more."""
        if not self._is_over:
            self._is_over = True
            self._ctx.background.spawn(self._note_refused(), name="a refused card")

    def never_was(self) -> None:
        """The card went nowhere."""
        self._take_back([self._measures[kind] for kind in (ADDRESS, BUYER, CARD)])

    async def _note_refused(self) -> None:
        merchant_id, card = self._attempt.merchant_id, self._attempt.card
        await store.take_back(self._ctx.db, merchant_id, card, [replace(self._measures[ADDRESS], cost=0.0)])
        await store.add(self._ctx.db, merchant_id, self._measures[SHOP])

    def _take_back(self, measures: Sequence[Measure]) -> None:
        if not self._is_over:
            self._is_over = True
            less = store.take_back(self._ctx.db, self._attempt.merchant_id, self._attempt.card, measures)
            self._ctx.background.spawn(less, name="a card that did not fail")


async def admit(ctx: Context, attempt: Attempt) -> Tried | None:
    """Count a try and let it through; None where nothing is counted. One statement, as a rule.

    Called twice it counts two. Raises `TooManyTries` when a measure is full: nothing is counted then.
    """
    limits: CardLimits | None = ctx.ports.get(CardLimits)
    if limits is None or not limits.on:
        return None
    waits = iter(limits.looks_again_s)
    while True:
        tried, full, others = await _try(ctx, attempt, limits)
        if full is None:
            return tried
        tried.never_was()
        wait_s = next(waits, None) if others else None
        if full.by != ADDRESS or wait_s is None:
            log.warning("a card was not tried: the measure of its %s is full", full.by)
            raise full
        await asyncio.sleep(wait_s)


async def _try(ctx: Context, attempt: Attempt, limits: CardLimits) -> tuple[Tried, TooManyTries | None, bool]:
    """The try, what is against it, and whether others of its address may yet leave room."""
    measures = _measures(ctx, attempt, limits)
    levels = {each.kind: each for each in await store.count(ctx.db, attempt.merchant_id, attempt.card, measures)}
    buyer = levels[BUYER]
    measures = [replace(each, cost=buyer.added) if each.kind == BUYER else each for each in measures]
    whole_shop = Measure(SHOP, b"", limits.cost(SHOP), SPANS[SHOP])
    return Tried(ctx, attempt, [*measures, whole_shop]), _fullest(attempt, levels), levels[ADDRESS].pending > 1


def _measures(ctx: Context, attempt: Attempt, limits: CardLimits) -> list[Measure]:
    keys = {
        CARD: attempt.card,
        BUYER: key_of_buyer(ctx.keys, attempt.buyer, is_guest=attempt.is_guest),
        ADDRESS: ctx.keys.fingerprint(f"cardwatch:address:{attempt.network}".encode()),
    }
    return [Measure(kind, key, limits.cost(kind), SPANS[kind]) for kind, key in keys.items()]


def _fullest(attempt: Attempt, levels: dict[str, Level]) -> TooManyTries | None:
    """The measure that cannot hold this try, the one to wait for longest; a buyer's card that was used before is no other card."""
    waits = {
        kind: min(found.level - 1, found.added) * SPANS[kind].total_seconds()
        for kind, found in levels.items()
        if kind != SHOP and found.added and found.level > _FULL
    }
    if attempt.is_guest and SHOP in levels and levels[SHOP].level > _FULL:
        waits[SHOP] = (levels[SHOP].level - 1) * SPANS[SHOP].total_seconds()
    if not waits:
        return None
    by = max(waits, key=lambda kind: waits[kind])
    return TooManyTries(by, max(1, math.ceil(waits[by])))
