"""Many histories from one seed, and the shortest one that still fails."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.histories.play import Outcome, play
from tests.histories.steps import Step, deal
from tests.histories.town import KINDS

LENGTH = 14


@dataclass
class Played:
    """What came of many histories. `failed` is the first one that did, made as short as it can be."""

    histories: int = 0
    seconds: float = 0.0
    own_seconds: float = 0.0
    """Of the processor's time: what is left of it when others use the machine, too."""
    count: Counter[str] = field(default_factory=Counter)
    failed: Outcome | None = None
    before: int = 0
    """How many steps the one that failed had at first."""

    @property
    def a_minute(self) -> int:
        return round(self.histories / self.seconds * 60) if self.seconds else 0

    @property
    def an_own_minute(self) -> int:
        return round(self.histories / self.own_seconds * 60) if self.own_seconds else 0


def names(seed: str, length: int = LENGTH) -> Iterator[tuple[str, str, list[Step]]]:
    """Histories without end: the name that is the seed of each, its kind and its steps."""
    number = 0
    while True:
        name, kind = f"{seed}:{number}", ("own", *KINDS)[number % 4]
        yield name, kind, deal(random.Random(name), kind, length)
        number += 1


def play_many(seed: str, *, seconds: float = 0.0, histories: int = 0, length: int = LENGTH) -> Played:
    """Play for so many seconds, or so many histories, and stop at the first that fails."""
    played, began, began_own = Played(), time.perf_counter(), time.process_time()
    for name, kind, steps in names(seed, length):
        outcome = play(name, kind, steps)
        played.histories += 1
        played.count += outcome.count
        played.seconds, played.own_seconds = time.perf_counter() - began, time.process_time() - began_own
        if outcome.wrong:
            played.failed, played.before = shorten(outcome), len(steps)
            break
        if (histories and played.histories >= histories) or (seconds and played.seconds >= seconds):
            break
    return played


def shorten(outcome: Outcome) -> Outcome:
    """Leave out whatever is not needed for something to be wrong: halves first, then fewer, until neither many steps nor one can go."""
    best = outcome
    while (shorter := _shortened(best)).steps != best.steps:
        best = shorter
    return best


def _shortened(outcome: Outcome) -> Outcome:
    best, size = outcome, max(1, len(outcome.steps) // 2)
    while True:
        before, place = len(best.steps), 0
        while place < len(best.steps):
            fewer = best.steps[:place] + best.steps[place + size :]
            found = play(best.seed, best.kind, fewer) if fewer else None
            if found is not None and found.wrong:
                best = found
            else:
                place += size
        if size == 1 and len(best.steps) == before:
            return best
        size = max(1, size // 2)


def told(outcome: Outcome) -> str:
    """A history that can be read: its steps, what happened when, and what was wrong."""
    lines = [f"history {outcome.seed} ({outcome.kind}), {len(outcome.steps)} steps:"]
    lines += [f"  {number:2}. {step}" for number, step in enumerate(outcome.steps, 1)]
    lines += ["what happened, by the second:", *(f"  {line}" for line in outcome.told)]
    return "\n".join([*lines, "wrong:", *(f"  {each}" for each in outcome.wrong)])
