"""Lists a page at a time: every row once, in both directions, and no row of somebody else."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.factories import Till, open_payment, settle

from kassa import desk, webhooks
from kassa.desk import lists
from kassa.desk.model import At, Page
from kassa.webhooks import Wish

Read = Callable[[At], Awaitable[Page[Any]]]


async def walk(read: Read, key: str) -> list[Any]:
    """Every row from the newest to the oldest; then back again, over the same pages."""
    page = await read(At())
    assert page.newer is None
    pages = [page]
    while page.older is not None:
        page = await read(At(older=page.older))
        pages.append(page)
    keys = [[getattr(row, key) for row in each.rows] for each in pages]
    for before in reversed(keys[:-1]):
        assert page.newer is not None
        page = await read(At(newer=page.newer))
        assert [getattr(row, key) for row in page.rows] == before
    assert page.newer is None or await read(At(newer=page.newer)) is not None
    return [each for some in keys for each in some]


async def many(till: Till, number: int) -> list[uuid.UUID]:
    return [(await open_payment(till.shop, 100 + each)).payment_id for each in range(number)]


async def test_payments_newest_first_and_back(till: Till, other: Till) -> None:
    await many(other, 3)
    ids = await many(till, 7)
    for limit in (1, 2, 3, 7, 50):
        found = await walk(lambda at, limit=limit: lists.payments(till.db, till.merchant_id, at, limit=limit), "payment_id")  # type: ignore[misc]
        assert found == ids[::-1]
    page = await lists.payments(till.db, till.merchant_id, At(), limit=3)
    assert (page.total, page.looked_at) == (7, None)


async def test_orders_newest_first(till: Till, other: Till) -> None:
    await other.shop.order("7", {"mouse": 1})
    made = [(await till.shop.order(str(buyer), {"mouse": 1})).order_id for buyer in range(3)]
    found = await walk(lambda at: lists.orders(till.db, till.merchant_id, at, limit=2), "order_id")
    assert sorted(found) == sorted(made)
    assert found == sorted(made, reverse=True)


async def test_a_filter_finds_its_rows_wherever_they_are(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await many(till, 12)
    for place in (0, 5, 11):
        await settle(till.shop, await till.payment(ids[place]), "declined")
    for looked_at in (2, 3, 5, 100):
        monkeypatch.setattr(lists, "LOOKED_AT", looked_at)
        found = []
        at = At()
        for _ in range(20):
            page = await lists.payments(till.db, till.merchant_id, at, status="declined", limit=2)
            found += [row.payment_id for row in page.rows]
            if page.older is None:
                break
            at = At(older=page.older)
        assert found == [ids[11], ids[5], ids[0]], f"with {looked_at} at a time"
        assert page.looked_at == looked_at


async def test_an_unknown_status_is_no_filter(till: Till) -> None:
    await many(till, 2)
    assert len((await lists.payments(till.db, till.merchant_id, At(), status="'; --")).rows) == 2


async def test_products_with_their_stock_by_id(till: Till) -> None:
    await till.shop.begin({"mouse": 3})
    page = await lists.products(till.db, till.merchant_id, "shop", At())
    assert [(row.product_id, row.on_hand, row.reserved) for row in page.rows] == [("lamp", 50, 0), ("mouse", 100, 3)]
    found = await walk(lambda at: lists.products(till.db, till.merchant_id, "shop", at, limit=1), "product_id")
    assert found == ["lamp", "mouse"]
    assert await lists.channels(till.db, till.merchant_id) == ["shop"]


async def test_a_product_and_its_journal(till: Till, other: Till) -> None:
    await till.shop.buy({"mouse": 2})
    await other.shop.buy({"mouse": 5})
    found = await lists.product(till.db, till.merchant_id, "shop", "mouse")
    assert found is not None
    assert (found.on_hand, found.reserved) == (98, 0)
    page = await lists.stock_changes(till.db, till.merchant_id, "shop", "mouse")
    assert sorted((row.kind, row.quantity) for row in page.rows) == [("initial", 100), ("sold", 2)]
    assert page.total == 2
    assert await lists.product(till.db, till.merchant_id, "shop", "unicorn") is None


async def test_deliveries_of_an_endpoint_by_state(till: Till, other: Till) -> None:
    endpoints = []
    for each in (till, other):
        async with each.db.transaction("endpoint") as tx:
            made, _ = await webhooks.add_endpoint(tx, each.ctx.keys, each.merchant_id, Wish("https://shop.example/hook", ("*",)))
            endpoints.append(made.endpoint_id)
        await each.paid("A-1")
    mine, theirs = endpoints
    whole = await lists.deliveries(till.db, till.merchant_id, mine, At())
    assert whole.rows
    assert {row.endpoint_id for row in whole.rows} == {mine}
    assert (await lists.deliveries(till.db, till.merchant_id, theirs, At())).rows == []
    dead = whole.rows[1].delivery_id
    sql = "UPDATE deliveries SET status = 'failed', next_at = NULL, ended_at = kassa_now() WHERE delivery_id = $1 AND endpoint_id = $2"
    await till.db.execute(sql, dead, mine)
    failed = await lists.deliveries(till.db, till.merchant_id, mine, At(), status="failed")
    assert [row.delivery_id for row in failed.rows] == [dead]
    assert (failed.total, failed.looked_at) == (1, None), "it has an index of its own"
    pending = await lists.deliveries(till.db, till.merchant_id, mine, At(), status="pending")
    assert dead not in {row.delivery_id for row in pending.rows}
    found = await desk.find_delivery(till.db, till.merchant_id, dead)
    assert found is not None
    assert found[0].status == "failed"
    assert await desk.find_delivery(till.db, other.merchant_id, dead) is None


async def test_a_merchant_sees_itself_and_an_operator_all(till: Till, other: Till) -> None:
    assert [row.merchant_id for row in (await lists.merchants(till.db, till.merchant_id, At())).rows] == [till.merchant_id]
    found = await walk(lambda at: lists.merchants(till.db, None, at, limit=2), "merchant_id")
    assert {till.merchant_id, other.merchant_id} <= set(found)
    assert len(found) == len(set(found))
