"""One event loop, one pool and one database for all tests of a process; a merchant of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from tests.factories import ScriptedCards, Shop, open_shop, open_world

from kassa.kit.context import Context
from kassa.kit.database import Database

HERE = Path(__file__).parent
settings.register_profile(
    "kassa", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("kassa")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder share the session's loop, as its pool does."""
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def ctx(kassa_dsn: str) -> AsyncIterator[Context]:
    """A world whose cards are scripted (`cards`)."""
    async with open_world(kassa_dsn, size=24, providers=[ScriptedCards()]) as ctx:
        yield ctx


@pytest.fixture
def db(ctx: Context) -> Database:
    return ctx.db


@pytest_asyncio.fixture(loop_scope="session")
async def shop(ctx: Context) -> Shop:
    """A shop with 100 mice, 50 lamps, one last poster, and vouchers that nobody counts."""
    return await open_shop(ctx, mouse=100, lamp=50, poster=1, gift=None)
