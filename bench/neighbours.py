"""Row 2: `/checkout/process` with payment, inventory and order services over HTTP, against the usual stack."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

from bench.bodies import checkout, two
from bench.load import Happened, Plan, fire
from bench.report import Row
from bench.town import Town

AT_ONCE = 16
WIDE = "card=1000,buyer=1000,address=1000,shop=1000"
"""The measures of cards are kept as in production, but hold as much as one card from one address needs here."""
CALLS = ("/payments/process", "/inventory/deduct", "/orders")


def with_neighbours(place: Town, pairs: int, seconds: int, say: Callable[[str], None]) -> Row:
    """`/checkout/process` with three services over HTTP against a plain service with the same stubs."""
    dsn, bodies = place.stocked("kassa_near"), [checkout(*two(), priced=True) for _ in range(500)]
    ours, theirs, all_once, waits = list[float](), list[float](), True, []
    with place.stubs() as stubs, place.plain(stubs) as plain:
        url = f"http://127.0.0.1:{stubs}"
        settings = {
            "DATABASE_URL": dsn,
            "PAYMENT_SERVICE_URL": url,
            "INVENTORY_SERVICE_URL": url,
            "ORDER_SERVICE_URL": url,
            "CARD_LIMITS": WIDE,
        }
        with place.serving(settings) as port:
            sides = [Plan(at, "/checkout/process", place.token, bodies, AT_ONCE, seconds) for at in (port, plain)]
            for side in sides:
                fire(Plan(side.port, side.path, side.token, bodies, AT_ONCE, 2))
            for pair in range(pairs):
                for side, rates in zip(sides, (ours, theirs), strict=True):
                    before = _counts(stubs)
                    happened = fire(side)
                    all_once &= _each_called_once(happened, before, _counts(stubs))
                    rates.append(happened.per_second)
                    waits.append(happened.p50_ms)
                say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.1f} /s = {ours[-1] / theirs[-1]:.1f}")
        checks = {
            "every answer is 200, for one charge, one deduction and one order at the neighbours, on both sides": all_once,
            "every checkout that was begun is completed, on both sides": _all_ended(place, dsn),
            "kassa verify is clean": place.verify(settings),
        }
    notes = [f"{AT_ONCE} at once: p50 {waits[-2]:.0f} ms, the plain service {waits[-1]:.0f} ms; it writes one row, twice"]
    what, against = "/checkout/process with three services over HTTP", "a plain service (async ORM, a new HTTP client a call)"
    return Row(2, what, against, 15, ours, theirs, checks, notes)


def _counts(stubs: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stubs}/counts", timeout=5) as answer:
        found: dict[str, int] = json.loads(answer.read())
        return found


def _each_called_once(happened: Happened, before: dict[str, int], after: dict[str, int]) -> bool:
    answers = happened.statuses.get("200", 0)
    calls = [after.get(path, 0) - before.get(path, 0) for path in CALLS]
    return happened.statuses == {"200": answers} and calls == [answers] * len(CALLS)


def _all_ended(place: Town, dsn: str) -> bool:
    [mine] = place.ask(dsn, "SELECT count(*) AS begun, count(*) FILTER (WHERE status = 'completed') AS ended FROM checkouts")
    sql = "SELECT count(*) AS begun, count(*) FILTER (WHERE status = 'completed') AS ended FROM plain_checkouts"
    [other] = place.ask(place.yard, sql)
    return bool(mine["begun"] == mine["ended"] > 0 and other["begun"] == other["ended"] > 0)
