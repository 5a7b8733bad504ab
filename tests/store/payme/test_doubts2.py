from __future__ import annotations
import asyncio, uuid
from datetime import timedelta
from typing import Any
import asyncpg
import pytest
from dataclasses import replace
from tests.factories import ScriptedLinks, ScriptedNeighbour, render_payment, settle, subscribe
from tests.store.payme.desk import *
from tests.store.payme.desk import open_goods
from kassa import checkout, collect, payments
from kassa.checkout import Neighbours, Rules
from kassa.collect import payme
from kassa.kit import clock
from kassa.kit.money import Money
from kassa.payments import requests
import contextlib

@contextlib.asynccontextmanager
async def locked(desk, table, column, value):
    aside = await asyncpg.connect(desk.db._dsn)
    try:
        tr = aside.transaction(); await tr.start()
        await aside.execute(f"SELECT 1 FROM {table} WHERE {column} = $1 FOR UPDATE", value)
        yield
        await tr.rollback()
    finally:
        await aside.close()

async def test_same_id_other_order_by_a_moment(desk):
    one, other, payme_id = await desk.ordered(), await desk.ordered(), an_id()
    async with locked(desk, "orders", "order_id", other.order_id):
        waiting = asyncio.create_task(desk.create(other, payme_id))
        await asyncio.sleep(0.3)
        assert state_of(await desk.create(one, payme_id)) == 1
    assert await waiting == UNKNOWN_ORDER

async def test_saga_does_not_loop(alone):
    order = await alone.ordered()
    await alone.db.execute("UPDATE checkouts SET deadline = kassa_now() + interval '0.5 s', next_at = kassa_now() + interval '0.5 s'")
    await alone.db.execute("UPDATE payments SET expires_at = kassa_now() + interval '0.5 s'")
    async with locked(alone, "orders", "order_id", order.order_id):
        creating = asyncio.create_task(alone.create(order, an_id()))
        await asyncio.sleep(0.7)
        assert await checkout.sweep_checkouts(alone.ctx) == 1
        await asyncio.sleep(0.5)
        before = alone.db.statements
    assert state_of(await creating) == 1
    await asyncio.sleep(1.5)
    busy = len(alone.ctx.background._tasks)
    print("statements", alone.db.statements - before, busy)
    assert not busy
    assert alone.db.statements - before < 60

async def test_by_hand_then_checkout_again(desk):
    buyer = a_buyer()
    order = await desk.ordered(buyer=buyer)
    await collect.decide(desk.ctx, order.payment_id, "paid", "he said so")
    print(await desk.in_cart(buyer))
    again = await desk.purchase(buyer)
    print(again.order_id == order.order_id)

async def test_outside(desk):
    till = await outside(desk)
    made = await collect.request_payment(desk.ctx, wish(till, "A-1", key="key-one-1"), render_payment)
    p = made.payment
    assert p.status == "waiting" and p.pay_url, p
    print(p.pay_url)
    again = await collect.request_payment(desk.ctx, wish(till, "A-1", key="key-one-1"), render_payment)
    print(again)

def wish(till, order_id, price=700_000, key=None, **more):
    given = {"order_is_number": False, "quantity": "1", "alias": "payme", "plan_id": None, "event_ref": "evt-1"}
    return collect.PaymentWish(merchant_id=till.merchant_id, order_id=order_id, price=Money(price, "UZS"), key=till.key(key) if key else None, **(given | more))

async def outside(desk):
    await subscribe(desk.ctx, desk.merchant_id, 1000)
    till = desk.till
    await till.route("stripe", requests.Rule(1, "stripe"))
    return till

async def test_outside_races_with_late_report(desk):
    """The first payment (by link) expired, the second is at Payme; the late money and Perform come at once."""
    till = await outside(desk)
    async def story(n):
        old = (await collect.request_payment(desk.ctx, wish(till, f"B-{n}", alias="stripe"), render_payment)).payment
        await settle(till.shop, old, "closed")
        new = (await collect.request_payment(desk.ctx, wish(till, f"B-{n}"), render_payment)).payment
        payme_id = an_id()
        a = await told(payme.create(desk.ctx, desk.box, payme_id, await desk.now_ms(), new.amount_minor, {"order_id": str(new.payment_id)}))
        assert state_of(a) == 1, a
        answers = await together(desk.perform(payme_id), till.report(old))
        await desk.rest()
        return state_of(answers[0]), answers[1].message, *await till.statuses(f"B-{n}")
    print(Counter(await in_turns([story(n) for n in range(40)])))
    print(await desk.cases())

