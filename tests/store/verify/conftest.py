"""A database in which everything has happened once, and from which every guard was taken away so that it can be spoilt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.rig import DatabaseServer
from tests.store.verify.street import Street

from kassa.kit.database import Database

_WITHOUT_GUARDS = """
DO $$ DECLARE guard record; BEGIN
    FOR guard IN SELECT conrelid::regclass AS owner, conname FROM pg_constraint
                  WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u') ORDER BY contype = 'u'
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', guard.owner, guard.conname); END LOOP;
    FOR guard IN SELECT indexrelid::regclass AS owner FROM pg_index JOIN pg_class ON oid = indexrelid
                  WHERE indisunique AND NOT indisprimary AND relnamespace = 'public'::regnamespace
    LOOP EXECUTE format('DROP INDEX %s', guard.owner); END LOOP;
END $$
"""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def street(database_server: DatabaseServer) -> AsyncIterator[Street]:
    """Everything happened, everything guarded."""
    db = await Database.connect(database_server.fresh(), size=8)
    street = Street(db)
    await street.play()
    yield street
    await db.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def unguarded(database_server: DatabaseServer) -> AsyncIterator[Street]:
    """Everything happened, and now every statement is taken."""
    db = await Database.connect(database_server.fresh(), size=4)
    street = Street(db)
    await street.play()
    await db.execute(_WITHOUT_GUARDS)
    yield street
    await db.close()
