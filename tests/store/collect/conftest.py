"""A database of merchants who ask for payments. After each test the books of everybody who took part must balance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.factories import ScriptedCards, ScriptedExternal, ScriptedLinks, Till, open_till, world
from tests.rig import DatabaseServer

from kassa.kit.database import Database


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def market(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """Shared by the tests of a file: nobody sweeps here, and nobody moves the clock."""
    db = await Database.connect(database_server.fresh(), size=24)
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def till(market: Database) -> AsyncIterator[Till]:
    """A merchant of a market, whose provider of links is scripted (`till.links`)."""
    till = await open_till(world(market, providers=[ScriptedLinks(), ScriptedExternal(), ScriptedCards()]), mouse=100, lamp=50)
    yield till
    await till.rest()
    assert await till.breaches() == []


@pytest_asyncio.fixture(loop_scope="session")
async def alone(database_server: DatabaseServer) -> AsyncIterator[Till]:
    """A merchant who has a database alone: workers may sweep it, and the clock may be moved."""
    db = await Database.connect(database_server.fresh(), size=24)
    till = await open_till(world(db, providers=[ScriptedLinks(), ScriptedExternal(), ScriptedCards()]), mouse=100, lamp=50)
    yield till
    await till.rest()
    assert await till.breaches() == []
    await db.close()
