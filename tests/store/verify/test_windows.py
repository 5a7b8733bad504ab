"""Each question of millions of rows is asked in pieces: what a piece costs follows from its keys, whatever stands beside them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bench.fill import fill
from tests.factories import open_shop, open_world
from tests.rig import DatabaseServer
from tests.store.verify.street import DECLINED

from kassa import audit, verify
from kassa.kit.context import Context
from kassa.verify import Question
from kassa.verify import audit as of_audit
from kassa.verify.model import AUDIT, SUBJECTS, WALKS, Walk, Window, ask, held, next_bound
from kassa.verify.run import _BY_KEYS as BY_KEYS
from kassa.verify.run import QUESTIONS, look_at, reading, run

ORDERS = 3000
KEYS = 100
MOST_ROWS = 80 * KEYS
"""That one question may read about a window: far fewer than its tables have."""
MOST_PAGES = 100 * KEYS
ACTS = """
WITH acts AS (
    INSERT INTO audit_log (merchant_id, place, who_kind, who_name, act, subject, what, at, previous, hash)
    SELECT $1, n, 'operator', 'ana', 'case.close', 'case:' || n, '{}', kassa_now(),
           CASE n WHEN 1 THEN decode(repeat('00', 32), 'hex') ELSE sha256((n - 1)::text::bytea) END, sha256(n::text::bytea)
      FROM generate_series(1, $2::int) AS n)
