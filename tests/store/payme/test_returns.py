"""Money that goes back (rulings, 14): by Payme's word, after staff's word, beside neighbours, and by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.factories import ScriptedNeighbour, Shop
from tests.store.payme.desk import (
    CLOSED,
    HANDED_OVER,
    PAID_ALREADY,
    Desk,
    Fate,
    a_buyer,
    an_id,
    open_desk,
    open_goods,
    selling,
    state_of,
)

from kassa import checkout, collect
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules
from kassa.kit import clock
from kassa.kit.errors import KassaError
from kassa.kit.moves import IllegalMove
from kassa.orders import Order


async def goods(desk: Desk, **stock: int) -> tuple[Shop, Order]:
    """Goods that wait to be paid at Payme."""
    shop = await open_goods(desk, **(stock or {"mouse": 5}))
    return shop, await shop.order(a_buyer(), {next(iter(stock or {"mouse": 5})): 2}, method="payme")


async def test_a_cancelled_order_owes_its_money_until_payme_has_given_it_back(desk: Desk) -> None:
    shop, order = await goods(desk)
    payme_id = await desk.performed(order)
    assert await shop.level("mouse") == (3, 0)
    await desk.move(order)
    await desk.rest()
    assert await desk.fate(order) == Fate((2,), "refunding", "cancelled", "completed", 0)
    assert await shop.level("mouse") == (5, 0)  # at once
    assert [kind for kind, _ in await desk.cases()] == ["refund_at_provider"]
    assert await desk.entries(order) == [("capture", order.total_minor)]
    first = await desk.cancel(payme_id, 5)
    assert state_of(first) == -2
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "completed", 0)
    assert await desk.entries(order) == [("capture", order.total_minor), ("refund", order.total_minor)]
    assert await desk.cases() == []
    assert await desk.cancel(payme_id, 1) == first
    assert await shop.level("mouse") == (5, 0)
    told = await desk.told_of(order)
    assert (told["order.cancelled"], told["refund.created"], told["refund.succeeded"], told["payment.refunded"]) == (1, 1, 1, 1)


async def test_a_cancelled_order_whose_refund_is_still_being_sent(desk: Desk) -> None:
    """Payme's Cancel comes before the background has found that nobody can be told."""
    shop, order = await goods(desk)
    payme_id = await desk.performed(order)
    await desk.move(order)
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    await desk.rest()
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "completed", 0)
    assert await desk.cases() == []
    assert await shop.level("mouse") == (5, 0)


async def test_goods_come_back_with_the_money(desk: Desk) -> None:
    shop, order = await goods(desk)
    payme_id = await desk.performed(order)
    await shop.move(order, "processing")
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "completed", 0)
    assert await shop.level("mouse") == (5, 0)
    assert await desk.cases() == []


@pytest.mark.parametrize("last", ["shipped", "delivered"])
async def test_what_was_handed_over_is_not_taken_back(desk: Desk, last: str) -> None:
    shop, order = await goods(desk)
    payme_id = await desk.performed(order)
    for status in ("processing", "shipped", "delivered")[: 2 if last == "shipped" else 3]:
        await shop.move(order, status)
    before = await desk.told_of(order)
    assert [await desk.cancel(payme_id, 5) for _ in range(2)] == [HANDED_OVER, HANDED_OVER]
    assert await desk.fate(order) == Fate((2,), "paid", last, "completed", 0)
    assert state_of(await desk.check(payme_id)) == 2
    assert await desk.told_of(order) == before


async def test_what_payme_holds_is_not_cancelled_by_hand(desk: Desk) -> None:
    shop, order = await goods(desk)
    payme_id = await desk.created(order)
    with pytest.raises(IllegalMove):
        await desk.move(order)
    assert await shop.level("mouse") == (5, 2)
    assert len((await shop.cart(order.buyer_id or "")).lines) == 0
    await desk.cancel(payme_id)
    await desk.move(order)
    assert await desk.fate(order) == Fate((-1,), "cancelled", "cancelled", "undone", 0)
    assert (await desk.create(order, an_id()), await shop.level("mouse")) == (CLOSED, (5, 0))


async def test_a_refund_that_a_person_has_made_by_hand_is_not_made_again(desk: Desk) -> None:
    _, order = await goods(desk)
    payme_id = await desk.performed(order)
    await desk.move(order)
    await desk.rest()
    (refund,) = await desk.till.refunds(await desk.till.payment(order.payment_id))
    await collect.mark_refund_done(desk.ctx, refund, "in the cabinet")
    assert await desk.cases() == []
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    assert await desk.entries(order) == [("capture", order.total_minor), ("refund", order.total_minor)]


