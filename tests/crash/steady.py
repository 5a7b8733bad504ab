"""Buyers who come at a steady rate, whether or not earlier ones have been answered: what they notice of trouble elsewhere."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests import rig

from .field import Field
from .history import History
from .lines import Lines

CLIP = "prod_005"
"""There is more of it than anybody buys here."""


@dataclass
class Steady:
    """Use it as a context manager. `took` are the seconds of all purchases, by the phase in which each began; `failed` had no 200."""

    field: Field
    server: rig.Server
    history: History
    rate: float = 12.0
    phase: str = "before"
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Steady:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        assert self._thread is not None
        self._thread.join()

    @contextmanager
    def during(self, phase: str, after: str = "between") -> Iterator[None]:
        """Who comes inside the block is counted under this name, and under `after` when it ends."""
        self.phase = phase
        try:
            yield
        finally:
            self.phase = after

    def within(self, phase: str, share: float) -> float:
        """Seconds within which this share of a phase's purchases was answered."""
        took = sorted(self.took[phase])
        return took[min(len(took) - 1, round(share * (len(took) - 1)))] if took else 0.0

    def compare(self, calm: str, trouble: str, most: float, shares: tuple[float, ...] = (0.5, 0.99)) -> None:
        """Note both phases' times; a violation when one share of those in trouble took more than `most` times as long as in calm."""
        for share in shares:
            usual, now = self.within(calm, share), self.within(trouble, share)
            name = f"p{share * 100:g} of a purchase: {calm} / {trouble}"
            self.field.measure(
                name, f"{usual * 1000:.0f} / {now * 1000:.0f} ms ({len(self.took[calm])}, {len(self.took[trouble])})"
            )
            self.field.check(now <= most * usual, f"{name}: {usual:.3f} and {now:.3f} s, allowed is {most:g} times as long")

    async def _come(self) -> None:
        async with Lines(self.history) as lines, asyncio.TaskGroup() as crowd:
            began, number = time.monotonic(), 0
            while not self._enough.is_set():
                number += 1
                await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
                crowd.create_task(self._buy(lines))

    async def _buy(self, lines: Lines) -> None:
        phase, began = self.phase, time.monotonic()
        said = await lines.ask(self.server, self.field.buyer().buys((CLIP, 1)))
        self.took[phase].append(time.monotonic() - began)
        if said is None or said.status != 200:
            self.failed.append(f"{phase}: {said.raw[:200] if said else 'no answer'!r}")
