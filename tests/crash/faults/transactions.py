"""Transactions that stay open: somebody's report holds an old snapshot, callers leave in the middle (F42, F44)."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from tests import rig
from tests.crash.asking import Broken, speak
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.history import History

WARM, LOAD = 40, 300
GROWTH = 2.0
IDLE_S = 5.0
_IDLE = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0)::float8 FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'kassa' AND state LIKE 'idle in transaction%'
"""
_DEAD = (
    "SELECT sum(n_dead_tup)::int AS n FROM pg_stat_user_tables WHERE relname IN ('checkouts', 'payments', 'orders', 'stock_levels')"
)


@fault(
    "F42",
    "A long transaction keeps PostgreSQL from clearing up",
    holds="5 7",
    passes="buying grows slower by less than twice; the age of the snapshot is a figure to alert on",
    alone=True,
)
def long_transaction(field: Field) -> None:
    town = field.town("payment", METRICS_TOKEN="a-token-for-figures")
    server, history = town.born("dev"), History()
    before = _seconds_each(field, server, history, WARM)
    with psycopg.connect(town.dsn) as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT count(*) FROM orders")
        began = time.monotonic()

        def one(run: Run) -> None:
            _seconds_each(field, server, history, LOAD // field.runs, at_once=8)
            rig.query(town.dsn, "VACUUM checkouts")
            rig.query(town.dsn, "VACUUM stock_levels")
            shown = server.client().get("/metrics").text
            age = next(
                (float(line.split()[1]) for line in shown.splitlines() if line.startswith("kassa_oldest_snapshot_seconds ")), -1
            )
            run.check(age >= time.monotonic() - began - 5, f"the figure says {age}")

        field.each(one)
        kept = town.ask(_DEAD)[0]["n"]
        after = _seconds_each(field, server, history, WARM)
    field.measure("dead rows that could not be cleared", kept)
    field.measure("one purchase before, and after", f"{before * 1000:.0f}, {after * 1000:.0f} ms")
    field.check(kept > LOAD, f"only {kept} dead rows: nothing was held up")
    field.check(after <= GROWTH * before, f"one purchase took {before:.3f} s before, {after:.3f} s after")
    field.judge(town, server, history)


@fault(
    "F44",
    "Callers leave in the middle, at any moment",
    holds="3 5 6",
    passes="no transaction stays open; who asks again is served",
    runs=200,
)
def callers_leave(field: Field) -> None:
    town = field.town("payment")
    server, history = town.born("dev"), History()
    over, longest = threading.Event(), [0.0]

    def watch() -> None:
        with psycopg.connect(town.dsn, autocommit=True) as line:
            while not over.is_set():
                found = line.execute(_IDLE).fetchone()
                longest[0] = max(longest[0], float(found[0]) if found else 0)
                over.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()

    def one(run: Run) -> None:
        buyer = field.buyer()
        ask = buyer.buys() if run.number % 2 else buyer.puts("prod_001", 1)
        with contextlib.suppress(Broken, TimeoutError):
            speak(server, ask, run.chance.uniform(0.001, 0.15))
        said = history.insist([server], ask, 20)
        run.check(said is not None and said.status in {200, 201}, f"asked again: {said}")

    try:
        field.each(one, at_once=8)
        time.sleep(0.5)
    finally:
        over.set()
        watcher.join()
    left = town.ask(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'"
    )
    field.check(left == [{"n": 0}], f"transactions that are open at the end: {left}")
    field.check(longest[0] <= IDLE_S, f"a transaction lay idle for {longest[0]:.1f} s")
    field.measure("longest idle in a transaction", f"{longest[0]:.2f} s")
    field.judge(town, server, history)


def _seconds_each(field: Field, server: rig.Server, history: History, times: int, *, at_once: int = 1) -> float:
    """Buy so often; the middle one's seconds."""

    def buy(_: int) -> float:
        began = time.monotonic()
        history.insist([server], field.buyer().buys())
        return time.monotonic() - began

    with ThreadPoolExecutor(at_once) as pool:
        took = sorted(pool.map(buy, range(times)))
    return took[len(took) // 2]
