"""One purchase and Payme's calls about it, one after the other: what each does, and what a repetition does not."""

from __future__ import annotations

from tests.store.payme.desk import Desk, Fate, a_buyer


async def test_a_purchase_is_paid(desk: Desk) -> None:
    order = await desk.ordered("1", "2")
    payme_id = await desk.performed(order)
    assert await desk.fate(order) == Fate((2,), "paid", "paid", "completed", 2)
    assert await desk.has(order.buyer_id) == ["1", "2"]
    assert await desk.in_cart(order.buyer_id) == []
    assert await desk.entries(order) == [("capture", 12_500_000)]
    first = await desk.perform(payme_id)
    assert await desk.perform(payme_id) == first


async def test_a_purchase_that_was_let_go_is_payable_again(desk: Desk) -> None:
    order = await desk.ordered("1", buyer=a_buyer())
    first = await desk.created(order)
    await desk.cancel(first, 2)
    assert await desk.fate(order) == Fate((-1,), "waiting", "pending", "paying", 0)
    await desk.performed(order)
    assert await desk.fate(order) == Fate((-1, 2), "paid", "paid", "completed", 1)
