from __future__ import annotations
import asyncio, uuid
from datetime import timedelta
from typing import Any
import pytest
from dataclasses import replace
from tests.factories import ScriptedLinks, ScriptedNeighbour, render_payment, settle
from tests.store.payme.desk import *
from tests.store.payme.desk import open_goods
from kassa import checkout, collect, payments
from kassa.checkout import Neighbours, Rules
from kassa.collect import payme
from kassa.kit import clock
from kassa.kit.money import Money
from kassa.payments import requests


async def test_same_id_other_order_by_a_moment(desk):
    one, other, payme_id = await desk.ordered(), await desk.ordered(), an_id()
    async with desk.db.transaction("hold") as tx:
        await tx.execute("SELECT 1 FROM orders WHERE order_id = $1 FOR UPDATE", other.order_id)
        waiting = asyncio.create_task(desk.create(other, payme_id))
        await asyncio.sleep(0.3)
        first = await asyncio.create_task(_outside(desk, one, payme_id))
    assert state_of(first) == 1
    assert await waiting == UNKNOWN_ORDER

async def _outside(desk, one, payme_id):
    from kassa.kit import database
    database._open.set(None)
    return await desk.create(one, payme_id)


async def test_same_id_names_payment_instead_of_order(desk):
    order = await desk.ordered()
    payme_id = await desk.created(order)
    assert await told(payme.create(desk.ctx, desk.box, payme_id, await desk.now_ms(), order.total_minor, desk.account(order.payment_id))) == UNKNOWN_ORDER


@pytest.mark.parametrize("reason", [2**63, 10**30, -10**20, 0])
async def test_reason_any(desk, reason):
    order = await desk.ordered()
    payme_id = await desk.created(order)
    await desk.cancel(payme_id, reason)
    assert (await desk.check(payme_id))["reason"] == reason
    assert reason in [row["reason"] for row in await desk.statement(0, 10**14)]


async def test_held_beyond_deadline_is_not_swept_hot(alone):
    order = await alone.ordered()
    await clock.move(alone.db, timedelta(hours=23))
    payme_id = await alone.created(order)
    await clock.move(alone.db, timedelta(hours=2))
    turns = []
    for _ in range(5):
        turns.append(await checkout.sweep_checkouts(alone.ctx))
        await alone.rest()
    assert sum(turns) <= 1, turns
    assert await alone.fate(order) == Fate((1,), "waiting", "pending", "paying", 0)
    await alone.cancel(payme_id)
    assert await alone.fate(order) == Fate((-1,), "expired", "cancelled", "undone", 0)


async def test_held_beyond_do_not_starve(alone):
    for _ in range(140):
        await alone.ordered()
    orders = await alone.db.rows("SELECT order_id FROM orders")
    await alone.db.execute("UPDATE checkouts SET next_at = next_at - interval '1 hour', deadline = deadline - interval '1 hour'")
    await clock.move(alone.db, timedelta(hours=22, minutes=50))
    from kassa import orders as o
    for row in orders:
        await alone.created(await o.find(alone.db, alone.merchant_id, row["order_id"]))
    await clock.move(alone.db, timedelta(hours=2))
    other = await alone.ordered()
    await clock.move(alone.db, timedelta(seconds=1))
    await alone.db.execute("UPDATE checkouts SET next_at = kassa_now(), deadline = kassa_now() WHERE order_id = $1", other.order_id)
    for _ in range(20):
        await checkout.sweep_checkouts(alone.ctx)
        await alone.rest()
    assert (await alone.fate(other)).order == "cancelled"


async def test_free_order_at_payme(desk):
    shop = await open_goods(desk, 0, sample=3)
    shop = replace(shop, ctx=replace(desk.ctx, ports={**desk.ctx.ports, PaymeRules: PaymeRules()}))
    order = await shop.order(a_buyer(), {"sample": 1}, method="payme")
    print(order)


async def test_refund_asked_for_a_delivered_order(desk):
    order = await desk.ordered()
    shop = await open_goods(desk, mouse=3)
    order = await shop.order(a_buyer(), {"mouse": 1}, method="payme")
    payme_id = await desk.performed(order)
    for s in ("processing", "shipped", "delivered"):
        await shop.move(order, s)
    payment = await shop.payment_of(order.payment_id)
    print(await desk.till.given_back(payment))
    print(await desk.cases())
    assert state_of(await desk.cancel(payme_id, 5)) == -2


async def test_decide_paid_while_held(desk):
    order = await desk.ordered()
    payme_id = await desk.created(order)
    try:
        print(await collect.decide(desk.ctx, order.payment_id, "paid", "he said so"))
    except Exception as e:
        print(repr(e))
    print(await desk.till.breaches())
    print(await desk.perform(payme_id))
    print(await desk.till.breaches())
    print(await desk.cancel(payme_id))
    print(await desk.fate(order))


async def test_decide_cancelled_while_held(desk):
    order = await desk.ordered()
    payme_id = await desk.created(order)
    with pytest.raises(Exception) as e:
        await collect.decide(desk.ctx, order.payment_id, "cancelled", "he said so")
    print(repr(e.value))
    await desk.perform(payme_id)

async def test_decide_cancelled_paid(desk):
    """by hand paid, then performed? no attempt: Payme create -> -31052"""
    order = await desk.ordered()
    await collect.decide(desk.ctx, order.payment_id, "paid", "he said so")
    assert await desk.check_perform(order) == PAID_ALREADY


async def test_neighbour_refuses_after_perform(town):
    near = ScriptedNeighbour({"inventory": ["no"]})
    from kassa.catalog.sources import OwnSource
    ctx = selling(town, rules_of_checkout=Rules(payme=True, inventory_service=True), neighbours=Neighbours(near, None, None), source=OwnSource(counted=False))
    desk = await open_desk(ctx)
    shop = await open_goods(desk, mouse=3)
    order = await shop.order(a_buyer(), {"mouse": 1}, method="payme")
    payme_id = await desk.performed(order)
    await desk.rest()
    print(await desk.fate(order), await desk.cases())
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    await desk.rest()
    for _ in range(3):
        await checkout.sweep_checkouts(ctx); await checkout.sweep_refunds(ctx)
        await desk.rest()
    print(await desk.fate(order), await desk.cases(), await desk.entries(order))
    assert await desk.till.breaches() == []
    assert (await desk.fate(order)).checkout == "undone"
    assert await desk.cases() == []

async def test_cancel_while_neighbours_act(town):
    near = ScriptedNeighbour({"inventory": ["silent"] * 3})
    from kassa.catalog.sources import OwnSource
    ctx = selling(town, rules_of_checkout=Rules(payme=True, inventory_service=True), neighbours=Neighbours(near, None, None), source=OwnSource(counted=False), lease_s=1)
    desk = await open_desk(ctx)
    shop = await open_goods(desk, mouse=3)
    order = await shop.order(a_buyer(), {"mouse": 1}, method="payme")
    payme_id = await desk.performed(order)
    await desk.rest()
    print(await desk.fate(order), await desk.cases())
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    await desk.rest()
    print(await desk.fate(order))
    for _ in range(8):
        await asyncio.sleep(1)
        await checkout.sweep_checkouts(ctx); await checkout.sweep_refunds(ctx)
        await desk.rest()
    print(await desk.fate(order), await desk.cases(), await desk.entries(order), near.calls)
    assert await desk.till.breaches() == []
    assert (await desk.fate(order)).checkout == "undone"
    assert await desk.cases() == []
