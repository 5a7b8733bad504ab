"""The machine in figures: connections, transactions, neighbours, the event loop, the log. Shown at `/metrics`, kept nowhere.

They count what this process did since it began. Names of transactions and neighbours are ours, so the series stay few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

from prometheus_client import Counter, Gauge

from kassa.kit.times import Times

T = TypeVar("T")
_LOOK_S: Final = 0.5

POOL_WAIT: Final = Times("kassa_pool_wait_seconds", "Time until a connection of the pool was free")
TRANSACTION: Final = Times(
    "kassa_transaction_seconds",
    "Time that a transaction held its connection, by its name; `one statement` for a question outside any",
    ["transaction"],
)
STATEMENT: Final = Times("kassa_statement_seconds", "Time from sending a statement to its answer")
DATABASE_ERRORS: Final = Counter(
    "kassa_database_errors", "Transactions that the database ended, by the class of the error", ["error"]
)
NEIGHBOUR: Final = Times(
    "kassa_neighbour_seconds",
    "Time of a call to a neighbour service: answered, error (5xx), silent, unsent or spared (its breaker was open)",
    ["neighbour", "outcome"],
)
REDIS_UNANSWERED: Final = Counter(
    "kassa_redis_unanswered", "Questions to Redis in vain; those who were told at the same moment count as one"
)
SECRET_ROTATING: Final = Gauge("kassa_secret_rotating", "1 while the former one of a secret is still believed", ["secret"])
LOOP_LAG: Final = Times("kassa_event_loop_lag_seconds", "How late the event loop was when it was looked at")
WORKER_BEAT: Final = Gauge(
    "kassa_worker_last_turn_timestamp_seconds", "When a worker last ended a look at what there was to do", ["worker", "act"]
)
WORKER_EVERY: Final = Gauge("kassa_worker_every_seconds", "How long a worker rests at most between two looks", ["worker", "act"])
WORKER_TURN: Final = Times("kassa_worker_turn_seconds", "Time of a turn of a worker", ["worker", "act"])
WORKER_FOUND: Final = Counter("kassa_worker_found", "What a worker found to do", ["worker", "act"])
WORKER_FAILURES: Final = Counter("kassa_worker_failures", "Turns of a worker that failed", ["worker"])
LOG_LINES: Final = Counter("kassa_log_lines", "Lines written to the log", ["level"])
for _level in ("warning", "error", "critical"):
    LOG_LINES.labels(_level)  # an alert sees an increase only of what was there before


async def timed(answer: Awaitable[T]) -> T:
    """Wait for the answer to a statement, and note how long that took, whatever came of it."""
    began = time.perf_counter()
    try:
        return await answer
    finally:
        STATEMENT.note(time.perf_counter() - began)


def beat(worker: str, act: str) -> None:
    """A worker has just looked, and done what it found."""
    WORKER_BEAT.labels(worker, act).set_to_current_time()


async def watch_loop() -> None:
    """Look twice a second how late the event loop is, until this is cancelled: what holds it up holds up everybody."""
    while True:
        due = time.perf_counter() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        LOOP_LAG.note(max(0.0, time.perf_counter() - due))