INSERT INTO audit_heads VALUES ($1, $2, sha256($2::text::bytea))
"""
"""A chain without keys, as far as SQL can tell."""
WINDOWED = [question for question in QUESTIONS if question.walk is not None]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def filled(database_server: DatabaseServer) -> AsyncIterator[Context]:
    """A database in which 3,000 purchases were made."""
    dsn = database_server.fresh()
    async with open_world(dsn) as ctx:
        shop = await open_shop(ctx, mouse=100, lamp=50, gift=None, **{f"thing{n}": 7 for n in range(200)})
        for n in range(4):
            await shop.buy({"mouse": 2, "lamp": 1, "gift": 1}, key=f"a-template-{n}")
        await shop.buy({"mouse": 1}, card=DECLINED, key="a-template-that-was-declined")
        await fill(dsn, ORDERS, at_once=1000)
        await ctx.db.execute(ACTS, shop.merchant_id, ORDERS)
        await ctx.db.execute("ANALYZE audit_log, audit_heads")
        yield ctx


def test_a_question_is_held_to_its_walk_or_says_nothing_of_windows() -> None:
    for question in QUESTIONS:
        held_to = re.findall(r"@\(([^()]+)\)", question.sql)
        assert bool(held_to) == (question.walk is not None), question.says
        for columns in held_to:
            assert [column.split(".")[-1].strip() for column in columns.split(",")] == list(question.walk.key), question.says


async def test_what_was_filled_in_is_what_kassa_would_have_written(filled: Context) -> None:
    assert await run(filled) == []
    assert await filled.db.value("SELECT count(*) FROM orders") == ORDERS + 5
    assert await filled.db.value("SELECT count(DISTINCT order_id) FROM orders") == ORDERS + 5


async def test_windows_cover_every_key_and_share_none(filled: Context) -> None:
    for walk in WALKS:
        count = Question(
            1, "counted", f"SELECT '1', 'x', count(*)::text FROM {walk.table} t WHERE @(t.{', t.'.join(walk.key)})", (), walk
        )
        numbers, after = [], None
        while True:
            upto = await next_bound(filled.db, walk, after, 700)
            sql, args = held(count, Window(after, upto))
            [row] = await filled.db.rows(sql, *args)
            numbers.append(int(row[2]))
            if upto is None:
                break
            after = upto
        assert sum(numbers) == await filled.db.value(f"SELECT count(*) FROM {walk.table}"), walk.name
        assert set(numbers[:-1]) <= {700}


async def test_an_audit_log_in_windows_of_any_size_is_a_chain(filled: Context) -> None:
    """Neither a line whose forerunner nor a head whose line is in another window is taken for wrong; what is wrong is found once."""
    for merchant in ("~ one", "~ two"):
        for number in range(5):
            async with filled.db.transaction("an act") as tx:
                audit.note(tx, audit.Hand(filled.keys), merchant, "case.close", f"case:{number}")

    async def found(at_once: int) -> list[str]:
        walked = verify.Found()
        after: tuple[object, ...] | None = ("~", 0)
        while True:
            upto = await next_bound(filled.db, AUDIT, after, at_once)
            for question in of_audit.QUESTIONS:
                walked.note(question, *await ask(filled.db, question, Window(after, upto)))
            if upto is None:
                return [f"{breach.merchant_id}, {breach.subject}" for breach in walked.breaches()]
            after = upto

    sizes = range(1, 12)
    assert [await found(at_once) for at_once in sizes] == [[]] * len(sizes)
    await filled.db.execute("DELETE FROM audit_log WHERE merchant_id = '~ one' AND place = 3")
    await filled.db.execute("DELETE FROM audit_log WHERE merchant_id = '~ two' AND place = 5")
    broken = ["~ one, audit:4", "~ two, audit:4", "~ two, audit:5"]
    assert [sorted(await found(at_once)) for at_once in sizes] == [broken] * len(sizes)
    for table in ("audit_log", "audit_heads"):
        await filled.db.execute(f"DELETE FROM {table} WHERE merchant_id IN ('~ one', '~ two')")


async def middle(ctx: Context, walk: Walk) -> Window:
    row = await ctx.db.row(
        f"SELECT {', '.join(walk.key)} FROM {walk.table} ORDER BY {', '.join(walk.key)} OFFSET {ORDERS // 2} LIMIT 1"
    )
    after = tuple(row) if row else None
    return Window(after, await next_bound(ctx.db, walk, after, KEYS)) if after else Window()


def rows_read(plan: dict[str, Any]) -> int:
    own = 0
    if "Scan" in plan["Node Type"] and plan["Node Type"] not in {"CTE Scan", "Function Scan", "Subquery Scan"}:
        read = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = plan["Actual Loops"] * sum(plan.get(name, 0) for name in read)
    return int(own) + sum(rows_read(each) for each in plan.get("Plans", ()))


@pytest.mark.parametrize("question", WINDOWED, ids=lambda question: f"{question.invariant}: {question.says[:60]}")
async def test_a_window_reads_about_as_much_as_it_has_keys(filled: Context, question: Question) -> None:
    assert question.walk is not None
    sql, args = held(question, await middle(filled, question.walk))
    async with reading(filled, 60, BY_KEYS) as tx:
        [top] = await tx.value(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *args)
    plan = top["Plan"]
    assert rows_read(plan) <= MOST_ROWS
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MOST_PAGES


async def test_nothing_can_be_written_in_a_window(filled: Context) -> None:
    async with reading(filled, 60, BY_KEYS) as tx:
        with pytest.raises(Exception, match="read-only"):
            await tx.execute("UPDATE orders SET version = version")


async def test_keys_that_are_named_are_looked_at_alone(filled: Context) -> None:
    keys = [tuple(row) for row in await filled.db.rows("SELECT merchant_id, subject FROM event_counters ORDER BY 2 LIMIT 40")]
    found = verify.Found()
    await look_at(filled, keys, [question for question in QUESTIONS if question.walk is SUBJECTS], found)
    assert found.breaches() == []
    assert found.rows[7] >= 40


async def test_some_invariants_alone_and_at_a_walking_pace(filled: Context) -> None:
    told: list[str] = []
    found = await verify.sweep(filled, only=(4,), pace=0.5, progress=lambda what, _: told.append(what), at_once=1000)
    assert set(found.seconds) == {4}
    assert "checkouts" in told
    assert found.breaches() == []
