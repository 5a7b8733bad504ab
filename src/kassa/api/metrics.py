"""Figures for an operator: how many requests, how long they took, how many are being served. No path, no caller, no input."""

from __future__ import annotations

import platform

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from kassa import __version__
from kassa.kit.times import Times

disable_created_metrics()  # type: ignore[no-untyped-call] # when each series began: twice the lines, and nobody asks

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUEST_SECONDS = Times(
    "kassa_http_request_seconds",
    "Time from the first byte of a request to the end of its answer",
    ["method", "route", "status"],
    bounds=_BUCKETS,
)
IN_FLIGHT = Gauge("kassa_http_requests_in_flight", "Requests that are being served")
STREAMS = Gauge("kassa_http_streams", "Live streams that are open")
REFUSED_CARDS = Counter(
    "kassa_cards_refused", "Cards that were not tried, by the measure that was full: card, buyer, address or shop", ["by"]
)
BUILD = Gauge("kassa_build_info", "1, with the version that runs here", ["version", "python"])
BUILD.labels(__version__, platform.python_version()).set(1)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note(method: str, route: str, status: int, seconds: float) -> None:
    """Count one served request. `route` is the template, so that the number of series stays small."""
    REQUEST_SECONDS.note(seconds, method if method in _METHODS else "other", route, str(status))


def note_refused_card(by: str) -> None:
    """Count a card that was not tried because the measure `by` was full."""
    REFUSED_CARDS.labels(by).inc()


def page() -> tuple[bytes, bytes]:
    """The figures of this process, and their content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST.encode()
