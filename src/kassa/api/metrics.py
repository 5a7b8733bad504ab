"""Figures for an operator: how many requests, how long they took, how many are being served. No path, no caller, no input."""

from __future__ import annotations

import math

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, Histogram, generate_latest

from kassa.webhooks import Backlog

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUEST_SECONDS = Histogram(
    "kassa_http_request_seconds",
    "Time from the first byte of a request to the end of its answer",
    ["method", "route", "status"],
    buckets=_BUCKETS,
)
IN_FLIGHT = Gauge("kassa_http_requests_in_flight", "Requests that are being served")
STREAMS = Gauge("kassa_http_streams", "Live streams that are open")

WAITING = Gauge("kassa_events_waiting_seconds", "Age of the oldest event that the broker has not confirmed; 0 without a broker")
LATE = Gauge("kassa_deliveries_late_seconds", "For how long the oldest due delivery to a merchant has been due")
OPEN = Gauge("kassa_deliveries", "Deliveries to merchants that are not at their end", ["status"])
DEAD = Gauge("kassa_dead_letters", "Deliveries to merchants that are not tried any more")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note(method: str, route: str, status: int, seconds: float) -> None:
    """Count one served request. `route` is the template, so that the number of series stays small."""
    REQUEST_SECONDS.labels(method if method in _METHODS else "other", route, status).observe(seconds)


def note_backlog(backlog: Backlog | None) -> None:
    """Show what waits; None, where it cannot be known, shows no number."""
    WAITING.set(backlog.waiting_s if backlog else math.nan)
    LATE.set(backlog.late_s if backlog else math.nan)
    DEAD.set(backlog.dead if backlog else math.nan)
    OPEN.clear()
    for status, number in (backlog.open if backlog else {}).items():
        OPEN.labels(status).set(number)


def page() -> tuple[bytes, bytes]:
    """The figures of this process, and their content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST.encode()
