"""A request that takes too long is answered all the same, and leaves nothing open in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests import rig

from kassa.api.app import create_app
from kassa.api.options import ApiOptions, TokenRules
from kassa.bootstrap import Kassa, assemble
from kassa.settings import Settings

OPEN = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'kassa' AND state <> 'idle'"""


@pytest.fixture
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture
async def kassa(dsn: str, tmp_path: Path) -> AsyncIterator[Kassa]:
    settings = Settings.load(True, DATABASE_URL=dsn, JWT_SECRET=rig.JWT_SECRET, KASSA_HOME=tmp_path)
    async with assemble(settings) as kassa:
        await kassa.seed()
        yield kassa


async def yes() -> bool:
    return True


def a_client(kassa: Kassa) -> httpx2.AsyncClient:
    surfaces = frozenset({"orders", "checkout"})
    options = ApiOptions(surfaces=surfaces, tokens=TokenRules(rig.JWT_SECRET.encode()), schema_is_current=yes, request_s=0.4)
    claims = {"id": 77, "exp": int(time.time()) + 3600}
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(rig.JWT_SECRET))
    transport = httpx2.ASGITransport(create_app(kassa.ctx, options))
    return httpx2.AsyncClient(transport=transport, base_url="http://kassa", headers={"Authorization": f"Bearer {token}"})


async def test_one_that_waits_for_a_lock_is_given_up_and_rolled_back(kassa: Kassa, dsn: str) -> None:
    async with a_client(kassa) as client:
        body = {"productId": "prod_001", "quantity": 1}
        assert (await client.post("/api/cart/items", json=body)).status_code == 201
        aside = await asyncpg.connect(dsn)
        try:
            async with aside.transaction():
                await aside.execute("LOCK TABLE cart_lines IN ACCESS EXCLUSIVE MODE")
                reading, writing = await asyncio.gather(
                    client.get("/api/cart"), client.post("/api/cart/items", json=body, headers={"Idempotency-Key": "too-slow-1"})
                )
                for _ in range(100):  # a cancelled statement is gone a moment later
                    if await aside.fetchval(OPEN) == 0:
                        break
                    await asyncio.sleep(0.05)
                assert await aside.fetchval(OPEN) == 0
        finally:
            await aside.close()
        assert (reading.status_code, reading.json()["error"]["code"]) == (503, "unavailable")
        assert "retry-after" in reading.headers
        assert (writing.status_code, writing.json()["error"]["code"]) == (500, "internal_error")
        assert "not known whether it happened" in writing.json()["message"]
        again = await client.post("/api/cart/items", json=body, headers={"Idempotency-Key": "too-slow-1"})
        assert again.status_code == 201
        cart = (await client.get("/api/cart")).json()["data"]
        assert [each["quantity"] for each in cart["items"]] == [2]
