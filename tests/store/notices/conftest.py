"""A shop that tells its buyers, with a database alone: workers may sweep it, and the clock may be moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio
from tests.factories import ScriptedLinks, Till, open_till, world
from tests.rig import DatabaseServer

from kassa.events import FanOut
from kassa.kit.database import Database
from kassa.notices import NOTICE_WRITTEN, Notifier

from .telling import Scripted, Talk


@pytest_asyncio.fixture(loop_scope="session")
async def talk(database_server: DatabaseServer) -> AsyncIterator[Talk]:
    """A till with a shop whose messages go to a scripted way."""
    db = await Database.connect(database_server.fresh(), size=12)
    db.ports[FanOut] = FanOut((NOTICE_WRITTEN,))
    way = Scripted()
    made = world(db, providers=[ScriptedLinks()])
    ctx = replace(made, ports={**made.ports, Notifier: Notifier(way)})
    till: Till = await open_till(ctx, mouse=100, lamp=100)
    yield Talk(till, way)
    await ctx.background.drain(5)
    await till.rest()
    assert await till.breaches() == []
    await db.close()
