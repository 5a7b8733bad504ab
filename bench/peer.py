"""Row 3: two cart calls and an order, paid, against an established commerce engine on Node.

`make bench-peer` measures both in turn, and leaves the engine's rates in `bench/results/peer.json` for later runs of `make bench`.
Without that file the row is compared with the figure that a machine of two cores gave, and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.journey import Journeys, travel
from bench.report import Row
from bench.town import SPREAD, Town

MEASURED = Path(__file__).parent / "results" / "peer.json"
PUBLISHED = 15.0
"""Journeys per second, on the reference machine of two cores."""
AT_ONCE = 16
BUYERS = 480
PATIENCE_S = 60
_OPEN = "SELECT count(*) FROM checkouts WHERE surface = 'orders' AND status <> 'completed'"
_MADE = "SELECT count(*) FROM orders WHERE payment_status = 'paid'"


def whole_journey(
    place: Town, pairs: int, seconds: int, say: Callable[[str], None], engine: Callable[[], float] | None = None
) -> Row:
    """Two cart calls and an order, paid, against a commerce engine on Node.

    `engine` measures it now; without it an earlier figure counts.
    """
    dsn = place.stocked("kassa_shop")
    tokens = [place.token_of(user + 1) for user in range(BUYERS)]
    peer = _peer()
    ours, theirs, right, made, note = list[float](), list[float](), True, 0, ""
    with place.serving({"DATABASE_URL": dsn}) as port:
        travel(Journeys(port, tokens, SPREAD, AT_ONCE, 2))
        _wait_until_paid(place, dsn)
        before: int = place.ask(dsn, _MADE)[0][0]
        for pair in range(pairs):
            happened = travel(Journeys(port, tokens, SPREAD, AT_ONCE, seconds))
            right &= happened.statuses.keys() == {"201"} and happened.statuses["201"] % 3 == 0
            journeys = happened.statuses.get("201", 0) // 3
            answered = time.perf_counter()
            _wait_until_paid(place, dsn)
            ours.append(journeys / (happened.seconds + time.perf_counter() - answered))
            made += journeys
            note = f"{AT_ONCE} at once: a call p50 {happened.p50_ms:.0f} ms, p99 {happened.p99_ms:.0f} ms"
            theirs.append(engine() if engine else peer["per_s"][pair % len(peer["per_s"])])
            say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.1f} /s = {ours[-1] / theirs[-1]:.1f}")
        paid = place.ask(dsn, _MADE)[0][0] - before
    checks = {
        f"each of {made} journeys is an order that is paid": right and paid == made,
        "kassa verify is clean": place.verify({"DATABASE_URL": dsn}),
    }
    notes = [f"{note}; the time counts until the last order is paid", "both measured in turn" if engine else peer["says"]]
    return Row(3, "two cart calls and an order, paid,", str(peer["name"]), 30, ours, theirs, checks, notes)


def _wait_until_paid(place: Town, dsn: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while place.ask(dsn, _OPEN)[0][0]:
        if time.monotonic() > until:
            raise RuntimeError("orders stay unpaid")
        time.sleep(0.02)


def _peer() -> dict[str, Any]:
    if MEASURED.exists():
        found: dict[str, Any] = json.loads(MEASURED.read_text())
        return found
    says = f"not measured here: {PUBLISHED:.0f} /s is a figure from a machine of two cores; `make bench-peer` measures it"
    return {"name": "a commerce engine on Node", "per_s": [PUBLISHED], "says": says}
