"""A desk of ambassadors in a database of its own. After each test the books must balance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.factories import ScriptedLinks
from tests.rig import DatabaseServer
from tests.store.payme.desk import Desk, open_desk, selling

from kassa.kit.database import Database


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def town(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """Shared by the tests of a file: nobody sweeps here, and nobody moves the clock."""
    db = await Database.connect(database_server.fresh(), size=24)
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(town: Database) -> AsyncIterator[Desk]:
    """A merchant of a town."""
    desk = await open_desk(selling(town, providers=[ScriptedLinks()]))
    yield desk
    await desk.rest()
    assert await desk.till.breaches() == []


@pytest_asyncio.fixture(loop_scope="session")
async def alone(database_server: DatabaseServer) -> AsyncIterator[Desk]:
    """A merchant who has a database alone: workers may sweep it, and the clock may be moved."""
    db = await Database.connect(database_server.fresh(), size=24)
    desk = await open_desk(selling(db, providers=[ScriptedLinks()]))
    try:
        yield desk
        await desk.rest()
        assert await desk.breaches() == []
    finally:
        await db.close()