async def test_outside_late_report_while_held(desk):
    till = await outside(desk)
    old = (await collect.request_payment(desk.ctx, wish(till, f"C", alias="stripe"), render_payment)).payment
    await settle(till.shop, old, "closed")
    new = (await collect.request_payment(desk.ctx, wish(till, f"C"), render_payment)).payment
    payme_id = an_id()
    a = await told(payme.create(desk.ctx, desk.box, payme_id, await desk.now_ms(), new.amount_minor, {"order_id": str(new.payment_id)}))
    print(await till.report(old)); await desk.rest()
    print(await till.statuses("C"))
    print(await desk.cancel(payme_id))
    print(await till.statuses("C"))

async def test_outside_paid_first_then_created(desk):
    till = await outside(desk)
    old = (await collect.request_payment(desk.ctx, wish(till, f"D", alias="stripe"), render_payment)).payment
    await settle(till.shop, old, "closed")
    new = (await collect.request_payment(desk.ctx, wish(till, f"D"), render_payment)).payment
    print(await till.report(old)); await desk.rest()
    print(await till.statuses("D"))
    a = await told(payme.create(desk.ctx, desk.box, an_id(), await desk.now_ms(), new.amount_minor, {"order_id": str(new.payment_id)}))
    assert a == CLOSED

async def test_outside_expires_and_held(alone):
    till = await outside(alone)
    new = (await collect.request_payment(alone.ctx, wish(till, f"D"), render_payment)).payment
    payme_id = an_id()
    await clock.move(alone.db, timedelta(hours=23))
    a = await told(payme.create(alone.ctx, alone.box, payme_id, await alone.now_ms(), new.amount_minor, {"order_id": str(new.payment_id)}))
    await clock.move(alone.db, timedelta(hours=2))
    print([await collect.sweep_payments(alone.ctx) for _ in range(3)])
    assert await till.statuses("D") == ["waiting"]
    await clock.move(alone.db, timedelta(hours=11))
    await payme.sweep_attempts(alone.ctx)
    assert await till.statuses("D") == ["expired"]
    second = (await collect.request_payment(alone.ctx, wish(till, f"D"), render_payment)).payment
    pid = an_id()
    a = await told(payme.create(alone.ctx, alone.box, pid, await alone.now_ms(), new.amount_minor, {"order_id": str(second.payment_id)}))
    await alone.cancel(pid)
    await clock.move(alone.db, timedelta(hours=25))
    print([await collect.sweep_payments(alone.ctx) for _ in range(3)])
    assert await till.statuses("D") == ["expired", "expired"]

async def test_shop_stock(alone):
    shop = await open_goods(alone, mouse=5)
    order = await shop.order(a_buyer(), {"mouse": 2}, method="payme")
    assert await shop.level("mouse") == (5, 2)
    await clock.move(alone.db, timedelta(hours=11))
    pid = await alone.created(order)
    await clock.move(alone.db, timedelta(hours=2))
    await alone.sweep()
    assert await shop.level("mouse") == (5, 2)
    await clock.move(alone.db, timedelta(hours=9, minutes=59))
    await alone.sweep()
    assert await shop.level("mouse") == (5, 2)
    await clock.move(alone.db, timedelta(minutes=2))
    assert await payme.sweep_attempts(alone.ctx) == 1
    assert await shop.level("mouse") == (5, 0)
    assert await alone.fate(order) == Fate((-1,), "expired", "cancelled", "undone", 0)
    print(await alone.told_of(order))

@pytest.mark.parametrize("value", [None, True, 1, 1.5, 10**300, -1, "", " ", "x"*5000, [], {}, ["a"], "\x00", "019b76da-a800-7c3e-9f51-2d8e6a4b7c10\n", "\ud800", "०१९b76da-a800-7c3e-9f51-2d8e6a4b7c10", "{019b76da-a800-7c3e-9f51-2d8e6a4b7c10}", "019b76daa8007c3e9f512d8e6a4b7c10"])
async def test_odd_account(desk, value):
    for account in ({"order_id": value}, {}, {"order": value}):
        assert await told(payme.check_perform(desk.ctx, desk.box, 5, account)) == UNKNOWN_ORDER
        assert await told(payme.create(desk.ctx, desk.box, an_id(), 1, 5, account)) == UNKNOWN_ORDER

async def test_odd_but_right(desk):
    order = await desk.ordered()
    pid = an_id()
    account = {"order_id": f"  {str(order.order_id).upper()} \n", "n": 10**30, "d": [1, None, {"a": True}], "z\x00": "\x00 ü"}
    a = await told(payme.create(desk.ctx, desk.box, pid, await desk.now_ms(), order.total_minor, account))
    assert state_of(a) == 1
    row = next(r for r in await desk.statement(0, 10**14) if r["id"] == pid)
    assert row["account"] == account
