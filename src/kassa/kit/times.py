"""How often things happen and how long they take, for an operator: counters and histograms that cost next to nothing.

The library's own look up their labels and take a lock for each number, because threads could meet there. Everything here runs on
the one thread of the event loop, a purchase leaves some twenty numbers, and each costs a look into a dictionary and an addition.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets, in seconds; what is longer falls into one more."""


class Counts(Collector):
    """The figure `name`, with `_total` behind it, at `/metrics`: a counter, by the values of `labels`.

    A label has few values that we made ourselves: each set of them is a line for as long as the process lives.
    """

    def __init__(self, name: str, about: str, labels: Sequence[str] = (), *, registry: CollectorRegistry = REGISTRY) -> None:
        self.name = name
        self.about = about
        self.labels = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {} if labels else {(): 0}
        registry.register(self)

    def note(self, *labels: str) -> None:
        """It happened once; as many `labels` as the figure has."""
        assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def describe(self) -> Iterable[Metric]:
        """Its name, for the registry."""
        return (self._family(),)

    def collect(self) -> Iterable[Metric]:
        """What was noted so far."""
        family = self._family()
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        return (family,)

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self.name, self.about, labels=self.labels)


class Line:
    """The numbers of one set of labels."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, seconds: float) -> None:
        """Something took so long."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Show them as Prometheus counts: each bucket with all that is in the smaller ones."""
        ends = [*(str(bound) for bound in self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(ends, accumulate(self._counts), strict=True)), self._sum)


class Times(Collector):
    """The figure `name` at `/metrics`: a histogram of seconds, by the values of `labels`; see `Counts` about these."""

    def __init__(
        self,
        name: str,
        about: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float] = BOUNDS,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.name = name
        self.about = about
        self.labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._lines: dict[tuple[str, ...], Line] = {} if labels else {(): Line(self._bounds)}
        registry.register(self)

    def note(self, seconds: float, *labels: str) -> None:
        """Something took so many seconds; as many `labels` as the figure has."""
        line = self._lines.get(labels)
        if line is None:
            assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"
            line = self._lines[labels] = Line(self._bounds)
        line.note(seconds)

    def describe(self) -> Iterable[Metric]:
        """Its name, for the registry."""
        return (self._family(),)

    def collect(self) -> Iterable[Metric]:
        """What was noted so far."""
        family = self._family()
        for labels, line in self._lines.items():
            line.add_to(family, labels)
        return (family,)

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.about, labels=self.labels)
