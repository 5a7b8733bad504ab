"""A database that is frozen, read-only or moved: what a process makes of it, seen from inside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests import rig

from kassa.kit.database import CommitUnknown, Database, DatabaseAway

from . import clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.cluster() as made:
        yield made


def test_whoever_asks_a_frozen_database_is_told_within_a_second(cluster: clusters.Cluster) -> None:
    """Those with a connection, those who wait for one, and those who come later; afterwards all is as before."""

    async def play() -> None:
        db = await Database.connect(cluster.dsn, size=2)
        took: list[float] = []
        said: list[type[BaseException]] = []

        async def ask() -> None:
            began = time.monotonic()
            try:
                await db.value("SELECT 1")
            except (DatabaseAway, CommitUnknown) as error:
                said.append(type(error))
            took.append(time.monotonic() - began)

        try:
            await db.value("SELECT 1")
            cluster.freeze()
            await asyncio.gather(*(ask() for _ in range(20)))
            await asyncio.gather(*(ask() for _ in range(20)))
            cluster.thaw()
            assert [issubclass(each, DatabaseAway) for each in said] == [True] * 40
            assert max(took[:20]) < 1.5
            assert max(took[20:]) < 0.2, "who comes later is told at once"
            until = time.monotonic() + 5
            while True:
                try:
                    assert await db.value("SELECT 1") == 1
                    break
                except DatabaseAway:
                    assert time.monotonic() < until
                    await asyncio.sleep(0.05)
        finally:
            cluster.thaw()
            await db.close()

    rig.run_alone(play)


def test_a_slow_question_and_one_that_waits_for_a_lock_are_not_cut_off(cluster: clusters.Cluster) -> None:
    async def play() -> None:
        db = await Database.connect(cluster.dsn, size=2)
        try:
            assert await db.value("SELECT 1 FROM pg_sleep(2.5)") == 1
        finally:
            await db.close()

    rig.run_alone(play)


def test_a_commit_without_an_answer_is_unknown(cluster: clusters.Cluster) -> None:
    async def play() -> None:
        db = await Database.connect(cluster.dsn, size=2)
        try:
            await db.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            with pytest.raises(CommitUnknown):
                async with db.transaction("kept") as tx:
                    await tx.execute("INSERT INTO kept VALUES (1)")
                    cluster.freeze()
        finally:
            cluster.thaw()
            await db.close()

    rig.run_alone(play)


def test_the_new_primary_is_found_and_the_old_one_is_never_written_to_again() -> None:
    with clusters.cluster() as first:
        second = first.standby(synchronous="on")
        try:
            both = f"postgresql://kassa@127.0.0.1:{first.port},127.0.0.1:{second.port}/postgres"
            rig.run_alone(lambda: _fail_over(first, second, both))
        finally:
            second.close()


async def _fail_over(first: clusters.Cluster, second: clusters.Cluster, both: str) -> None:
    db = await Database.connect(both, size=2)
    try:
        await db.execute("CREATE TABLE kept (n int)")
        await db.execute("INSERT INTO kept VALUES (1)")
        first.kill()
        second.promote()
        assert await _insists(db, 2) == second.port
        first.settings["synchronous_standby_names"] = ""
        first.start()  # a machine that somebody switched on again
        second.kill()
        with pytest.raises(DatabaseAway):
            await db.execute("INSERT INTO kept VALUES (3)")
        second.start()
        assert await _insists(db, 4) == second.port
        kept = [row["n"] for row in await db.rows("SELECT n FROM kept ORDER BY n")]
    finally:
        await db.close()
    assert kept == [1, 2, 4]
    assert [row["n"] for row in first.ask("SELECT n FROM kept ORDER BY n")] == [1]


async def _insists(db: Database, number: int) -> int:
    until = time.monotonic() + 10
    while True:
        try:
            async with db.transaction("kept") as tx:
                await tx.execute("INSERT INTO kept VALUES ($1)", number)
                return int(await tx.value("SELECT inet_server_port()"))
        except DatabaseAway:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)


def test_a_primary_that_was_replaced_and_lives_on_is_left_within_a_second() -> None:
    """It answers, and its commits wait for a standby that follows it no more."""
    with clusters.cluster() as first:
        second = first.standby(synchronous="on")
        try:
            both = f"postgresql://kassa@127.0.0.1:{first.port},127.0.0.1:{second.port}/postgres"
            rig.run_alone(lambda: _move_on(second, both))
        finally:
            second.close()


async def _move_on(second: clusters.Cluster, both: str) -> None:
    db = await Database.connect(both, size=2)
    try:
        await db.execute("CREATE TABLE kept (n int)")
        second.promote()
        began = time.monotonic()
        with pytest.raises(CommitUnknown):
            async with asyncio.timeout(5), db.transaction("kept") as tx:
                await tx.execute("INSERT INTO kept VALUES (1)")
        assert await _insists(db, 2) == second.port
        assert time.monotonic() - began < 2
        assert [row["n"] for row in await db.rows("SELECT n FROM kept")] == [2]
    finally:
        await db.close()


def test_a_server_that_became_read_only_is_away_and_is_left(cluster: clusters.Cluster) -> None:
    """As after a switch-over behind one address: connections stand, and what they lead to takes no writes any more."""

    async def play() -> None:
        db = await Database.connect(cluster.dsn, size=2)
        try:
            await db.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            before = await db.value("SELECT pg_backend_pid()")
            await db.execute("SET default_transaction_read_only = on")
            for _ in range(3):
                with pytest.raises(DatabaseAway):
                    await db.execute("INSERT INTO kept VALUES (1)")
                if await db.value("SELECT pg_backend_pid()") != before:
                    break
            await db.execute("INSERT INTO kept VALUES (1)")
        finally:
            await db.close()

    rig.run_alone(play)