# ── neighbours ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def with_inventory(desk: Desk, *words: str) -> tuple[Desk, Order, ScriptedNeighbour]:
    """A merchant whose stock is counted by a service, which says these words; and goods that Payme holds."""
    near = ScriptedNeighbour({"inventory": list(words)})
    ctx = selling(
        desk.db,
        rules_of_checkout=Rules(payme=True, inventory_service=True),
        neighbours=Neighbours(near, None, None),  # type: ignore[arg-type]
        source=OwnSource(counted=False),
    )
    other = await open_desk(ctx)
    return other, (await goods(other))[1], near


async def turns(desk: Desk, **by: Any) -> None:
    """Time goes by, and workers with it."""
    for _ in range(8):
        await clock.move(desk.db, timedelta(**by))
        await checkout.sweep_checkouts(desk.ctx)
        await checkout.sweep_refunds(desk.ctx)
        await desk.rest()


async def test_a_neighbour_agrees_after_payme_has_performed(alone: Desk) -> None:
    desk, order, near = await with_inventory(alone, "yes")
    await desk.performed(order)
    await desk.rest()
    assert await desk.fate(order) == Fate((2,), "paid", "paid", "completed", 0)
    assert [act for act, _ in near.calls] == ["inventory"]


async def test_what_a_neighbour_refuses_is_owed_and_ends_with_paymes_cancel(alone: Desk) -> None:
    """The checkout waits for the money to go back. When Payme says that it has, nothing is left for a person."""
    desk, order, _ = await with_inventory(alone, "no")
    payme_id = await desk.performed(order)
    await desk.rest()
    fate = await desk.fate(order)
    assert (fate.payment, fate.order) == ("refunding", "cancelled")
    assert "refund_at_provider" in [kind for kind, _ in await desk.cases()]
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    await turns(desk, minutes=1)
    assert await desk.breaches() == []
    assert await desk.cases() == []
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "undone", 0)


async def test_payme_takes_back_while_a_neighbour_is_silent(alone: Desk) -> None:
    desk, order, near = await with_inventory(alone, *["silent"] * 3, "yes")
    payme_id = await desk.performed(order)
    await desk.rest()
    assert await desk.fate(order) == Fate((2,), "paid", "pending", "paid", 0)
    assert state_of(await desk.cancel(payme_id, 5)) == -2
    await turns(desk, seconds=20)
    assert await desk.fate(order) == Fate((-2,), "refunded", "cancelled", "undone", 0)
    assert await desk.entries(order) == [("capture", order.total_minor), ("refund", order.total_minor)]
    assert near.calls[-1][0] == "restock"  # it had been done after all
    assert await desk.cases() == []


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_person_says_that_a_purchase_was_paid(desk: Desk) -> None:
    """As if Payme had said it: its lines leave the cart, and the buyer can go on buying."""
    buyer = a_buyer()
    order = await desk.ordered(buyer=buyer)
    await collect.decide(desk.ctx, order.payment_id, "paid", "seen in the cabinet")
    assert (await desk.fate(order)).order == "paid"
    assert await desk.check_perform(order) == PAID_ALREADY
    await desk.put(buyer, "2")
    assert await desk.in_cart(buyer) == ["2"]
    assert (await desk.purchase(buyer)).order_id != order.order_id


async def test_after_a_person_has_said_that_it_was_paid_the_button_still_works(desk: Desk) -> None:
    buyer = a_buyer()
    order = await desk.ordered(buyer=buyer)
    await collect.decide(desk.ctx, order.payment_id, "paid", "seen in the cabinet")
    with pytest.raises(checkout.CartEmpty):
        await desk.purchase(buyer)


async def test_a_person_does_not_decide_what_payme_holds(desk: Desk) -> None:
    """While an attempt is in state 1 only Payme knows: a word of a person leaves it with an attempt that nobody ends."""
    order = await desk.ordered()
    payme_id = await desk.created(order)
    for word in ("cancelled", "declined", "paid"):
        with pytest.raises(KassaError):
            await collect.decide(desk.ctx, order.payment_id, word, "he said so")
        assert await desk.fate(order) == Fate((1,), "waiting", "pending", "paying", 0)
    assert state_of(await desk.perform(payme_id)) == 2
