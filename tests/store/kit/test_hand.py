"""Connections in hand: lent again at once, never to two, never a broken one, and the pool still has the last word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kassa.kit import database, hand
from kassa.kit.database import Database, DatabaseAway


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

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)


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


async def all_lent(db: Database, until: asyncio.Event) -> list[asyncio.Task[None]]:
    """Both connections are lent until then; gives the tasks of the borrowers."""

    async def borrow() -> None:
        async with db.transaction("t") as tx:
            await tx.value("SELECT 1")
            await until.wait()

    borrowers = [asyncio.create_task(borrow()) for _ in range(2)]
    async with asyncio.timeout(10):
        while db.connections()[0] < 2:
            await asyncio.sleep(0.001)
    return borrowers


async def test_what_comes_back_goes_to_whoever_waited_longest_and_the_pool_is_not_asked(
    two: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    returning, came = asyncio.Event(), list[int]()
    borrowers = await all_lent(two, returning)
    pool = count_asked(two, monkeypatch)

    async def wait(number: int) -> None:
        async with two.transaction("t") as tx:
            came.append(number)
            await tx.value("SELECT 1")

    async with asyncio.timeout(30):
        waiting = []
        for number in range(20):
            waiting.append(asyncio.create_task(wait(number)))
            await asyncio.sleep(0)
        returning.set()
        await asyncio.gather(*borrowers, *waiting)
    assert came == list(range(20))
    assert pool.asked == 0


async def test_whoever_leaves_at_the_moment_of_its_turn_leaves_it_to_the_next(two: Database) -> None:
    for _ in range(30):
        returning = asyncio.Event()
        borrowers = await all_lent(two, returning)
        async with asyncio.timeout(10):
            waiting = [asyncio.create_task(backend(two)) for _ in range(4)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            firsts = list(two._hand._waiting)
            assert len(firsts) == 4
            for first, task in zip(firsts[:2], waiting[:2], strict=True):
                first.add_done_callback(lambda _, task=task: task.cancel())  # it is given one, and goes
            returning.set()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.gather(*borrowers)
        assert [type(each) for each in done] == [asyncio.CancelledError] * 2 + [int] * 2
    assert two.connections()[0] == 0


async def test_whoever_waits_is_served_when_all_that_were_lent_break(two: Database, kassa_dsn: str) -> None:
    borrowers = await all_lent(two, asyncio.Event())
    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(backend(two)) for _ in range(6)]
        await asyncio.sleep(0.01)
        assert not any(each.done() for each in waiting)
        for each in borrowers:
            each.cancel()
        await asyncio.gather(*waiting)
    other = await Database.connect(kassa_dsn, size=2)
    borrowers = await all_lent(two, broken := asyncio.Event())
    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(backend(two)) for _ in range(6)]
        await asyncio.sleep(0.01)
        await other.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = any($1::int[])", pids(two))
        broken.set()
        await asyncio.gather(*waiting)
    await asyncio.gather(*borrowers, return_exceptions=True)
    await other.close()


def pids(db: Database) -> list[int]:
    return [holder._con.get_server_pid() for holder in db._pool._holders if holder._con is not None]  # type: ignore[attr-defined]


async def test_whoever_waits_is_told_when_it_is_closed(kassa_dsn: str) -> None:
    db = await Database.connect(kassa_dsn, size=2)
    borrowers = await all_lent(db, returning := asyncio.Event())
    waiting = [asyncio.create_task(backend(db)) for _ in range(3)]
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(db.close())
    async with asyncio.timeout(10):
        told = await asyncio.gather(*waiting, return_exceptions=True)
        returning.set()
        await asyncio.gather(closing, *borrowers, return_exceptions=True)
    assert [isinstance(each, DatabaseAway) for each in told] == [True] * 3


async def test_whoever_waits_for_too_long_is_told_and_takes_nothing_with_it(two: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ACQUIRE_S", 0.1)
    borrowers = await all_lent(two, returning := asyncio.Event())
    with pytest.raises(DatabaseAway):
        await backend(two)
    returning.set()
    await asyncio.gather(*borrowers)
    assert len({await backend(two) for _ in range(3)}) == 1


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
