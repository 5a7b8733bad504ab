"""A merchant with a shop whose buyers and endpoints are told, and a neighbour of its own who must never be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest_asyncio
from tests.factories import ScriptedCards, ScriptedExternal, ScriptedLinks, Till, open_till, world
from tests.rig import DatabaseServer

from kassa.events import FanOut
from kassa.kit import clock
from kassa.kit.database import Database
from kassa.notices import NOTICE_WRITTEN
from kassa.webhooks import DELIVERY_MADE


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def market(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """Shared by the tests of a file: nobody sweeps here. It is noon of tomorrow, so that no test meets midnight."""
    db = await Database.connect(database_server.fresh(), size=12)
    now = await clock.now(db)
    await clock.move(db, now.replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1) - now)
    db.ports[FanOut] = FanOut((NOTICE_WRITTEN, DELIVERY_MADE))
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def till(market: Database) -> AsyncIterator[Till]:
    """A merchant whose providers are scripted (`till.links`, `till.cards`)."""
    till = await open_till(world(market, providers=[ScriptedLinks(), ScriptedExternal(), ScriptedCards()]), mouse=100, lamp=50)
    yield till
    await till.rest()


@pytest_asyncio.fixture(loop_scope="session")
async def other(market: Database) -> AsyncIterator[Till]:
    """Another merchant of the same market."""
    till = await open_till(world(market, providers=[ScriptedLinks(), ScriptedExternal(), ScriptedCards()]), mouse=100, lamp=50)
    yield till
    await till.rest()
