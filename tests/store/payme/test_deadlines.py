"""Time: of an attempt, of a link, and of the stock that waits with them. Whoever waits costs nobody anything meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.store.payme.desk import CLOSED, HALF_A_DAY, NOT_NOW, Desk, Fate, a_buyer, an_id, locked, open_goods, state_of

from kassa import checkout
from kassa.collect import payme
from kassa.kit import clock

HELD = Fate((1,), "waiting", "pending", "paying", 0)
LET_GO = Fate((-1,), "waiting", "pending", "paying", 0)
EXPIRED = Fate((-1,), "expired", "cancelled", "undone", 0)


async def move(desk: Desk, **by: float) -> None:
    await clock.move(desk.db, timedelta(**by))


async def test_an_attempt_that_is_over_is_found_by_whoever_meets_it(alone: Desk) -> None:
    """By a perform, by a create of the same id, by a create of another one, by a worker; a look changes nothing."""
    at = await alone.now_ms()
    pairs = [(await alone.ordered(), an_id()) for _ in range(4)]
    for order, payme_id in pairs:
        assert state_of(await alone.create(order, payme_id, time_ms=at)) == 1
    await move(alone, milliseconds=HALF_A_DAY + 1000)
    (one, first), (two, second), (three, third), (four, fourth) = pairs
    assert state_of(await alone.check(first)) == 1
    assert len(await alone.statement(at, at)) == 4
    assert await alone.check_perform(one) == {"allow": True}
    assert (await alone.perform(first), await alone.create(two, second, time_ms=at)) == (NOT_NOW, NOT_NOW)
    assert state_of(await alone.create(three, an_id())) == 1
    assert await payme.sweep_attempts(alone.ctx) == 1
    assert await payme.sweep_attempts(alone.ctx) == 0
    for payme_id in (first, second, third, fourth):
        seen = await alone.check(payme_id)
        assert isinstance(seen, dict)
        assert (seen["state"], seen["reason"], seen["cancel_time"] > at + HALF_A_DAY) == (-1, 4, True)
    assert [await alone.fate(order) for order in (one, two, four)] == [LET_GO] * 3
    assert (await alone.fate(three)).attempts == (-1, 1)


async def test_an_attempt_that_is_over_and_not_swept_is_cancelled_for_paymes_reason(alone: Desk) -> None:
    order = await alone.ordered()
    payme_id = await alone.created(order)
    await move(alone, hours=13)
    await alone.cancel(payme_id, 2)
    seen = await alone.check(payme_id)
    assert isinstance(seen, dict)
    assert (seen["state"], seen["reason"]) == (-1, 2)
    assert await alone.fate(order) == LET_GO


async def test_a_link_that_is_over_is_closed_by_a_worker_and_refused_before(alone: Desk) -> None:
    order = await alone.ordered()
    await move(alone, hours=24, seconds=1)
    assert (await alone.check_perform(order), await alone.create(order, an_id())) == (CLOSED, CLOSED)
    await alone.sweep()
    assert await alone.fate(order) == Fate((), "expired", "cancelled", "undone", 0)
    await alone.purchase(order.buyer_id or "")  # the cart has kept its lines, and moved on


async def test_what_payme_holds_outlives_its_link_and_closes_when_payme_lets_go(alone: Desk) -> None:
    cancelled, forgotten, paid = [await alone.ordered() for _ in range(3)]
    await move(alone, hours=23)
    ids = [await alone.created(order) for order in (cancelled, forgotten, paid)]
    await move(alone, hours=2)
    await alone.sweep()
    assert [await alone.fate(order) for order in (cancelled, forgotten, paid)] == [HELD] * 3
    await alone.cancel(ids[0])
    assert await alone.fate(cancelled) == EXPIRED
    assert state_of(await alone.perform(ids[2])) == 2
    await move(alone, hours=11)
    assert await payme.sweep_attempts(alone.ctx) == 1
    assert await alone.fate(forgotten) == EXPIRED
    told = await alone.told_of(forgotten)
    assert (told["payment.expired"], told["order.cancelled"], told["checkout.undone"]) == (1, 1, 1)


async def test_stock_waits_as_long_as_payme_holds_the_order(alone: Desk) -> None:
    """Ruling 13: beyond its own deadline, and back in the very transaction that ends the attempt."""
    shop = await open_goods(alone, mouse=5)
    order = await shop.order(a_buyer(), {"mouse": 2}, method="payme")
    await move(alone, hours=11)
    await alone.created(order)
    for hours in (2, 9.9):
        await move(alone, hours=hours)
        await alone.sweep()
        assert await shop.level("mouse") == (5, 2)
    await move(alone, hours=0.2)
    assert await payme.sweep_attempts(alone.ctx) == 1
    assert await shop.level("mouse") == (5, 0)
    assert await alone.fate(order) == EXPIRED
    assert await shop.cart(order.buyer_id or "") is not None
    assert [line.product_id for line in (await shop.cart(order.buyer_id or "")).lines] == ["mouse"]


async def test_goods_are_paid_after_their_deadline_while_payme_holds_them(alone: Desk) -> None:
    shop = await open_goods(alone, mouse=5)
    order = await shop.order(a_buyer(), {"mouse": 2}, method="payme")
    await move(alone, hours=11)
    payme_id = await alone.created(order)
    await move(alone, hours=11)
    await alone.sweep()
    assert state_of(await alone.perform(payme_id)) == 2
    assert await shop.level("mouse") == (3, 0)
    assert await alone.fate(order) == Fate((2,), "paid", "paid", "completed", 0)


async def test_a_worker_leaves_what_is_held_alone(alone: Desk) -> None:
    """Its time is over and Payme holds it: it is not taken up again in every turn, for the twelve hours that this may last."""
    await alone.ordered()
    order = await alone.ordered()
    await move(alone, hours=23)
    payme_id = await alone.created(order)
    await move(alone, hours=2)
    turns = []
    for _ in range(6):
        turns.append(await checkout.sweep_checkouts(alone.ctx))
        await alone.rest()
    assert sum(turns[2:]) == 0, turns
    await alone.cancel(payme_id)
    assert await alone.fate(order) == EXPIRED


async def test_many_that_are_held_do_not_keep_workers_from_others(alone: Desk) -> None:
    held = [await alone.ordered() for _ in range(150)]
    await move(alone, hours=23)
    for order in held:
        await alone.created(order)
    await alone.db.execute("UPDATE checkouts SET deadline = deadline - interval '1 h', next_at = next_at - interval '1 h'")
    other = await alone.ordered()
    await move(alone, hours=2)
    await alone.db.execute("UPDATE checkouts SET deadline = kassa_now(), next_at = kassa_now() WHERE order_id = $1", other.order_id)
    for _ in range(12):
        await checkout.sweep_checkouts(alone.ctx)
        await alone.rest()
    assert (await alone.fate(other)).payment == "expired"


async def test_a_worker_that_meets_a_create_at_the_deadline_stands_back(alone: Desk) -> None:
    """It read the order before Payme held it, and closes it after. Refused, it must not try again and again while Payme holds it."""
    order = await alone.ordered()
    soon = "kassa_now() + interval '0.4 s'"
    await alone.db.execute(f"UPDATE checkouts SET deadline = {soon}, next_at = {soon}")
    await alone.db.execute(f"UPDATE payments SET expires_at = {soon}")
    async with locked(alone, "orders", order_id=order.order_id):
        creating = asyncio.create_task(alone.create(order, an_id()))  # it is in time
        await asyncio.sleep(0.6)
        assert await checkout.sweep_checkouts(alone.ctx) == 1  # it sees that the time is over, and waits behind
        await asyncio.sleep(0.3)
        before = alone.db.statements
    assert state_of(await creating) == 1
    await asyncio.sleep(1)
    taken = alone.db.statements - before
    await alone.rest()
    assert taken < 60
    assert await alone.fate(order) == HELD
