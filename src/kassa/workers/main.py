"""Run the clockwork until told to stop. A tick that fails is logged and tried again; none ends the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.workers.clockwork import CLOCKWORK, Tick

log = logging.getLogger("kassa.workers")
_AFTER_FAILURE_S = 2.0


async def run(ctx: Context, stop: asyncio.Event, only: tuple[str, ...] = ()) -> None:
    """Run the named ticks (all when none is named) until `stop` is set. Raises `ValueError` for an unknown name."""
    unknown = set(only) - {tick.name for tick in CLOCKWORK}
    if unknown:
        known = ", ".join(tick.name for tick in CLOCKWORK)
        raise ValueError(f"no such worker: {', '.join(sorted(unknown))}; there are {known}")
    await asyncio.gather(*(_keep(ctx, tick, stop) for tick in CLOCKWORK if not only or tick.name in only))


async def _keep(ctx: Context, tick: Tick, stop: asyncio.Event) -> None:
    while not stop.is_set():
        pause = tick.every_s
        try:
            if await tick.act(ctx):
                pause = 0.05
        except KassaError as error:
            log.warning("%s: %s", tick.name, error.code)
            pause = max(pause, _AFTER_FAILURE_S)
        except Exception:
            log.exception("%s failed", tick.name)
            pause = max(pause, _AFTER_FAILURE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):  # noqa: S311 - so that processes do not tick together
                await stop.wait()
