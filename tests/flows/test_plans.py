"""No question reads a table from end to end: whatever Kassa asks finds its rows by an index, in a shop of any size.

In a database with 3,000 purchases a story is played through every contract and every worker takes its turn. Each statement that was
sent on the way is planned anew as it is planned for good, without its values, and the plan is read.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from bench.fill import fill
from joserfc import jwt
from joserfc.jwk import OctKey
from tests import rig
from tests.factories import open_shop, open_world

from kassa.bootstrap import Kassa, assemble
from kassa.settings import Settings
from kassa.workers.clockwork import CLOCKWORK

ORDERS = 3000
GROWN = 1000
"""Rows from which on a table counts as one that grows."""
_ASKED = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_PARTIAL = "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
_GROWN = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= $1"
_PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'looked_at'"
ADDRESS = {"street": "1 Hill Road", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}
TOWN = {"street": "Flores", "number": "1", "city": "Recife", "state": "PE", "zip_code": "50000"}
CARD = {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"}

WHOLE: dict[str, str] = {}
"""A piece of a statement that may read a growing table as a whole, and why. This list may only get shorter."""


@dataclass
class Heard:
    """What was sent to the database while the block ran."""

    statements: dict[str, None] = field(default_factory=dict)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note every statement of every connection of this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("fetch", "fetchrow", "fetchval", "execute"):
                patch.setattr(asyncpg.Connection, name, self._noting(getattr(asyncpg.Connection, name)))
            yield

    def _noting(self, original: Any) -> Any:
        async def asked(connection: Any, query: str, *args: Any, **options: Any) -> Any:
            if _ASKED.match(query):
                self.statements[query] = None
            return await original(connection, query, *args, **options)

        return asked


@pytest_asyncio.fixture
async def kassa(database_server: rig.DatabaseServer, tmp_path: Path) -> AsyncIterator[Kassa]:
    """The demo shop, in a database in which another merchant has sold 3,000 times."""
    dsn = database_server.fresh()
    async with open_world(dsn) as ctx:
        shop = await open_shop(ctx, mouse=100_000, lamp=100_000)
        for number in range(4):
            await shop.buy({"mouse": 2, "lamp": 1}, key=f"a-template-{number}")
            await shop.order(f"buyer {number}", {"mouse": 1, "lamp": 1})
        await fill(dsn, ORDERS, at_once=1000)
    given = {"DATABASE_URL": dsn, "JWT_SECRET": rig.JWT_SECRET, "KASSA_HOME": tmp_path, "CARD_LIMITS": "on"}
    async with assemble(Settings.load(True, **given)) as kassa:
        await kassa.seed()
        yield kassa


async def test_whatever_is_asked_finds_its_rows_by_an_index(kassa: Kassa) -> None:
    heard = Heard()
    with heard.listening():
        await _tell_a_story(kassa)
        for tick in CLOCKWORK:
            await tick.act(kassa.ctx)
        await kassa.ctx.background.drain(10)
    assert len(heard.statements) > 60
    async with kassa.ctx.db.transaction("plans") as tx:
        grown = {row[0] for row in await tx.rows(_GROWN, GROWN)}
        partial = {row[0] for row in await tx.rows(_PARTIAL)}
        assert {"orders", "checkouts", "payments", "events", "event_counters", "idempotency_keys", "carts"} <= grown
        await tx.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for planted in ("SELECT * FROM orders WHERE carrier = $1", "SELECT event_id FROM events ORDER BY merchant_id, event_id"):
            assert list(_read_whole(await _plan(tx, planted), grown, partial)), "the reading of plans finds nothing any more"
        whole = {}
        for sql in heard.statements:
            if not any(piece in sql for piece in WHOLE):
                found = sorted(set(_read_whole(await _plan(tx, sql), grown, partial)))
                if found:
                    whole[sql] = found
    assert not whole, "\n\n".join(f"{found}\n{sql}" for sql, found in whole.items())


async def _plan(tx: Any, sql: str) -> dict[str, Any]:
    await tx.connection.execute(f"PREPARE looked_at AS {sql}")
    values = ", ".join(["NULL"] * (await tx.value(_PARAMETERS) or 0))
    [top] = json.loads(await _text(tx, f"EXPLAIN (FORMAT JSON) EXECUTE looked_at{f'({values})' if values else ''}"))
    await tx.connection.execute("DEALLOCATE looked_at")
    plan: dict[str, Any] = top["Plan"]
    return plan


async def _text(tx: Any, sql: str) -> str:
    found = await tx.value(sql)
    return found if isinstance(found, str) else json.dumps(found)


def _read_whole(plan: dict[str, Any], grown: set[str], partial: set[str]) -> Iterator[str]:
    """Tables that grow and are read from end to end: row by row, or along an index without a condition."""
    node, table = plan["Node Type"], plan.get("Relation Name")
    if table in grown:
        if node in {"Seq Scan", "Parallel Seq Scan"}:
            yield f"{table}: row by row"
        elif node in {"Index Scan", "Index Only Scan"} and "Index Cond" not in plan and plan["Index Name"] not in partial:
            yield f"{table}: all of {plan['Index Name']}"
    for each in plan.get("Plans", ()):
        yield from _read_whole(each, grown, partial)


# ── the story ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _tell_a_story(kassa: Kassa) -> None:
    transport = httpx2.ASGITransport(kassa.app)
    claims = {"id": 7, "role": "user", "exp": int(time.time()) + 3600}
    buyer = {"Authorization": f"Bearer {jwt.encode({'alg': 'HS256'}, claims, OctKey.import_key(rig.JWT_SECRET))}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://kassa") as client:
        await _buy_from_a_cart(client, buyer, kassa)
        await _buy_at_once(client, buyer)
        await _book_an_ambassador(client, buyer)
        await _collect(client)
        assert (await client.get("/metrics")).status_code == 200


async def _ask(client: httpx2.AsyncClient, method: str, path: str, headers: dict[str, str], body: Any = None, also: int = 0) -> Any:
    keyed = headers if method == "GET" else headers | {"Idempotency-Key": f"plans-{time.perf_counter_ns()}"}
    answer = await client.request(method, path, headers=keyed, json=body)
    assert answer.status_code < 400 or answer.status_code == also, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def _buy_from_a_cart(client: httpx2.AsyncClient, buyer: dict[str, str], kassa: Kassa) -> None:
    await _ask(client, "GET", "/api/products?limit=5", buyer)
    wish = {
        "shippingAddress": ADDRESS,
        "paymentMethod": "credit_card",
        "paymentDetails": {"cardNumber": "4111111111111111", "expiryDate": "12/30"},
    }
    for method in ("credit_card", "cash_on_delivery", "link:stripe"):
        await _ask(client, "POST", "/api/cart/items", buyer, {"productId": "prod_001", "quantity": 2})
        added = await _ask(client, "POST", "/api/cart/items", buyer, {"productId": "prod_002", "quantity": 1})
        await _ask(client, "PUT", f"/api/cart/items/{added['data']['id']}", buyer, {"quantity": 2})
        await _ask(client, "GET", "/api/cart", buyer)
        asked = wish | {"paymentMethod": method}
        if method != "credit_card":
            del asked["paymentDetails"]
        order = (await _ask(client, "POST", "/api/orders", buyer, asked))["data"]["id"]
        await kassa.ctx.background.drain(10)
        for path in (
            f"/api/orders/{order}",
            f"/api/orders/{order}/tracking",
            "/api/orders?limit=5",
            "/api/orders?limit=5&status=paid",
        ):
            await _ask(client, "GET", path, buyer)
        await _ask(client, "PUT", f"/api/orders/{order}/status", buyer, {"status": "cancelled"})
        await kassa.ctx.background.drain(10)


async def _buy_at_once(client: httpx2.AsyncClient, buyer: dict[str, str]) -> None:
    items = [{"product_id": "prod_001", "quantity": 1}, {"product_id": "prod_002", "quantity": 1}]
    body = {"payment_method": CARD, "customer_email": "somebody@example.com", "shipping_address": TOWN, "items": items}
    for headers in ({}, buyer):
        bought = await _ask(client, "POST", "/checkout/process", headers, body)
        await _ask(client, "GET", f"/checkout/{bought['checkout_id']}", headers)


async def _book_an_ambassador(client: httpx2.AsyncClient, buyer: dict[str, str]) -> None:
    await _ask(client, "POST", "/cart/items", buyer, {"ambassador_id": 1})
    await _ask(client, "GET", "/cart", buyer)
    await _ask(client, "POST", "/checkout", buyer)
    await _ask(client, "GET", "/purchases", buyer)


async def _collect(client: httpx2.AsyncClient) -> None:
    merchant = {"X-Merchant-Id": "1"}
    asked = {"order_id": 990_001, "amount": 2, "price": "349.70", "alias": "stripe"}
    # Nobody listens where links are made; the payment is noted all the same.
    payment = (await _ask(client, "POST", "/api/v1/payments", merchant, asked, also=502))["payment_id"]
    for path in ("", "/tracking", "/timeline", "/ledger", "/refunds"):
        await _ask(client, "GET", f"/api/v1/payments/{payment}{path}", merchant)
    for path in ("/api/v1/payments?limit=5", "/api/v1/events?limit=5"):
        await _ask(client, "GET", path, merchant)
