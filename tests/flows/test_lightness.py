"""What a purchase costs a process beside its statements: plans, garbage, memory. Generous bounds; what they catch is many times more.

The application is called as a server calls it, without a client that would leave garbage of its own.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests import rig

from kassa.bootstrap import Kassa, assemble
from kassa.settings import Settings

GARBAGE_OF_TEN, PEAK_OF_ONE, LEFT_OF_ONE = 100, 800_000, 3_000
"""Objects in cycles; bytes at the most at once, and bytes still held afterwards."""

_keys = itertools.count(1)
_FORM = {
    "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/30", "card_cvv": "123"},
    "customer_email": "somebody@example.com",
    "shipping_address": {"street": "Flores", "number": "1", "city": "Recife", "state": "PE", "zip_code": "50000"},
    "items": [{"product_id": "prod_001", "quantity": 1}],
}


class Till:
    """One application and a way to buy at it."""

    def __init__(self, kassa: Kassa) -> None:
        self.kassa, self.app = kassa, kassa.app

    async def buy(self) -> None:
        """One purchase that goes well."""
        body, told = orjson.dumps(_FORM), []
        headers = [(b"idempotency-key", f"light-{next(_keys):08d}".encode()), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http", "method": "POST", "path": "/checkout/process", "raw_path": b"/checkout/process", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("kassa", 80), "scheme": "http", "root_path": "",
            "http_version": "1.1", "asgi": {"version": "3.0"},
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            told.append(message.get("status"))

        await asyncio.get_running_loop().create_task(self.app(scope, receive, send))
        assert told[0] == 200


@pytest.fixture
async def till(database_server: rig.DatabaseServer, tmp_path: Path) -> AsyncIterator[Till]:
    given = {"DATABASE_URL": database_server.fresh(), "JWT_SECRET": rig.JWT_SECRET, "KASSA_HOME": tmp_path}
    async with assemble(Settings.load(True, **given)) as kassa:
        await kassa.seed()
        found = Till(kassa)
        for _ in range(8):
            await found.buy()
        yield found


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_no_statement_of_a_purchase_is_planned_anew_each_time(till: Till) -> None:
    # PostgreSQL makes a plan for the very values five times, then one for all, unless that looks worse. A plan takes longer to make
    # than the whole statement to run.
    for _ in range(8):
        await till.buy()
    rows = await till.kassa.ctx.db.rows(
        "SELECT left(statement, 60) AS begins, custom_plans, generic_plans FROM pg_prepared_statements WHERE custom_plans > 5"
    )
    assert [tuple(row.values()) for row in rows] == []
    used = await till.kassa.ctx.db.value("SELECT count(*) FROM pg_prepared_statements WHERE generic_plans > 5")
    assert used >= 3


async def test_a_purchase_leaves_next_to_nothing_for_the_garbage_collector(till: Till, no_collector: None) -> None:
    del no_collector
    for _ in range(10):
        await till.buy()
    assert gc.collect() <= GARBAGE_OF_TEN


async def test_a_purchase_takes_little_memory_and_gives_it_back(till: Till, no_collector: None) -> None:
    del no_collector
    tracemalloc.start()
    try:
        await till.buy()
        gc.collect()  # the interpreter's own stock of small tuples is not held by anybody; cycles are counted above
        before, _ = tracemalloc.get_traced_memory()
        peaks = []
        for _ in range(10):
            tracemalloc.reset_peak()
            began, _ = tracemalloc.get_traced_memory()
            await till.buy()
            peaks.append(tracemalloc.get_traced_memory()[1] - began)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(peaks)[5] <= PEAK_OF_ONE, peaks
    assert (after - before) / 10 <= LEFT_OF_ONE, after - before
