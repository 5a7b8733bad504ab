"""A row of the table, and how it is printed."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.town import Town


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` and `theirs` are rates per second, measured in turn; the ratio is taken pair by pair."""

    number: int
    what: str
    against: str
    target: float
    ours: list[float]
    theirs: list[float]
    checks: dict[str, bool]
    notes: list[str] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """One ratio a pair."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(self.ratios)

    @property
    def correct(self) -> bool:
        """Whether every correctness check held."""
        return all(self.checks.values())

    def as_json(self) -> dict[str, Any]:
        """The row with every measurement."""
        return {
            "row": self.number, "what": self.what, "against": self.against, "target": self.target,
            "ratio": round(self.ratio, 3), "ratios": [round(each, 3) for each in self.ratios],
            "ours_per_s": [round(each) for each in self.ours], "theirs_per_s": [round(each) for each in self.theirs],
            "checks": self.checks, "notes": self.notes,
        }  # fmt: skip


def head(place: Town) -> dict[str, str]:
    """What was measured on."""
    return {
        "processors": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "postgresql": place.version,
    }


def table(machine: dict[str, str], rows: list[Row]) -> str:
    """The table as text; one line a row, then its checks and notes."""
    lines = ["", "  ".join(f"{name} {value}" for name, value in machine.items()), ""]
    lines.append(f"{'row':>3}  {'ours /s':>9}  {'against /s':>10}  {'ratio':>6}  {'spread':>13}  {'must':>5}  what")
    for row in rows:
        spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
        verdict = "" if row.ratio >= row.target else "  BELOW TARGET"
        ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
        lines.append(
            f"{row.number:>3}  {ours:>9.0f}  {theirs:>10.0f}  {row.ratio:>6.2f}  {spread:>13}  {row.target:>5}  "
            f"{row.what} against {row.against}{verdict}"
        )
        lines += [f"     {'ok ' if held else 'NOT'} {check}" for check, held in row.checks.items()]
        lines += [f"     {note}" for note in row.notes]
    return "\n".join(lines)
