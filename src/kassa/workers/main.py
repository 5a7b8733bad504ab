"""Run the workers until told to stop. One that fails is logged and goes on after a pause; none ends the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterable

from kassa.kit.context import Context, concerning
from kassa.kit.errors import KassaError
from kassa.kit.figures import WORKER_EVERY, WORKER_FAILURES, WORKER_FOUND, WORKER_TURN, beat
from kassa.workers.clockwork import CLOCKWORK, Tick
from kassa.workers.standing import STANDING, Standing

log = logging.getLogger("kassa.workers")
_AFTER_FAILURE_S = 2.0


async def run(ctx: Context, stop: asyncio.Event, only: tuple[str, ...] = ()) -> None:
    """Run the named workers (all when none is named) until `stop` is set. Raises `ValueError` for an unknown name."""
    known = _names((*STANDING, *CLOCKWORK))
    unknown = sorted(set(only).difference(known))
    if unknown:
        raise ValueError(f"no such worker: {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = set(only or known)
    standing = (_stand(ctx, each, stop) for each in STANDING if each.name in wanted)
    ticking = (_keep(ctx, each, stop) for each in CLOCKWORK if each.name in wanted)
    await asyncio.gather(*standing, *ticking)


def _names(workers: Iterable[Tick | Standing]) -> list[str]:
    return list(dict.fromkeys(worker.name for worker in workers))


async def _stand(ctx: Context, standing: Standing, stop: asyncio.Event) -> None:
    WORKER_EVERY.labels(standing.name, standing.name).set(standing.looks_s)
    while not stop.is_set():
        try:
            await standing.work(ctx, stop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may go well
            _note(standing.name, error)
            await _pause(stop, _AFTER_FAILURE_S)


async def _keep(ctx: Context, tick: Tick, stop: asyncio.Event) -> None:
    labels = tick.name, tick.act.__name__.strip("_")
    WORKER_EVERY.labels(*labels).set(tick.every_s)
    WORKER_FAILURES.labels(tick.name)
    while not stop.is_set():
        pause, began = tick.every_s, time.perf_counter()
        try:
            with concerning():
                found = await tick.act(ctx)
            if found:
                pause = 0.05
            WORKER_FOUND.labels(*labels).inc(found)
            beat(*labels)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may go well
            _note(tick.name, error)
            pause = max(pause, _AFTER_FAILURE_S)
        WORKER_TURN.note(time.perf_counter() - began, *labels)
        await _pause(stop, pause)


def _note(name: str, error: Exception) -> None:
    WORKER_FAILURES.labels(name).inc()
    if isinstance(error, KassaError):
        log.warning("%s: %s", name, error.code)
    else:
        log.error("%s failed", name, exc_info=error)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.9, 1.1)):  # noqa: S311 - so that processes do not tick together
            await stop.wait()
