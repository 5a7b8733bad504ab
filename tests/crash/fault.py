"""The catalogue of faults: what can go wrong, what must hold all the same, and the scenario that shows it.

A scenario is a function that plays its fault on a `Field` (`field.py`) as often as the field wants, and says what was wrong. It is
registered under the fault's number by `fault(...)`; the files in `faults/` are the catalogue, one chapter each. `python -m tests.crash` plays
them and writes `docs/faults.md`; `test_faults.py` plays a small share of them in every run of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .field import Field

Play = Callable[["Field"], None]
RUNS = 20
RACES = 1000
NUMBERS = tuple(f"F{number:02}" for number in range(1, 81))
"""Every fault of the catalogue."""


@dataclass(frozen=True)
class Fault:
    """One fault. `holds` are the invariants that it threatens, `passes` is the line that it must not cross, in words.

    `runs` is how often it is played at least, `quick` how often in an ordinary run of the tests (0: not at all). `p95_s`: the 95th of a
    hundred recoveries takes so many seconds at most. `alone`: nothing else may run meanwhile, because it measures times.
    """

    number: str
    says: str
    holds: str
    passes: str
    play: Play
    runs: int = RUNS
    quick: int = 0
    p95_s: float | None = None
    alone: bool = False

    @property
    def name(self) -> str:
        """The scenario's own name."""
        return self.play.__name__


@dataclass
class Result:
    """What came of playing one fault: how often, what was wrong, how long recoveries took, and what else was measured."""

    number: str
    runs: int = 0
    wrong: list[str] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)
    measured: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0
    seed: int = 0
    skipped: str = ""
    """Why it was not played here, if it was not: a right or a tool that this machine does not give."""

    def percentile(self, share: float) -> float | None:
        """Seconds within which this share of all recoveries came to their end; None where nothing was to recover."""
        if not self.recovered_s:
            return None
        ordered = sorted(self.recovered_s)
        return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


FAULTS: dict[str, Fault] = {}
"""Scenarios by the number of their fault."""
IMPOSSIBLE: dict[str, tuple[str, str]] = {}
"""Faults that cannot be injected on one machine: what they are, and why not."""


def fault(number: str, says: str, *, holds: str, passes: str, **options: Any) -> Callable[[Play], Play]:
    """Register a scenario. `options` are the other members of `Fault`."""

    def register(play: Play) -> Play:
        assert number in NUMBERS, number
        assert number not in FAULTS, f"{number} is played twice"
        FAULTS[number] = Fault(number, says, holds, passes, play, **options)
        return play

    return register


def impossible(number: str, says: str, *, because: str) -> None:
    """Say that a fault cannot be injected here."""
    IMPOSSIBLE[number] = (says, because)
