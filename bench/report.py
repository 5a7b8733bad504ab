"""A row of the table, what it was measured on, and how both are printed."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kassa import __version__

if TYPE_CHECKING:
    from bench.town import Town


@dataclass(frozen=True, slots=True)
class Row:
    """`ours` and `theirs` were measured in turn, in `unit`; the ratio is taken pair by pair.

    Where less is better (`at_most`), `theirs` is what is allowed, and the ratio says how often ours fits into it.
    """

    number: int
    what: str
    against: str
    target: float
    ours: list[float]
    theirs: list[float]
    checks: dict[str, bool]
    notes: list[str] = field(default_factory=list)
    unit: str = "/s"
    at_most: bool = False
    waiting: list[dict[str, Any]] = field(default_factory=list)
    """What buyers wait at a steady rate: its share of the capacity, the rate, and the times in milliseconds by their share."""

    @property
    def ratios(self) -> list[float]:
        """One ratio a pair."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [other / mine if self.at_most else mine / other for mine, other in pairs]

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
            "ours": [round(each, 1) for each in self.ours], "theirs": [round(each, 1) for each in self.theirs],
            "unit": self.unit, "waiting": self.waiting, "checks": self.checks, "notes": self.notes,
        }  # fmt: skip


def head(place: Town) -> dict[str, str]:
    """What was measured on."""
    return {
        "kassa": __version__,
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": place.version,
        **{name: version(name) for name in ("asyncpg", "uvicorn", "fastapi", "aiohttp", "sqlalchemy", "httpx2", "grpcio")},
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(machine: dict[str, str], rows: list[Row]) -> str:
    """The table as text; one line a row, then its checks and notes."""
    lines = ["", "  ".join(f"{name} {value}" for name, value in machine.items()), ""]
    lines.append(f"{'row':>3}  {'ours':>12}  {'against':>12}  {'ratio':>6}  {'spread':>14}  {'must':>5}  what")
    for row in rows:
        spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
        verdict = "" if row.ratio >= row.target else "  BELOW TARGET"
        ours, theirs = (f"{statistics.median(side):.4g} {row.unit}" for side in (row.ours, row.theirs))
        lines.append(
            f"{row.number:>3}  {ours:>12}  {theirs:>12}  {row.ratio:>6.2f}  {spread:>14}  {row.target:>5}  "
            f"{row.what} against {row.against}{verdict}"
        )
        lines += [f"     {'ok ' if held else 'NOT'} {check}" for check, held in row.checks.items()]
        lines += [f"     {note}" for note in row.notes]
        lines += [f"     {waited(each)}" for each in row.waiting]
    return "\n".join(lines)


def waited(each: dict[str, Any]) -> str:
    """What buyers wait at one rate, as a sentence."""
    times = ", ".join(f"{name} {ms:.0f} ms" for name, ms in each["times_ms"].items())
    return f"at a steady {each['rate']:.0f} /s, {each['share']:.0%} of what it can: {times}"
