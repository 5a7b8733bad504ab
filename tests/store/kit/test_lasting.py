"""A commit that does not wait for the disk is chosen transaction by transaction, and never by accident."""

from __future__ import annotations

from kassa.kit.database import Database


async def setting(db: Database, *, lasting: bool) -> str:
    async with db.transaction("look", lasting=lasting) as tx:
        found: str = await tx.value("SELECT current_setting('synchronous_commit')")
        return found


async def test_every_transaction_waits_for_the_disk_unless_it_says_otherwise(db: Database) -> None:
    usual = await db.value("SELECT current_setting('synchronous_commit')")
    assert usual == "on"
    assert await setting(db, lasting=False) == "off"
    for _ in range(20):
        assert await setting(db, lasting=True) == "on", "the next one of the same connection waits again"
    assert await db.value("SELECT current_setting('synchronous_commit')") == "on"
