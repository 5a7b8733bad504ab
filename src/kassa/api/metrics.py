"""Figures for an operator: how many requests, how long they took, how many are being served. No path, no caller, no input."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

from kassa.verify import Seen
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
SNAPSHOT = Gauge("kassa_oldest_snapshot_seconds", "For how long the oldest open transaction keeps PostgreSQL from clearing up")
DEAD = Gauge("kassa_dead_letters", "Deliveries to merchants that are not tried any more")

BREACHES = Gauge("kassa_invariant_breaches", "Breaches of an invariant that the watch knows of", ["invariant"])
LOOKED = Gauge("kassa_invariant_age_seconds", "Time since the watch last looked at all of an invariant", ["invariant"])
LOOK_SECONDS = Gauge("kassa_invariant_look_seconds", "Time of the database that the last whole look took", ["invariant"])

REFUSED_CARDS = Counter(
    "kassa_cards_refused", "Cards that were not tried, by the measure that was full: card, buyer, address or shop", ["by"]
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note(method: str, route: str, status: int, seconds: float) -> None:
    """Count one served request. `route` is the template, so that the number of series stays small."""
    REQUEST_SECONDS.labels(method if method in _METHODS else "other", route, status).observe(seconds)


def note_refused_card(by: str) -> None:
    """Count a card that was not tried because the measure `by` was full."""
    REFUSED_CARDS.labels(by).inc()


def note_backlog(backlog: Backlog | None) -> None:
    """Show what waits; None, where it cannot be known, shows no number."""
    WAITING.set(backlog.waiting_s if backlog else math.nan)
    LATE.set(backlog.late_s if backlog else math.nan)
    DEAD.set(backlog.dead if backlog else math.nan)
    OPEN.clear()
    for status, number in (backlog.open if backlog else {}).items():
        OPEN.labels(status).set(number)


def note_invariants(seen: Iterable[Seen]) -> None:
    """Show what the watch over the invariants saw last; nothing before it has seen anything."""
    for gauge in (BREACHES, LOOKED, LOOK_SECONDS):
        gauge.clear()
    for each in seen:
        name = str(each.invariant)
        BREACHES.labels(name).set(each.breaches)
        LOOKED.labels(name).set(math.nan if each.age_s is None else each.age_s)
        LOOK_SECONDS.labels(name).set(each.took_s)


def page() -> tuple[bytes, bytes]:
    """The figures of this process, and their content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST.encode()
