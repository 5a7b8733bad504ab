"""Row 4: checkouts in a database as full as after years of trade, against the same in an empty one."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace

from bench.bodies import checkout, two
from bench.fill import fill
from bench.journey import Journeys, travel
from bench.load import Plan, fire
from bench.report import Row
from bench.town import SPREAD, Town

AT_ONCE = 16
USUAL = 200_000
TEMPLATES = 20
BYTES = 10_000
"""That an order takes with everything that belongs to it, its indexes and the journal of the server while it is written."""


def with_many_orders(place: Town, pairs: int, seconds: int, say: Callable[[str], None]) -> Row:
    """Checkouts with many orders in the database against none; how many is said by `ORDERS`."""
    orders = int(os.environ.get("ORDERS", "") or USUAL)
    look_for_room(place, orders)
    full, empty = place.stocked("kassa_full"), place.stocked("kassa_empty")
    took = fill_up(place, full, orders)
    say(f"  {orders:,} orders in {took:.0f} s")
    with place.serving({"DATABASE_URL": full}) as port, place.serving({"DATABASE_URL": empty}) as other:
        ours, theirs, right = in_turn(place, (port, other), pairs, seconds, say)
        stands = int(place.ask(full, "SELECT count(*) FROM orders WHERE order_number LIKE 'FILL-%'")[0][0])
        checks = {
            "every answer is 200": right,
            f"{orders:,} orders stand in the full one": stands == orders,
            "kassa verify is clean in the full one": place.verify({"DATABASE_URL": full}, patience_s=3 * 3600),
            "kassa verify is clean in the other": place.verify({"DATABASE_URL": empty}),
        }
    size = place.ask(full, "SELECT pg_size_pretty(pg_database_size(current_database()))")[0][0]
    notes = [f"filled in {took:.0f} s, {size}; ORDERS=10000000 for ten million"]
    for dsn in (full, empty):
        place.drop(dsn)
    return Row(4, f"checkouts with {orders:,} orders in the database", "an empty database", 0.9, ours, theirs, checks, notes)


def in_turn(
    place: Town, ports: tuple[int, int], pairs: int, seconds: int, say: Callable[[str], None]
) -> tuple[list[float], list[float], bool]:
    """Checkouts per second at the one port and at the other, and whether every answer was 200."""
    bodies, right = [checkout(*two()) for _ in range(500)], True
    plans = [Plan(port, "/checkout/process", place.token, bodies, AT_ONCE, seconds) for port in ports]
    for plan in plans:
        fire(replace(plan, seconds=3))
    ours, theirs = list[float](), list[float]()
    for pair in range(pairs):
        for plan, rates in zip(plans, (ours, theirs), strict=True):
            happened = fire(plan)
            right &= happened.statuses.keys() == {"200"}
            rates.append(happened.per_second)
        say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} /s = {ours[-1] / theirs[-1]:.2f}")
    return ours, theirs, right


def fill_up(place: Town, dsn: str, orders: int) -> float:
    """Buy some, then repeat them until there are so many orders more; the seconds of the repeating."""
    buy_some(place, dsn)
    began = time.monotonic()
    asyncio.run(fill(dsn, orders, templates=TEMPLATES))
    return time.monotonic() - began


def look_for_room(place: Town, orders: int) -> None:
    """End here when the disk has no room for so many orders."""
    free, wanted = shutil.disk_usage(place.home).free, orders * BYTES
    if free < wanted:
        there = f"{place.home.parent} has {free / 1e9:.0f}; TMPDIR names another folder"
        raise SystemExit(f"{orders:,} orders need some {wanted / 1e9:.0f} GB and {there}")


def buy_some(place: Town, dsn: str) -> None:
    """The purchases that are to be repeated: half of them in one call, the others from carts."""
    with place.serving({"DATABASE_URL": dsn}) as port:
        fire(Plan(port, "/checkout/process", place.token, [checkout(*two()) for _ in range(20)], 1, 30, TEMPLATES // 2))
        tokens = [place.token_of(user + 1) for user in range(TEMPLATES // 2)]
        travel(Journeys(port, tokens, SPREAD, 1, 0.2))
        time.sleep(1)  # the last order is paid a moment after its answer
