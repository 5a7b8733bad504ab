"""A merchant with a shop, whose endpoints and buyers are told of what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.factories import ScriptedCards, ScriptedExternal, ScriptedLinks, Till, open_till, world
from tests.rig import DatabaseServer

from kassa.events import FanOut
from kassa.kit.database import Database
from kassa.notices import NOTICE_WRITTEN
from kassa.webhooks import DELIVERY_MADE


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def market(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """Shared by the tests of a file: nobody sweeps here, and nobody moves the clock."""
    db = await Database.connect(database_server.fresh(), size=12)
    db.ports[FanOut] = FanOut((NOTICE_WRITTEN, DELIVERY_MADE))
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def till(market: Database) -> AsyncIterator[Till]:
    """A merchant of a market, whose provider of links is scripted (`till.links`)."""
    till = await open_till(world(market, providers=[ScriptedLinks(), ScriptedExternal(), ScriptedCards()]), mouse=100, lamp=50)
    yield till
    await till.rest()
