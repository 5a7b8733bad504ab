"""Connections in hand: lent again at once, never to two, never a broken one, and the pool still has the last word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kassa.kit import hand
from kassa.kit.database import Database


@pytest_asyncio.fixture(loop_scope="session")
async def two(kassa_dsn: str) -> AsyncIterator[Database]:
    """A database with two connections."""
    db = await Database.connect(kassa_dsn, size=2)
    yield db
    await db.close()


async def backend(db: Database) -> int:
    pid: int = await db.value("SELECT pg_backend_pid()")
    return pid


class Counted:
    """The pool, and how often it was asked for a connection."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.asked = pool, 0

    async def acquire(self) -> Any:
        self.asked += 1
        return await self.pool.acquire()

    async def release(self, connection: Any) -> None:
        await self.pool.release(connection)


def count_asked(db: Database, monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(db._pool)
    monkeypatch.setattr(db._hand, "_pool", counted)
    return counted


async def test_the_one_that_came_back_goes_out_again_and_the_pool_is_not_asked(
    two: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await backend(two)
    pool = count_asked(two, monkeypatch)
    for _ in range(10):
        assert await backend(two) == first
        async with two.transaction("t") as tx:
            assert await tx.value("SELECT pg_backend_pid()") == first
    assert pool.asked == 0


async def test_nobody_gets_what_another_has(two: Database) -> None:
    busy: set[int] = set()

    async def use() -> None:
        async with two.transaction("t") as tx:
            mine = await tx.value("SELECT pg_backend_pid()")
            assert mine not in busy
            busy.add(mine)
            await tx.value("SELECT pg_sleep(0.002)")
            busy.remove(mine)

    await asyncio.gather(*(asyncio.create_task(use()) for _ in range(40)))


async def test_whoever_waits_at_the_pool_gets_the_one_that_comes_back(two: Database) -> None:
    await backend(two)
    async with asyncio.timeout(30):
        busy = [asyncio.create_task(two.value("SELECT pg_sleep(0.1)")) for _ in range(2)]
        await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(backend(two)) for _ in range(5)]
        await asyncio.gather(*busy, *waiting)
    assert len({each.result() for each in waiting}) <= 2


async def test_one_that_broke_in_hand_is_not_lent(two: Database, kassa_dsn: str) -> None:
    pid = await backend(two)
    other = await Database.connect(kassa_dsn, size=2)
    await other.value("SELECT pg_terminate_backend($1)", pid)
    await other.close()
    for _ in range(3):
        async with two.transaction("t") as tx:
            assert await tx.value("SELECT pg_backend_pid()") != pid


async def test_after_an_error_the_pool_looks_at_it(two: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend(two)
    pool = count_asked(two, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        async with two.transaction("t"):
            raise ZeroDivisionError
    await backend(two)
    assert pool.asked == 1


async def test_one_whose_statement_was_cancelled_answers_nobody_elses_question(two: Database) -> None:
    for number in range(20):
        waiting = asyncio.create_task(two.value("SELECT pg_sleep(5)"))
        await asyncio.sleep(0.005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await two.value("SELECT $1::int", number) == number


async def test_the_pool_sees_its_connections_again_from_time_to_time(two: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "_AGAIN_S", 0.01)
    await backend(two)
    pool = count_asked(two, monkeypatch)
    async with asyncio.timeout(10):
        while not pool.asked:
            await asyncio.sleep(0.02)
            await backend(two)


async def test_a_database_that_does_not_answer_leaves_nothing_in_hand(two: Database) -> None:
    before = await backend(two)
    await two._forget()
    assert await backend(two) != before


async def test_closing_waits_for_none_that_is_in_hand(kassa_dsn: str) -> None:
    db = await Database.connect(kassa_dsn, size=2)
    await asyncio.gather(*(asyncio.create_task(backend(db)) for _ in range(4)))
    async with asyncio.timeout(3):  # what is left is cut off after 5 s
        await db.close()
