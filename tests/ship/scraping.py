"""Reading `/metrics` as Prometheus does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
from prometheus_client.parser import text_string_to_metric_families

WITHIN_S = 40


@dataclass(frozen=True)
class Page:
    """The figures of one process at one moment."""

    samples: tuple[tuple[str, dict[str, str], float], ...]

    def of(self, name: str, **labels: str) -> list[float]:
        """The values of the series of this name with these labels."""
        return [value for found, its, value in self.samples if found == name and labels.items() <= its.items()]

    def sum(self, name: str, **labels: str) -> float:
        """All of them together; 0 for none. What is not known is nothing."""
        return sum(value for value in self.of(name, **labels) if not math.isnan(value))

    def names(self) -> set[str]:
        """The names of all series."""
        return {name for name, _, _ in self.samples}


def scrape(url: str, **headers: str) -> Page:
    """What is shown there now."""
    answer = httpx2.get(f"{url}/metrics", headers=headers, trust_env=False, timeout=10)
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return Page(tuple((sample.name, sample.labels, sample.value) for family in families for sample in family.samples))


def until(look: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait until it is so."""
    end = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)
