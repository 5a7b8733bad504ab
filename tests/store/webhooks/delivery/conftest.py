"""A town for each test, in a database where nothing else is due, and whose clock may be moved."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.rig import DatabaseServer
from tests.store.webhooks.delivery.town import Town, open_town, raw

OpenTown = Callable[..., contextlib.AbstractAsyncContextManager[Town]]


@pytest.fixture(scope="session")
def town_dsn(database_server: DatabaseServer) -> str:
    """A database for towns alone; each begins by emptying it."""
    return database_server.fresh()


@pytest_asyncio.fixture(loop_scope="session")
async def town(town_dsn: str) -> AsyncIterator[Town]:
    """Merchant 7, four attempts a second apart, five seconds each."""
    await raw(town_dsn, "TRUNCATE deliveries, delivery_attempts, endpoints, events, event_counters, merchants CASCADE")
    async with open_town(town_dsn) as town:
        yield town
