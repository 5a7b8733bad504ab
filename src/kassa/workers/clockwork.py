"""Every N seconds, do Z: one table. Each act finds its own due work, claims it, and may run in any number of processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kassa import checkout, notices
from kassa.kit import once
from kassa.kit.context import Context


@dataclass(frozen=True, slots=True)
class Tick:
    """`act` is called every `every_s` seconds and returns how much it found to do; after a find it is called at once again."""

    name: str
    every_s: float
    act: Callable[[Context], Awaitable[int]]


async def _sweep_keys(ctx: Context) -> int:
    return await once.sweep(ctx.db)


CLOCKWORK = (
    Tick("checkouts", 0.5, checkout.sweep_checkouts),
    Tick("refunds", 1.0, checkout.sweep_refunds),
    Tick("notices", 0.5, notices.send_due),
    Tick("keys", 60.0, _sweep_keys),
)
