"""A database of its own for each file, where events make deliveries; a merchant of its own for each test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest_asyncio
from tests.factories import world
from tests.rig import DatabaseServer

from kassa import merchants, webhooks
from kassa.events import Event, FanOut, record
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.webhooks import DELIVERY_MADE, Endpoint, WebhookRules, Wish

URL = "https://hooks.example.com/kassa"
_numbers = itertools.count(1)


async def open_database(dsn: str, size: int = 24) -> Database:
    """A pool whose events make deliveries."""
    db = await Database.connect(dsn, size=size)
    db.ports[FanOut] = FanOut(parts=(DELIVERY_MADE,))
    return db


def with_rules(ctx: Context, **rules: Any) -> Context:
    """The same world with these rules for webhooks."""
    return replace(ctx, ports={**ctx.ports, WebhookRules: WebhookRules(**rules)})


async def add_merchant(db: Database, merchant_id: str) -> str:
    async with db.transaction("merchants.change") as tx:
        await merchants.add_merchant(tx, merchant_id, f"Merchant {merchant_id}", f"{merchant_id}@example.com", "USD")
    return merchant_id


@dataclass
class Desk:
    """A merchant and what it does with its endpoints."""

    ctx: Context
    merchant_id: str
    secrets: dict[uuid.UUID, str] = field(default_factory=dict)

    @property
    def db(self) -> Database:
        return self.ctx.db

    async def make(self, url: str = URL, **wishes: Any) -> Endpoint:
        async with self.db.transaction("webhooks.create") as tx:
            made, secret = await webhooks.add_endpoint(tx, self.ctx.keys, self.merchant_id, Wish(url, **wishes))
        self.secrets[made.endpoint_id] = secret
        return made

    async def do(self, act: Any, *args: Any, **options: Any) -> Any:
        """One act in a transaction of its own."""
        async with self.db.transaction("webhooks.act") as tx:
            return await act(tx, *args, **options)

    async def delete(self, endpoint: Endpoint) -> None:
        await self.do(webhooks.delete_endpoint, self.merchant_id, endpoint.endpoint_id)

    async def enable(self, endpoint: Endpoint) -> Endpoint:
        found: Endpoint = await self.do(webhooks.enable_endpoint, self.merchant_id, endpoint.endpoint_id)
        return found

    async def disable(self, endpoint: Endpoint) -> Endpoint:
        found: Endpoint = await self.do(webhooks.disable_endpoint, self.merchant_id, endpoint.endpoint_id)
        return found

    async def tell(self, *types: str, subject: str | None = None) -> str:
        """Record events of one subject, each in a transaction of its own."""
        subject = subject or f"payment:{uuid.uuid4()}"
        for type_ in types:
            async with self.db.transaction("something") as tx:
                record(tx, Event(self.merchant_id, subject, type_, {"n": 1}))
        return subject

    async def look(self, endpoint: Endpoint) -> Endpoint:
        return await webhooks.find_endpoint(self.db, self.merchant_id, endpoint.endpoint_id)

    async def deliveries(self, endpoint: Endpoint) -> list[dict[str, Any]]:
        """Everything that an endpoint was to be told, oldest first."""
        rows = await self.db.rows(
            "SELECT * FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2 ORDER BY created_at, sequence, delivery_id",
            self.merchant_id,
            endpoint.endpoint_id,
        )
        return [dict(row.items()) for row in rows]

    async def states(self, endpoint: Endpoint) -> list[str]:
        return [row["status"] for row in await self.deliveries(endpoint)]

    async def ends(self, endpoint: Endpoint, status: str, ids: Sequence[uuid.UUID] | None = None) -> None:
        """As a deliverer would have left them."""
        await self.db.execute(
            """
            UPDATE deliveries SET status = $3, next_at = NULL, attempts = 10, tries = 10, ended_at = kassa_now(),
                   last_error = CASE WHEN $3 = 'failed' THEN 'status' END
             WHERE merchant_id = $1 AND endpoint_id = $2 AND ($4::uuid[] IS NULL OR delivery_id = ANY($4))
            """,
            self.merchant_id,
            endpoint.endpoint_id,
            status,
            ids,
        )

    async def put(self, endpoint: Endpoint, status: str, **where: Any) -> None:
        """Force a state: `processing` with a lease, `blocked`, `pending`, `retrying`."""
        await self.db.execute(
            """
            UPDATE deliveries SET status = $3, next_at = CASE WHEN $3 IN ('pending', 'retrying') THEN kassa_now() END,
                   lease_until = CASE WHEN $3 = 'processing' THEN now() + interval '20 s' END, ended_at = NULL
             WHERE merchant_id = $1 AND endpoint_id = $2 AND ($4::uuid IS NULL OR delivery_id = $4)
            """,
            self.merchant_id,
            endpoint.endpoint_id,
            status,
            where.get("delivery_id"),
        )


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def market(database_server: DatabaseServer) -> AsyncIterator[Database]:
    db = await open_database(database_server.fresh())
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(market: Database) -> Desk:
    merchant_id = await add_merchant(market, f"m{next(_numbers)}")
    return Desk(with_rules(world(market), private=True), merchant_id)
