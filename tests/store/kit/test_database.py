"""Transactions: one at a time, committed at the end of the block, never left open, and honest about what is not known."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

from kassa.kit import crash
from kassa.kit.context import Background
from kassa.kit.database import CommitUnknown, Database, DatabaseAway, Tx, in_transaction
from kassa.kit.ids import new_id
from kassa.kit.neighbour import Neighbour, NotSent, new_session


async def add(where: Tx | Database, name: str) -> None:
    await where.execute("INSERT INTO merchants (merchant_id, name) VALUES ($1, 'a shop')", name)


async def there(db: Database, name: str) -> bool:
    return bool(await db.value("SELECT count(*) FROM merchants WHERE merchant_id = $1", name))


@pytest.fixture
def name() -> str:
    return new_id().hex


async def test_what_a_block_wrote_is_there_after_it(db: Database, name: str) -> None:
    async with db.transaction("t") as tx:
        await add(tx, name)
        assert not await there_for_others(db, name)
    assert await there(db, name)


async def there_for_others(db: Database, name: str) -> bool:
    return await asyncio.create_task(there(db, name))


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
async def test_any_exception_undoes_the_block(db: Database, name: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        async with db.transaction("t") as tx:
            await add(tx, name)
            raise error
    assert not await there(db, name)
    assert in_transaction() is None


async def test_a_transaction_inside_another_is_refused_and_the_outer_one_undone(db: Database, name: str) -> None:
    with pytest.raises(RuntimeError, match="'inner' inside 'outer'"):
        async with db.transaction("outer") as tx:
            await add(tx, name)
            async with db.transaction("inner"):
                pass
    assert not await there(db, name)


async def test_tasks_beside_each_other_have_transactions_of_their_own(db: Database) -> None:
    async def work(n: int) -> str | None:
        async with db.transaction(f"t{n}") as tx:
            await tx.value("SELECT pg_sleep(0.01)")
            return in_transaction()

    assert await asyncio.gather(*(work(n) for n in range(10))) == [f"t{n}" for n in range(10)]


async def test_the_name_of_the_open_transaction_is_known_inside_it_only(db: Database) -> None:
    assert in_transaction() is None
    async with db.transaction("t"):
        assert in_transaction() == "t"
    assert in_transaction() is None


async def test_an_outside_call_inside_a_transaction_is_refused_before_anything_is_sent(db: Database) -> None:
    async with new_session() as session:
        neighbour = Neighbour("payment", "http://127.0.0.1:1", session)
        with pytest.raises(RuntimeError, match="outside call 'payment' inside transaction 't'"):
            async with db.transaction("t"):
                await neighbour.call("POST", "/payments/process", act="payment", timeout_s=1)
        with pytest.raises(NotSent):
            await neighbour.call("POST", "/payments/process", act="payment", timeout_s=1)


async def test_what_was_kept_for_the_end_runs_last_once_a_key_in_order(db: Database, name: str) -> None:
    said: list[str] = []

    def say(word: str) -> Any:
        async def act(tx: Tx) -> None:
            said.append(word)
            await add(tx, f"{name}-{word}")

        return act

    async with db.transaction("t") as tx:
        tx.at_commit("a", say("first"))
        tx.at_commit("b", say("second"))
        tx.at_commit("a", say("never"))
        await add(tx, name)
        said.append("block")
    assert said == ["block", "first", "second"]
    assert await there(db, f"{name}-first")
    assert not await there(db, f"{name}-never")


async def test_what_was_kept_for_the_end_does_not_run_when_the_block_fails(db: Database) -> None:
    said: list[str] = []

    async def act(_tx: Tx) -> None:
        said.append("ran")

    with pytest.raises(ZeroDivisionError):
        async with db.transaction("t") as tx:
            tx.at_commit("a", act)
            raise ZeroDivisionError
    assert said == []


async def test_an_error_at_the_end_undoes_the_whole_block(db: Database, name: str) -> None:
    async def act(_tx: Tx) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with db.transaction("t") as tx:
            await add(tx, name)
            tx.at_commit("a", act)
    assert not await there(db, name)


async def test_a_statement_that_fails_undoes_the_block_and_the_pool_stays_whole(db: Database, name: str) -> None:
    for _ in range(30):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with db.transaction("t") as tx:
                await add(tx, name)
                await add(tx, name)
    assert not await there(db, name)


async def test_a_connection_that_breaks_inside_the_block_wrote_nothing(db: Database, name: str) -> None:
    with pytest.raises(DatabaseAway):
        async with db.transaction("t") as tx:
            await add(tx, name)
            await asyncio.create_task(end_backend(db, await tx.value("SELECT pg_backend_pid()")))
            await tx.value("SELECT 1")
    assert not await there(db, name)


async def end_backend(db: Database, pid: int) -> None:
    # In a task of its own, whose context began without a transaction, as another process would.
    await db.value("SELECT pg_terminate_backend($1)", pid)


class Torn:
    """A connection whose COMMIT does, or does not, arrive, and whose answer is lost."""

    def __init__(self, connection: Any, *, arrives: bool) -> None:
        self.connection, self.arrives = connection, arrives

    async def execute(self, sql: str, *args: Any) -> Any:
        if sql == "COMMIT":
            await self.connection.execute(sql if self.arrives else "ROLLBACK")
            raise ConnectionResetError
        return await self.connection.execute(sql, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_whose_answer_is_lost_is_unknown_and_reading_again_tells(
    db: Database, name: str, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    acquire, release = db._acquire, db._release

    async def torn() -> Torn:
        return Torn(await acquire(), arrives=arrives)

    monkeypatch.setattr(db, "_acquire", torn)
    monkeypatch.setattr(db, "_release", lambda torn: release(torn.connection))
    with pytest.raises(CommitUnknown):
        async with db.transaction("t") as tx:
            await add(tx, name)
    monkeypatch.undo()
    assert await there(db, name) == arrives


async def test_a_caller_who_leaves_at_any_await_leaves_no_transaction_open(db: Database, name: str) -> None:
    async def work(n: int) -> None:
        async with db.transaction("t") as tx:
            await add(tx, f"{name}-{n}")
            await tx.value("SELECT 1")

    for steps in range(40):
        task = asyncio.create_task(work(steps))
        for _ in range(steps):
            await asyncio.sleep(0 if steps < 20 else 0.0002)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    open_ones = await db.rows(
        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    assert open_ones == []
    await asyncio.gather(*(db.value("SELECT 1") for _ in range(30)))


async def test_work_in_the_background_is_not_part_of_the_transaction_that_ended_before(db: Database, name: str) -> None:
    background = Background()
    async with db.transaction("t") as tx:
        await add(tx, name)
    task = background.spawn(there(db, name), name="looking")
    assert await task


async def test_a_wrong_address_is_a_database_that_is_away() -> None:
    with pytest.raises(DatabaseAway):
        await Database.connect("postgresql://postgres@127.0.0.1:1/nowhere")


async def test_a_snapshot_sees_one_moment_and_writes_nothing(db: Database, name: str) -> None:
    async with db.snapshot("look") as tx:
        before = await tx.value("SELECT count(*) FROM merchants")
        await asyncio.create_task(add_in_another_task(db, name))
        assert await tx.value("SELECT count(*) FROM merchants") == before
    assert await there(db, name)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with db.snapshot("look") as tx:
            await add(tx, f"{name}-2")


async def add_in_another_task(db: Database, name: str) -> None:
    token = _outside_any_transaction()
    try:
        await add(db, name)
    finally:
        token()


def _outside_any_transaction() -> Any:
    from kassa.kit import database

    token = database._open.set(None)
    return lambda: database._open.reset(token)


async def test_a_statement_that_takes_too_long_is_stopped_and_says_try_again(kassa_dsn: str) -> None:
    db = await Database.connect(kassa_dsn, size=1, statement_timeout_s=1)
    try:
        with pytest.raises(DatabaseAway):
            async with db.transaction("t") as tx:
                await tx.value("SELECT pg_sleep(3)")
        assert await db.value("SELECT 1") == 1
    finally:
        await db.close()


async def test_the_kill_points_of_a_transaction_stand_before_and_after_its_commit(
    db: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[tuple[str, bool]] = []
    monkeypatch.setattr(crash, "reach", lambda point, moment: reached.append((f"{point}:{moment}", in_transaction() is not None)))
    async with db.transaction("orders.move") as tx:
        await add(tx, name)
    assert [point for point, _ in reached] == ["orders.move:before_commit", "orders.move:after_commit"]


async def test_every_statement_is_counted_and_transaction_control_is_not(db: Database, name: str) -> None:
    before = db.statements
    async with db.transaction("t") as tx:
        await add(tx, name)
        await tx.row("SELECT 1")
    await db.value("SELECT 1")
    assert db.statements - before == 3
