"""Charts as shapes: bars of two days side by side, placed here and drawn by a template as SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 120
SLOT, BAR = 28, 12
_TALLEST = 112


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its corner, its size, and whether it is of `now` or of `before`."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars in a field of `width` by `height`; `labels` are places on the lower edge with what stands there."""

    width: int
    height: int
    bars: Sequence[Bar]
    labels: Sequence[tuple[int, str]]


def hours(now: Sequence[tuple[int, str]], before: Sequence[tuple[int, str]]) -> Chart:
    """24 hours of today and yesterday: values with what is said of each. All heights are parts of the highest value of both."""
    top = max((value for value, _ in (*now, *before)), default=0)
    bars = []
    for hour, (yesterday, today) in enumerate(zip(before, now, strict=True)):
        for place, (kind, (value, said)) in enumerate((("before", yesterday), ("now", today))):
            if value:
                height = max(2, value * _TALLEST // top)
                bars.append(Bar(hour * SLOT + place * BAR + 2, HEIGHT - height, BAR - 1, height, kind, said))
    labels = [(hour * SLOT + BAR, f"{hour:02}") for hour in range(0, 24, 3)]
    return Chart(24 * SLOT, HEIGHT, bars, labels)


def share(value: int, most: int) -> int:
    """How long a lying bar is, in percent of the longest."""
    return max(1, value * 100 // most) if value and most else 0
