"""A refund that the provider cannot make is listed for a person, whatever dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from tests.factories import ScriptedCards, Shop, open_shop, world
from tests.rig import DatabaseServer

from kassa import cases, payments
from kassa.checkout import sweep
from kassa.kit.database import Database


@pytest_asyncio.fixture(loop_scope="session")
async def shop(database_server: DatabaseServer) -> AsyncIterator[Shop]:
    """A shop that has a database alone: a sweep takes up the refunds of all, and would read another test's into this script."""
    db = await Database.connect(database_server.fresh(), size=8)
    yield await open_shop(world(db), mouse=100)
    await db.close()


async def cancelled_after_paying(shop: Shop) -> tuple[Shop, Any]:
    """An order paid by card and cancelled, whose provider has no way to refund."""
    shop = replace(shop, ctx=world(shop.db, providers=[ScriptedCards(refunds=["impossible"] * 20)]))
    from kassa.checkout import saga

    held = await shop.begin({"mouse": 1}, surface="orders")
    await saga.drive(shop.ctx, held)
    return shop, await shop.move(await shop.order_of(held.order.order_id), "cancelled")


async def listed(shop: Shop) -> list[str]:
    rows = await shop.db.rows("SELECT kind FROM cases WHERE merchant_id = $1 AND closed_at IS NULL", shop.merchant_id)
    return [row["kind"] for row in rows]


async def test_it_is_listed_and_the_money_stays_on_its_way(shop: Shop) -> None:
    shop, order = await cancelled_after_paying(shop)
    assert (order.status, order.payment_status) == ("cancelled", "refunded")
    assert (await shop.payment_of(order.payment_id)).status == "refunding"
    assert await listed(shop) == ["refund_parked"]


async def test_it_is_parked_and_listed_together_or_not_at_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies while it lists it: then it was not parked either, and is sent again until both are true."""

    async def dies(*_: Any, **__: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(cases, "open_case", dies)
    shop, order = await cancelled_after_paying(shop)
    (refund,) = await payments.refunds_of(shop.db, shop.merchant_id, order.payment_id)
    assert (refund.status, await listed(shop)) == ("pending", [])
    monkeypatch.undo()
    shop = replace(shop, ctx=world(shop.db, providers=[ScriptedCards(refunds=["impossible"] * 3)]))
    await shop.db.execute("UPDATE refunds SET lease_until = now() - interval '1 s' WHERE refund_id = $1", refund.refund_id)
    for _ in range(3):
        await sweep.sweep_checkouts(shop.ctx)
        await sweep.sweep_refunds(shop.ctx)
        await shop.ctx.background.drain(5)
    (refund,) = await payments.refunds_of(shop.db, shop.merchant_id, order.payment_id)
    assert (refund.status, await listed(shop)) == ("parked", ["refund_parked"])
    assert (await shop.payment_of(order.payment_id)).status == "refunding"
