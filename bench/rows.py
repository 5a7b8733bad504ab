"""Rows 1, 5 and 6, and the list of all rows."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from bench.bodies import checkout, two
from bench.calls import CallPlan, fire_calls
from bench.full import with_many_orders
from bench.idle import idle_and_started
from bench.load import Plan, fire
from bench.merchants import events_to_merchants
from bench.neighbours import with_neighbours
from bench.peer import whole_journey
from bench.report import Row
from bench.steady import Steady, keep_coming
from bench.town import HOT, SPREAD, Town
from bench.yardstick import pgbench

Say = Callable[[str], None]
TABLES = (
    "idempotency_keys", "checkouts", "checkout_steps", "orders", "order_lines", "order_timeline", "payments", "reservations",
    "ledger_entries", "ledger_postings", "stock_journal", "event_counters", "events",
)  # fmt: skip
AT_ONCE = 16
CLIENTS = (4, 8, 16)
SHARES = (0.5, 0.8)
"""Of the capacity: at these rates it is measured what buyers wait."""


def checkout_against_pgbench(place: Town, pairs: int, seconds: int, say: Say) -> Row:
    """A whole checkout over HTTP (token, key, ledger, events) against pgbench writing the same rows with the same commits."""
    plan = Plan(place.port, "/checkout/process", place.token, [checkout(*two()) for _ in range(500)], AT_ONCE, seconds)
    warm = fire(replace(plan, seconds=2))
    say(f"  warmed up: {warm.per_second:.0f} /s, {warm.statuses}")
    best = max(CLIENTS, key=lambda clients: pgbench(place.yard, clients, 2, CLIENTS.index(clients) + 1))
    before = _counts(place, place.dsn), _counts(place, place.yard)
    ours, theirs, notes, wrong = [], [], [], 0
    for pair in range(pairs):
        happened = fire(plan)
        ours.append(happened.per_second)
        wrong += sum(count for status, count in happened.statuses.items() if status != "200")
        theirs.append(pgbench(place.yard, best, seconds, 10 + pair))
        say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} /s = {ours[-1] / theirs[-1]:.2f}")
        notes = [f"{AT_ONCE} at once: p50 {happened.p50_ms:.0f} ms, p99 {happened.p99_ms:.0f} ms; pgbench with {best} clients"]
    after = _counts(place, place.dsn), _counts(place, place.yard)
    waiting = [_waiting(plan, statistics.median(ours), share, say) for share in SHARES]
    mine, other = _per_checkout(before[0], after[0]), _per_checkout(before[1], after[1])
    widths = _width(place, place.dsn, mine), _width(place, place.yard, other)
    checks = {
        "every answer is 200": wrong == 0 and all(each["statuses"] == {"200": each["due"]} for each in waiting),
        f"the same rows per checkout on both sides ({sum(mine.values()):.0f} in {len(TABLES)} tables)": mine == other,
        f"as wide on both sides ({widths[0]:.0f} and {widths[1]:.0f} bytes, 5 % apart at most)": 0.95
        <= widths[0] / widths[1]
        <= 1.05,
        "kassa verify is clean": place.verify(),
    }
    if mine != other:
        notes.append(f"rows differ: {[(t, mine[t], other[t]) for t in TABLES if mine[t] != other[t]]}")
    what, against = "checkout over HTTP, everything local,", "pgbench, the same rows and commits"
    return Row(1, what, against, 0.5, ours, theirs, checks, notes, waiting=waiting)


def _waiting(plan: Plan, capacity: float, share: float, say: Say) -> dict[str, Any]:
    rate = capacity * share
    waited = keep_coming(Steady(plan.port, plan.path, plan.token, plan.bodies, rate, max(10.0, plan.seconds * 2)))
    say(f"  at a steady {rate:.0f} /s: {waited.times_ms}")
    return {"share": share, "rate": round(rate, 1), **asdict(waited)}


def one_hot_product(place: Town, pairs: int, seconds: int, say: Say) -> Row:
    """200 buyers on one product against 200 buyers spread over ten thousand products."""
    del seconds
    pieces, buyers = 1500, 200
    hot = Plan(place.port, "/checkout/process", place.token, [checkout(HOT)], buyers, 120, pieces + buyers)
    spread_bodies = [checkout(f"p{random.randint(1, SPREAD)}") for _ in range(2000)]
    spread = Plan(place.port, "/checkout/process", place.token, spread_bodies, buyers, 120, pieces + buyers)
    ours, theirs, exact = [], [], True
    for pair in range(pairs):
        _leave_in_stock(place, pieces)
        happened = fire(hot)
        exact &= happened.statuses == {"200": pieces, "422": buyers} and _in_stock(place) == (0, 0)
        ours.append(happened.per_second)
        theirs.append(fire(spread).per_second)
        say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} /s = {ours[-1] / theirs[-1]:.2f}")
    checks = {
        f"each time exactly {pieces} of {pieces} sold, {buyers} clean refusals": exact,
        "kassa verify is clean": place.verify(),
    }
    return Row(5, "200 buyers on one product", f"spread over {SPREAD} products", 0.5, ours, theirs, checks)


def keyed_payment_over_grpc(place: Town, pairs: int, seconds: int, say: Say) -> Row:
    """`RequestPayment`, durable, against a bare gRPC handler with one insert."""
    ours, theirs, notes, wrong, accepted = [], [], [], 0, 0
    with place.rpc() as port, place.bare() as bare:
        fire_calls(CallPlan(port, AT_ONCE, 2))
        fire_calls(CallPlan(bare, AT_ONCE, 2))
        before = _keyed(place)
        for pair in range(pairs):
            happened = fire_calls(CallPlan(port, AT_ONCE, seconds))
            ours.append(happened.per_second)
            accepted += happened.statuses.get("200", 0)
            wrong += sum(count for status, count in happened.statuses.items() if status != "200")
            theirs.append(fire_calls(CallPlan(bare, AT_ONCE, seconds)).per_second)
            say(f"  pair {pair + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} /s = {ours[-1] / theirs[-1]:.2f}")
            times = f"p50 {happened.p50_ms:.0f} ms, p99 {happened.p99_ms:.0f} ms"
            notes = [f"{AT_ONCE} at once, as deployed (GRPC_PAYMENT_PROVIDER=external): {times}"]
        made = {name: count - before[name] for name, count in _keyed(place).items()}
    checks = {
        "every answer is OK": wrong == 0,
        f"one payment and one event for each of {accepted} answers": made == {"payments": accepted, "events": accepted},
        "kassa verify is clean": place.verify(),
    }
    return Row(6, "gRPC RequestPayment, durable,", "a bare gRPC handler with one insert", 0.6, ours, theirs, checks, notes)


def _keyed(place: Town) -> dict[str, int]:
    sql = """SELECT (SELECT count(*) FROM payments WHERE ref_kind = 'grpc') AS payments,
                    (SELECT count(*) FROM events e JOIN payments p ON e.subject = 'payment:' || p.payment_id
                      WHERE p.ref_kind = 'grpc') AS events"""
    [row] = place.ask(place.dsn, sql)
    return dict(row)


ROWS: dict[int, Callable[[Town, int, int, Say], Row | list[Row]]] = {
    1: checkout_against_pgbench,
    2: with_neighbours,
    3: whole_journey,
    4: with_many_orders,
    5: one_hot_product,
    6: keyed_payment_over_grpc,
    7: events_to_merchants,
    8: idle_and_started,
}


def _counts(place: Town, dsn: str) -> dict[str, int]:
    return {table: place.ask(dsn, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES}


def _per_checkout(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    made = after["checkouts"] - before["checkouts"]
    return {table: round((after[table] - before[table]) / made, 3) for table in TABLES}


def _width(place: Town, dsn: str, rows: dict[str, float]) -> float:
    """Bytes of one checkout's rows, by the newest of each table."""
    newest = "SELECT coalesce(avg(pg_column_size(r.*)), 0) AS width FROM (SELECT * FROM {} ORDER BY ctid DESC LIMIT 300) r"
    return sum(rows[table] * float(place.ask(dsn, newest.format(table))[0]["width"]) for table in TABLES)


def _leave_in_stock(place: Town, pieces: int) -> None:
    """Set the hot product to `pieces`, with the journal line that explains it."""
    sql = """
        WITH was AS (SELECT available FROM stock_levels WHERE product_id = $1), noted AS (
            INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
            SELECT '1', 'shop', $1, 'adjusted', gen_random_uuid()::text, $2 - available, now() FROM was WHERE available <> $2)
        UPDATE stock_levels SET available = $2 WHERE product_id = $1
    """
    place.ask(place.dsn, sql, HOT, pieces)


def _in_stock(place: Town) -> tuple[int, int]:
    """What can be had of the hot product, and what is held of it."""
    sql = """SELECT available, (SELECT count(*) FROM reservations r WHERE r.product_id = $1 AND r.state = 'held') AS held
               FROM stock_levels WHERE product_id = $1"""
    [row] = place.ask(place.dsn, sql, HOT)
    return row["available"], row["held"]
