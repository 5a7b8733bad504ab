"""One purchase and Payme's calls about it, one after the other: what each does, and what a repetition does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.store.payme.desk import (
    BUSY,
    CLOSED,
    HALF_A_DAY,
    NO_ATTEMPT,
    NOT_NOW,
    PAID_ALREADY,
    UNKNOWN_ORDER,
    WRONG_SUM,
    Desk,
    Fate,
    a_buyer,
    an_id,
    locked,
    open_desk,
    open_goods,
    state_of,
    told,
)

from kassa.collect import payme


async def test_a_purchase_is_paid(desk: Desk) -> None:
    order = await desk.ordered("1", "2")
    payme_id = await desk.performed(order)
    assert await desk.fate(order) == Fate((2,), "paid", "paid", "completed", 2)
    assert await desk.has(order.buyer_id) == ["1", "2"]
    assert await desk.in_cart(order.buyer_id) == []
    assert await desk.entries(order) == [("capture", 12_500_000)]
    before = await desk.told_of(order)
    first = await desk.perform(payme_id)
    assert await desk.perform(payme_id) == first
    assert await desk.told_of(order) == before
    assert (await desk.create(order, payme_id), await desk.create(order, an_id())) == (NOT_NOW, PAID_ALREADY)
    assert await desk.check_perform(order) == PAID_ALREADY


async def test_a_purchase_that_was_let_go_is_payable_again(desk: Desk) -> None:
    order = await desk.ordered()
    first = await desk.created(order)
    cancelled = await desk.cancel(first, 2)
    assert await desk.fate(order) == Fate((-1,), "waiting", "pending", "paying", 0)
    assert await desk.cancel(first, 5) == cancelled
    assert (await desk.perform(first), await desk.create(order, first)) == (NOT_NOW, NOT_NOW)
    await desk.performed(order)
    assert await desk.fate(order) == Fate((-1, 2), "paid", "paid", "completed", 1)


async def test_a_returned_purchase_is_closed_and_the_cart_stays(desk: Desk) -> None:
    order = await desk.ordered("1", buyer=a_buyer())
    payme_id = await desk.performed(order)
    await desk.put(order.buyer_id or "", "3")
    first = await desk.cancel(payme_id, 5)
    assert await desk.cancel(payme_id, 1) == first
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "completed", 0)
    assert await desk.entries(order) == [("capture", 5_000_000), ("refund", 5_000_000)]
    assert (await desk.in_cart(order.buyer_id), await desk.has(order.buyer_id)) == (["3"], [])
    assert (await desk.check_perform(order), await desk.create(order, an_id())) == (CLOSED, CLOSED)


async def test_lines_that_were_added_since_stay_in_the_cart(desk: Desk) -> None:
    buyer = a_buyer()
    order = await desk.ordered("1", "2", buyer=buyer)
    payme_id = await desk.created(order)
    await desk.take_out(buyer, "2")
    await desk.put(buyer, "2", "3")
    await desk.perform(payme_id)
    assert await desk.in_cart(buyer) == ["2", "3"]


async def test_an_older_purchase_closes_when_payme_lets_go_of_it(desk: Desk) -> None:
    buyer = a_buyer()
    old = await desk.ordered("1", buyer=buyer)
    payme_id = await desk.created(old)
    await desk.put(buyer, "2")
    new = await desk.purchase(buyer)
    assert await desk.fate(old) == Fate((1,), "waiting", "pending", "paying", 0)
    await desk.cancel(payme_id)
    assert await desk.fate(old) == Fate((-1,), "cancelled", "cancelled", "undone", 0)
    assert (await desk.fate(new)).payment == "waiting"


async def test_others_of_the_cart_close_when_one_is_paid(desk: Desk) -> None:
    buyer = a_buyer()
    old = await desk.ordered("1", buyer=buyer)
    payme_id = await desk.created(old)
    await desk.put(buyer, "2")
    new = await desk.purchase(buyer)
    await desk.perform(payme_id)
    assert await desk.fate(new) == Fate((), "cancelled", "cancelled", "undone", 0)
    assert await desk.in_cart(buyer) == ["2"]


async def test_a_repeated_create_is_measured_by_what_was_stored(desk: Desk) -> None:
    order, other = await desk.ordered(), await desk.ordered("2")
    payme_id, at = an_id(), await desk.now_ms()
    first = await desk.create(order, payme_id, time_ms=at)
    assert await desk.create(order, payme_id, time_ms=at + 5) == first
    assert await desk.create(order, payme_id, amount=order.total_minor + 1) == WRONG_SUM
    assert await desk.create(other, payme_id) == UNKNOWN_ORDER


async def test_a_repeated_create_that_names_the_payment_instead_of_the_order_names_another_order(desk: Desk) -> None:
    """Only payments of an outside reference are named by their own id (section 5.2: names another order, -31050)."""
    order = await desk.ordered()
    payme_id, at = await desk.created(order), await desk.now_ms()
    account = desk.account(order.payment_id)
    assert await told(payme.create(desk.ctx, desk.box, an_id(), at, order.total_minor, account)) == UNKNOWN_ORDER
    assert await told(payme.create(desk.ctx, desk.box, payme_id, at, order.total_minor, account)) == UNKNOWN_ORDER


async def test_one_id_for_two_orders_where_the_second_waits_for_its_lock(desk: Desk) -> None:
    """The id is taken between the look at it and the lock: the answer for the other order is no, and not the first one's yes."""
    order, other, payme_id = await desk.ordered(), await desk.ordered(), an_id()
    async with locked(desk, "orders", order_id=other.order_id):
        waiting = asyncio.create_task(desk.create(other, payme_id))
        await asyncio.sleep(0.2)
        assert state_of(await desk.create(order, payme_id)) == 1
    assert await waiting == UNKNOWN_ORDER
    assert await desk.fate(other) == Fate((), "waiting", "pending", "paying", 0)


