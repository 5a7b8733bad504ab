"""An answer that was overtaken by the money itself must not make anybody forget that the money came."""

from __future__ import annotations

import asyncio

import pytest
from tests.factories import METHODS, ScriptedLinks, ScriptedNeighbour, Shop, open_shop, render_order, world

from kassa import checkout
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules
from kassa.checkout.held import MOVED, load
from kassa.checkout.journal import advance
from kassa.checkout.settle import conclude
from kassa.checkout.store import Note, Overtaken
from kassa.checkout.wishes import MoveWish
from kassa.payments import Payment, Verdict


async def test_a_link_that_is_cancelled_and_paid_before_it_is_answered_is_given_back(shop: Shop) -> None:
    links = ScriptedLinks()
    shop = await open_shop(world(shop.db, providers=[links]), mouse=3)
    ctx = shop.ctx

    async def cancelled_and_paid(payment: Payment) -> None:
        row = await shop.db.row("SELECT order_id FROM orders WHERE payment_id = $1", payment.payment_id)
        assert row is not None
        await checkout.move_order(ctx, MoveWish(shop.merchant_id, row["order_id"], "cancelled", by_staff=False), render_order)
        # Only said, not gone on with: the one who asked for the link is the first to go on.
        held = await load(ctx.db, await shop.checkout_of((await shop.order_of(row["order_id"])).checkout_id), leads=False)
        await conclude(ctx, held, Verdict("paid"))

    links.meanwhile = cancelled_and_paid
    assert "link" in METHODS
    order = await shop.order("ann", {"mouse": 1}, method="link:stripe")
    await ctx.background.drain(5)
    payment = await shop.payment_of(order.payment_id)
    assert order.status == "cancelled"
    assert payment.status == "refunded"
    assert sum(links.returned.values()) == payment.captured_minor > 0


@pytest.mark.parametrize("late", ["declined", "waiting", "closed"])
async def test_a_verdict_that_changes_nothing_leaves_the_journal_of_an_undoing_alone(shop: Shop, late: str) -> None:
    links = ScriptedLinks(refunds=["pending"] * 9)
    shop = await open_shop(world(shop.db, providers=[links]), mouse=3)
    order = await shop.order("ann", {"mouse": 1}, method="link:stripe")
    order = await shop.move(order, "cancelled", by_staff=False)
    first, second = [await load(shop.db, await shop.checkout_of(order.checkout_id), leads=False) for _ in range(2)]
    await conclude(shop.ctx, first, Verdict("paid"))
    with pytest.raises(MOVED):
        await conclude(shop.ctx, second, Verdict(late))
    again = await load(shop.db, await shop.checkout_of(order.checkout_id), leads=False)
    await conclude(shop.ctx, again, Verdict(late))
    assert again.status_of("payment") == "done"
    assert again.payment.status == "paid"


async def test_an_order_that_is_cancelled_while_its_stock_is_taken_is_not_looked_at_for_ever(shop: Shop) -> None:
    taking, go = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedNeighbour):
        async def call(self, method: str, path: str, *, act: str, **how: object) -> object:  # type: ignore[override]
            if act == "inventory":
                taking.set()
                await go.wait()
            return await super().call(method, path, act=act, **how)  # type: ignore[arg-type]

    stranger = Slow()
    ctx = world(
        shop.db,
        rules=Rules(inventory_service=True),
        neighbours=Neighbours(stranger, None, None),  # type: ignore[arg-type]
        source=OwnSource(counted=False),
    )
    shop = await open_shop(ctx, mouse=3)
    ordering = asyncio.ensure_future(shop.order("ann", {"mouse": 1}, method="cash_on_delivery"))
    await taking.wait()
    row = await shop.db.row("SELECT order_id, checkout_id FROM orders WHERE merchant_id = $1", shop.merchant_id)
    assert row is not None
    await checkout.move_order(ctx, MoveWish(shop.merchant_id, row["order_id"], "cancelled", by_staff=False), render_order)
    go.set()
    await ordering
    await ctx.background.drain(5)
    assert [act for act, _ in stranger.calls] == ["inventory", "restock"]
    due = await shop.db.row("SELECT status, next_at, lease_until FROM checkouts WHERE checkout_id = $1", row["checkout_id"])
    assert due is not None
    assert tuple(due.values()) == ("undone", None, None)


async def test_a_line_of_the_journal_that_was_not_read_is_noticed(shop: Shop) -> None:
    """Else an act that began while an order was being cancelled would never be undone."""
    held = await shop.begin({"mouse": 1})
    first, second = [await load(shop.db, await shop.checkout_of(held.checkout.checkout_id), leads=False) for _ in range(2)]
    async with shop.db.transaction("first") as tx:
        await advance(tx, first, "paying", first.go_on(), [Note("stock", "undone")])
    with pytest.raises(Overtaken):
        async with shop.db.transaction("second") as tx:
            await advance(tx, second, "undone", second.go_on(), [Note("payment", "refused")])
    async with shop.db.transaction("third") as tx:
        await advance(tx, first, "paying", first.go_on())
        await advance(tx, first, "undone", first.go_on())
