"""How many statements a cart costs: the edits of a cart are what a shop does most. (Needs a database.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kassa import catalog
from kassa.api import ApiOptions, TokenRules, create_app
from kassa.api.app import Api
from kassa.catalog import Channel, Publication, Sources
from kassa.catalog.sources import OwnSource
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.money import Money

from .asking import KEYS, SECRET, Heard, ask, bearer, yes

SHOP = Channel("1", "shop", "INR", 5, frozenset({"credit_card"}), frozenset())
Count = Callable[[Awaitable[Heard]], Awaitable[tuple[Heard, int]]]


@pytest.fixture
async def db(kassa_dsn: str) -> AsyncIterator[Database]:
    found = await Database.connect(kassa_dsn, size=2)
    try:
        async with found.transaction("test.publish") as tx:
            await catalog.publish_channel(tx, "House", SHOP)
            await catalog.publish(tx, SHOP, [Publication("prod_001", "Wireless Mouse", Money(9990, "INR"), 5000)])
        yield found
    finally:
        await found.close()


@pytest.fixture
def app(db: Database) -> Api:
    ctx = Context(db=db, keys=KEYS, ports={Sources: Sources({"shop": OwnSource()})})
    return create_app(ctx, ApiOptions(frozenset({"orders"}), TokenRules(SECRET), yes))


@pytest.fixture
def count(db: Database) -> Count:
    async def counted(asking: Awaitable[Heard]) -> tuple[Heard, int]:
        before = db.statements
        heard = await asking
        return heard, db.statements - before

    return counted


async def test_a_cart_is_read_with_three_statements_and_filled_with_five(app: Api, count: Count) -> None:
    body = b'{"productId": "prod_001", "quantity": 2}'
    await ask(app, "GET", "/api/products/prod_001")  # the channel is remembered from now on
    empty, made = await count(ask(app, "GET", "/api/cart", bearer(id=11)))
    added, plain = await count(ask(app, "POST", "/api/cart/items", bearer(id=11), body))
    keyed, with_key = await count(ask(app, "POST", "/api/cart/items", {**bearer(id=11), "Idempotency-Key": "a-key-of-mine"}, body))
    seen, read = await count(ask(app, "GET", "/api/cart", bearer(id=11)))
    assert (empty.status, added.status, keyed.status, seen.status) == (200, 201, 201, 200)
    assert (empty.header("etag"), added.header("etag"), keyed.header("etag"), seen.header("etag")) == ('"0"', '"1"', '"2"', '"2"')
    assert made <= 3
    assert plain <= 4
    assert with_key <= 5
    assert read <= 3


async def test_a_repeat_tells_the_version_that_was_told_first(app: Api) -> None:
    key = {**bearer(id=12), "Idempotency-Key": "a-key-of-mine"}
    body = b'{"productId": "prod_001"}'
    first = await ask(app, "POST", "/api/cart/items", key, body)
    await ask(app, "POST", "/api/cart/items", bearer(id=12), body)
    again = await ask(app, "POST", "/api/cart/items", key, body)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert (first.header("etag"), again.header("etag")) == ('"1"', '"1"')
    assert (first.header("idempotent-replayed"), again.header("idempotent-replayed")) == (None, "true")


async def test_a_repeat_is_answered_even_if_the_product_is_gone(app: Api, db: Database) -> None:
    key = {**bearer(id=13), "Idempotency-Key": "a-key-of-mine"}
    body = b'{"productId": "prod_001"}'
    first = await ask(app, "POST", "/api/cart/items", key, body)
    try:
        await db.execute("UPDATE products SET sold = false")
        assert (await ask(app, "POST", "/api/cart/items", key, body)).body == first.body
        assert (await ask(app, "POST", "/api/cart/items", bearer(id=13), body)).status == 404
    finally:
        await db.execute("UPDATE products SET sold = true")


async def test_refusals_tell_the_version_too(app: Api) -> None:
    await ask(app, "POST", "/api/cart/items", bearer(id=14), b'{"productId": "prod_001"}')
    told = [
        await ask(app, "POST", "/api/cart/items", bearer(id=14), b"{"),
        await ask(app, "POST", "/api/cart/items", bearer(id=14), b'{"productId": "prod_none"}'),
        await ask(app, "DELETE", "/api/cart", {**bearer(id=14), "If-Match": '"9"'}),
        await ask(app, "DELETE", "/api/cart", {**bearer(id=14), "If-Match": "9"}),
        await ask(app, "DELETE", "/api/cart/items/nothing", bearer(id=14)),
    ]
    assert [(heard.status, heard.header("etag")) for heard in told] == [(status, '"1"') for status in (400, 404, 412, 400, 404)]