async def test_a_create_that_is_over_already_leaves_nothing(desk: Desk) -> None:
    order, payme_id = await desk.ordered(), an_id()
    assert await desk.create(order, payme_id, time_ms=await desk.now_ms() - HALF_A_DAY - 1000) == NOT_NOW
    assert await desk.check(payme_id) == NO_ATTEMPT
    assert state_of(await desk.create(order, an_id())) == 1


async def test_who_holds_an_order_is_alone(desk: Desk) -> None:
    order = await desk.ordered()
    await desk.created(order)
    assert (await desk.check_perform(order), await desk.create(order, an_id())) == (BUSY, BUSY)
    assert await desk.create(order, an_id(), amount=1) == WRONG_SUM


async def test_an_attempt_of_another_cashbox_is_not_known(desk: Desk) -> None:
    other = await open_desk(desk.ctx)
    order = await desk.ordered()
    payme_id = await desk.created(order)
    for answer in (await other.perform(payme_id), await other.cancel(payme_id), await other.check(payme_id)):
        assert answer == NO_ATTEMPT
    assert await other.create(order, an_id()) == UNKNOWN_ORDER
    assert await other.statement(0, 10**13) == []


@pytest.mark.parametrize("reason", [0, -7, 2**31, 2**63, 10**30, -(10**30)])
async def test_any_reason_is_kept_as_it_was_sent(desk: Desk, reason: int) -> None:
    order = await desk.ordered()
    payme_id = await desk.created(order)
    await desk.cancel(payme_id, reason)
    seen = await desk.check(payme_id)
    assert isinstance(seen, dict)
    assert seen["reason"] == reason
    assert [row["reason"] for row in await desk.statement(0, 10**13)] == [reason]


async def test_a_free_order_has_nothing_to_be_paid_at_payme(desk: Desk) -> None:
    """Payme takes no payment of nothing: the method is refused, or the order is paid at once; it is no failure of ours."""
    shop = await open_goods(desk, 0, sample=3)
    order = await shop.order(a_buyer(), {"sample": 1}, method="payme")
    assert order.status == "paid"


async def test_receipts_are_kept_of_what_is_known_only(desk: Desk) -> None:
    order = await desk.ordered()
    payme_id = await desk.created(order)
    given = {"receipt_id": 48120, "status_code": 0}
    assert await told(payme.set_fiscal_data(desk.ctx, desk.box, an_id(), "PERFORM", given)) == -32001
    for _ in range(2):
        assert await told(payme.set_fiscal_data(desk.ctx, desk.box, payme_id, "PERFORM", given)) == {"success": True}
    other = replace(desk, box=(await open_desk(desk.ctx)).box)
    assert await told(payme.set_fiscal_data(desk.ctx, other.box, payme_id, "PERFORM", given)) == -32001
    assert await desk.fate(order) == Fate((1,), "waiting", "pending", "paying", 0)
