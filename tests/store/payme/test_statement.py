"""GetStatement: by Payme's time, in its order, all states; a hundred thousand rows cost no memory and are found by the index."""

from __future__ import annotations

import json
import tracemalloc

from tests.store.payme.desk import NOT_NOW, Desk, an_id, open_desk, state_of

from kassa.collect import payme
from kassa.payments.payme import store

MANY = 100_000
_FILL = """
    INSERT INTO payme_transactions (merchant_id, transaction_id, payme_id, cashbox_id, payment_id, account, amount_minor, time_ms,
                                    deadline_ms, create_ms, cancel_ms, state, reason)
    SELECT merchant_id, gen_random_uuid(), 'many-' || n, cashbox_id, payment_id, account, amount_minor, $2::bigint + n / 10,
           deadline_ms, create_ms + n % 7, create_ms + 10, -1, 3
      FROM payme_transactions, generate_series($3::int + 1, $3::int + $4::int) AS n WHERE payme_id = $1
"""


async def test_all_states_by_paymes_own_time(desk: Desk) -> None:
    at = await desk.now_ms()
    orders, ids = [await desk.ordered() for _ in range(5)], [an_id() for _ in range(5)]
    times = [at - 10, at + 30, at, at + 20, at + 10_000_000]
    for order, payme_id, time in zip(orders, ids, times, strict=True):
        assert state_of(await desk.create(order, payme_id, time_ms=time)) == 1
    await desk.perform(ids[1])
    await desk.cancel(ids[2], 1)
    await desk.perform(ids[3])
    await desk.cancel(ids[3], 5)
    refused = (
        await desk.create(await desk.ordered(), an_id(), time_ms=1_000_000_000_000),
        await desk.create(orders[0], ids[1], time_ms=at),
    )
    assert refused == (NOT_NOW, NOT_NOW)

    rows = await desk.statement(0, at + 10**9)
    assert [row["id"] for row in rows] == [ids[0], ids[2], ids[3], ids[1], ids[4]]
    assert [row["state"] for row in rows] == [1, -1, -2, 2, 1]
    for row in rows:
        checked = await desk.check(row["id"])
        assert isinstance(checked, dict)
        assert checked == {name: row[name] for name in checked}
        assert (row["amount"], row["receivers"]) == (5_000_000, None)
        assert set(row) == {*checked, "id", "time", "amount", "account", "receivers"}
    assert [row["id"] for row in await desk.statement(at, at + 20)] == [ids[2], ids[3]]  # both ends
    assert [row["id"] for row in await desk.statement(at, at)] == [ids[2]]
    assert await desk.statement(at + 20, at) == []
    assert await desk.statement(10**30, 10**40) == []
    assert len(await desk.statement(0, 10**40)) == 5


async def test_equal_times_come_in_the_order_of_creation(desk: Desk) -> None:
    at, ids = await desk.now_ms(), sorted((an_id() for _ in range(4)), reverse=True)
    for payme_id in ids:
        await desk.create(await desk.ordered(), payme_id, time_ms=at)
    rows = await desk.statement(at, at)
    assert [(row["create_time"], row["id"]) for row in rows] == sorted((row["create_time"], row["id"]) for row in rows)
    assert len(rows) == 4


async def test_a_new_cashbox_begins_with_an_empty_statement(desk: Desk) -> None:
    payme_id = await desk.created(await desk.ordered())
    other = await open_desk(desk.ctx)
    assert await other.statement(0, 10**13) == []
    assert [row["id"] for row in await desk.statement(0, 10**13)] == [payme_id]


async def test_a_hundred_thousand_rows_cost_no_memory(desk: Desk) -> None:
    order, payme_id = await desk.ordered(), an_id()
    at = await desk.now_ms()
    assert state_of(await desk.create(order, payme_id, time_ms=at)) == 1
    await desk.cancel(payme_id)
    for first in range(0, MANY, MANY // 10):  # a busy machine ends a statement of minutes
        await desk.db.execute(_FILL, payme_id, at - MANY, first, MANY // 10)
    await desk.db.execute("ANALYZE payme_transactions")

    before = desk.db.statements
    tracemalloc.start()
    try:
        with await payme.statement(desk.ctx, desk.box, 0, 10**13) as file:
            _, highest = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            length = file.seek(0, 2)
            file.seek(0)
            found = json.loads(file.read())["transactions"]
    finally:
        tracemalloc.stop()
    assert length > 20_000_000
    assert highest < 12_000_000, highest  # bytes
    assert desk.db.statements - before < 100
    keys = [(row["time"], row["create_time"], row["id"]) for row in found]
    assert len(keys) == len({row["id"] for row in found}) == MANY + 1
    assert keys == sorted(keys, key=lambda key: (key[0], key[1], key[2]))


async def test_a_page_of_it_is_read_by_its_index_in_its_order(desk: Desk) -> None:
    order, payme_id = await desk.ordered(), an_id()
    at = await desk.now_ms()
    await desk.create(order, payme_id)
    await desk.cancel(payme_id)
    await desk.db.execute(_FILL, payme_id, at - 2_000, 0, 20_000)
    await desk.db.execute("ANALYZE payme_transactions")
    asked: list[tuple[str, tuple[object, ...]]] = []

    class Listens:
        async def rows(self, sql: str, *args: object) -> list[object]:
            asked.append((sql, args))
            return []

    await store.statement(Listens(), desk.merchant_id, desk.box.cashbox_id, at, (at - 1_000, -(2**63), ""), 2000)  # type: ignore[arg-type]
    ((sql, args),) = asked
    plan = "\n".join(row[0] for row in await desk.db.rows(f"EXPLAIN ANALYZE {sql}", *args))
    assert "payme_transactions_stated" in plan, plan
    assert "Sort" not in plan, plan
    assert "Rows Removed by Filter" not in plan, plan
