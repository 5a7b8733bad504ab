"""Two who want one purchase at the same moment, a hundred purchases at a time: afterwards there is one truth, and nobody saw a deadlock."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from tests.store.payme.desk import (
    BUSY,
    CLOSED,
    HALF_A_DAY,
    NO_ATTEMPT,
    NOT_NOW,
    PRICES,
    Desk,
    Fate,
    a_buyer,
    an_id,
    in_turns,
    later,
    state_of,
    together,
)

from kassa import checkout
from kassa.collect import payme
from kassa.kit import clock
from kassa.kit.moves import IllegalMove
from kassa.orders import Order

MANY = 40
ONCE = ("order.created", "order.paid", "order.cancelled", "payment.paid", "payment.refunded", "payment.cancelled", "payment.expired",
        "refund.created", "refund.succeeded", "checkout.started", "checkout.completed", "checkout.undone")  # fmt: skip

WAITS = Fate((), "waiting", "pending", "paying", 0)
HELD = Fate((1,), "waiting", "pending", "paying", 0)
PAID = Fate((2,), "paid", "paid", "completed", 1)
LET_GO = Fate((-1,), "waiting", "pending", "paying", 0)
RETURNED = Fate((-2,), "refunded", "cancelled", "completed", 0)
CANCELLED = Fate((), "cancelled", "cancelled", "undone", 0)
LET_GO_AND_CANCELLED = Fate((-1,), "cancelled", "cancelled", "undone", 0)
EXPIRED = Fate((), "expired", "cancelled", "undone", 0)
BOOKED = {"paid": [("capture", PRICES["1"])], "refunded": [("capture", PRICES["1"]), ("refund", PRICES["1"])]}


async def judged(desk: Desk, order: Order) -> Fate:
    """What became of a purchase, after everything that must agree with it was looked at."""
    fate = await desk.fate(order)
    assert sorted(await desk.entries(order)) == BOOKED.get(fate.payment, [])
    told = await desk.told_of(order)
    assert all(told[name] <= 1 for name in ONCE), told
    assert (told["order.paid"], told["payment.paid"]) == ((1, 1) if fate.payment in BOOKED else (0, 0))
    assert told["order.cancelled"] == (fate.order == "cancelled")
    has = await desk.has(order.buyer_id)
    assert (len(has) == 1) is (fate.order == "paid")
    return fate


async def race(desk: Desk, story: Callable[[int], Awaitable[Any]], many: int = MANY) -> Counter[Any]:
    """Play a story for many purchases at a time; how often each end came about."""
    return Counter(await in_turns([story(number) for number in range(many)]))


async def race_until(desk: Desk, story: Callable[[int], Awaitable[Any]], *ends: Any, many: int = MANY) -> None:
    """The same again and again, ten times at most, until each of these ends has come about, and never another one."""
    found: Counter[Any] = Counter()
    for _ in range(10):
        found += await race(desk, story, many)
        if set(found) == set(ends):
            return
        assert set(found) < set(ends), found
    needs(found, *ends)


def needs(found: Counter[Any], *ends: Any) -> None:
    """Only these ends came about, and each of them did: else one was always first, and this was no race."""
    assert set(found) == set(ends), found


async def test_creates_of_one_id_are_one_attempt(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        order, payme_id = await desk.ordered(), an_id()
        time = await desk.now_ms()
        answers = await together(*(desk.create(order, payme_id, time_ms=time) for _ in range(3)))
        assert answers == [answers[0]] * 3
        assert state_of(answers[0]) == 1
        return await judged(desk, order)

    needs(await race(desk, story), HELD)


async def test_of_creates_of_different_ids_one_holds_the_order(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        order, ids = await desk.ordered(), [an_id() for _ in range(3)]
        states = [state_of(answer) for answer in await together(*(desk.create(order, each) for each in ids))]
        assert sorted(states) == [BUSY, BUSY, 1]
        checked = [state_of(await desk.check(each)) for each in ids]
        assert checked == [1 if state == 1 else NO_ATTEMPT for state in states]
        return await judged(desk, order)

    needs(await race(desk, story), HELD)


async def test_one_id_for_two_orders_is_one_attempt(desk: Desk) -> None:
    async def story(_: int) -> tuple[int, ...]:
        orders, payme_id = [await desk.ordered(), await desk.ordered()], an_id()
        answers = await together(*(desk.create(order, payme_id) for order in orders))
        fates = [await judged(desk, order) for order in orders]
        assert sorted(map(state_of, answers)) == [-31050, 1]
        assert fates == [HELD if state_of(answer) == 1 else WAITS for answer in answers]
        return tuple(map(state_of, answers))

    await race_until(desk, story, (1, -31050), (-31050, 1), many=MANY // 2)


async def test_performs_pay_once(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        order = await desk.ordered()
        payme_id = await desk.created(order)
        answers = await together(*(desk.perform(payme_id) for _ in range(3)))
        assert answers == [answers[0]] * 3
        assert state_of(answers[0]) == 2
        return await judged(desk, order)

    needs(await race(desk, story), PAID)


async def test_cancels_give_back_once(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        order = await desk.ordered()
        payme_id = await desk.performed(order)
        answers = await together(*(desk.cancel(payme_id, reason) for reason in (1, 3, 5)))
        assert answers == [answers[0]] * 3
        return await judged(desk, order)

    needs(await race(desk, story), RETURNED)


async def test_perform_and_cancel(desk: Desk) -> None:
    """Either the cancel was first, or what was performed is given back: both calls are answered, and nothing is left paid."""

    async def story(_: int) -> Fate:
        order = await desk.ordered()
        payme_id = await desk.created(order)
        performed, cancelled = await together(desk.perform(payme_id), desk.cancel(payme_id))
        assert (state_of(performed), state_of(cancelled)) in {(2, -2), (NOT_NOW, -1)}
        return await judged(desk, order)

    await race_until(desk, story, LET_GO, RETURNED)


async def test_perform_and_the_end_of_its_time(alone: Desk) -> None:
    """The clock passes the end while Payme performs: paid, or over with reason 4, as the answer says."""
    at = await alone.now_ms()
    pairs = []
    for _ in range(MANY):
        order, payme_id = await alone.ordered(), an_id()
        assert state_of(await alone.create(order, payme_id, time_ms=at)) == 1
        pairs.append((order, payme_id))
    await clock.move(alone.db, timedelta(milliseconds=HALF_A_DAY - (await alone.now_ms() - at) + 700))

    async def story(number: int) -> Fate:
        order, payme_id = pairs[number]
        await asyncio.sleep(0.001 * number)
        performed, _ = await together(alone.perform(payme_id), payme.sweep_attempts(alone.ctx))
        fate = await judged(alone, order)
        seen = await alone.check(payme_id)
        assert isinstance(seen, dict)
        assert (state_of(performed), seen["state"], seen["reason"]) in {(2, 2, None), (NOT_NOW, -1, 4)}
        return fate

    await clock.move(alone.db, timedelta(milliseconds=-750))
    found = await race(alone, story)
    assert set(found) <= {PAID, LET_GO}, found
    await clock.move(alone.db, timedelta(seconds=5))
    late = Counter([await story(number) for number in range(MANY)])
    assert late == found


async def test_create_and_the_deadline_of_the_order(alone: Desk) -> None:
    """The link's time ends while Payme creates: held, or closed by a worker and refused."""
    orders = [await alone.ordered() for _ in range(MANY)]
    last = await alone.db.value("SELECT max(deadline) FROM checkouts")
    await clock.move(alone.db, last - await clock.now(alone.db) - timedelta(seconds=2))
    await alone.db.execute("UPDATE checkouts SET deadline = $1, next_at = $1", last)
    await alone.db.execute("UPDATE payments SET expires_at = $1", last)

    async def story(number: int) -> Any:
        await asyncio.sleep(0.1 * number)
        created, _ = await together(alone.create(orders[number], an_id()), checkout.sweep_checkouts(alone.ctx))
        return state_of(created)

    answers = await in_turns([story(number) for number in range(MANY)], at_once=MANY)
    await alone.rest()
    await clock.move(alone.db, timedelta(seconds=10))
    for _ in range(4):
        await checkout.sweep_checkouts(alone.ctx)
        await alone.rest()
    fates = [await judged(alone, order) for order in orders]
    assert [{1: HELD, CLOSED: EXPIRED}.get(answer) for answer in answers] == fates
    needs(Counter(fates), HELD, EXPIRED)


async def test_create_and_a_newer_checkout_of_the_cart(desk: Desk) -> None:
    """The older purchase is held and lives, or it is cancelled with the newer one's commit."""

    async def story(_: int) -> Fate:
        buyer = a_buyer()
        old = await desk.ordered(buyer=buyer)
        await desk.put(buyer, "2")
        created, new = await together(later(desk.create(old, an_id()), 0.3), desk.purchase(buyer))
        assert new.order_id != old.order_id
        assert await judged(desk, new) == WAITS
        fate = await judged(desk, old)
        assert (state_of(created), fate) in {(1, HELD), (CLOSED, CANCELLED)}
        return fate

    await race_until(desk, story, HELD, CANCELLED)


async def test_create_and_an_ambassador_that_is_deleted(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        order = await desk.ordered()
        created, _ = await together(later(desk.create(order, an_id()), 0.1), checkout.withdraw(gone, desk.merchant_id, ["1"]))
        fate = await judged(desk, order)
        assert (state_of(created), fate) in {(1, HELD), (CLOSED, CANCELLED)}
        assert await desk.in_cart(order.buyer_id) == []
        return fate

    gone = desk.ctx  # the product itself stays on sale below, so that the next buyer finds it
    found: Counter[Fate] = Counter()
    while sum(found.values()) < MANY // 2 or (len(found) < 2 and sum(found.values()) < 10 * MANY):
        found[await story(0)] += 1
        await desk.db.execute("UPDATE products SET sold = true WHERE merchant_id = $1", desk.merchant_id)
    needs(found, HELD, CANCELLED)


async def test_perform_and_an_ambassador_that_is_deleted(desk: Desk) -> None:
    """What Payme holds is never touched."""
    orders = [await desk.ordered() for _ in range(MANY)]
    ids = [await desk.created(order) for order in orders]

    async def story(number: int) -> Fate:
        performed, *_ = await together(
            desk.perform(ids[number]), *([checkout.withdraw(desk.ctx, desk.merchant_id, ["1"])] if number % 10 == 0 else [])
        )
        assert state_of(performed) == 2
        assert await desk.in_cart(orders[number].buyer_id) == []
        return await judged(desk, orders[number])

    needs(await race(desk, story), PAID)


async def test_create_and_a_cancel_by_staff(desk: Desk) -> None:
    """Who is held is not cancelled, who is cancelled is not created."""

    async def story(_: int) -> Fate:
        order = await desk.ordered()

        async def cancel() -> str:
            try:
                return (await desk.move(order)).status
            except IllegalMove:
                return "held"

        created, moved = await together(desk.create(order, an_id()), cancel())
        fate = await judged(desk, order)
        assert (state_of(created), moved, fate) in {(1, "held", HELD), (CLOSED, "cancelled", CANCELLED)}
        return fate

    await race_until(desk, story, HELD, CANCELLED)


async def test_a_cancel_by_payme_and_a_cancel_by_staff(desk: Desk) -> None:
    """Whoever is first: the money goes back once, the buyer has nothing, and no case is left open."""

    async def story(_: int) -> Fate:
        order = await desk.ordered()
        payme_id = await desk.performed(order)

        async def cancel() -> str:
            try:
                return (await desk.move(order)).status
            except IllegalMove:
                return "cancelled already"

        answer, moved = await together(desk.cancel(payme_id, 5), cancel())
        await desk.rest()
        assert state_of(answer) == -2
        found[moved] += 1
        return await judged(desk, order)

    found: Counter[str] = Counter()
    needs(await race(desk, story), RETURNED)
    assert await desk.cases() == []
    assert found["cancelled"] + found["cancelled already"] == MANY


async def test_a_cancel_of_what_is_held_and_a_newer_checkout(desk: Desk) -> None:
    """Payme lets go while the buyer orders anew: the older purchase closes, whoever was first."""

    async def story(_: int) -> Fate:
        buyer = a_buyer()
        old = await desk.ordered(buyer=buyer)
        payme_id = await desk.created(old)
        await desk.put(buyer, "2")
        answer, new = await together(desk.cancel(payme_id), desk.purchase(buyer))
        assert state_of(answer) == -1
        assert await judged(desk, new) == WAITS
        return await judged(desk, old)

    needs(await race(desk, story), LET_GO_AND_CANCELLED)


async def test_two_purchases_of_one_cart_are_performed(desk: Desk) -> None:
    """Both were held: the buyer bought twice, in whatever order."""

    async def story(_: int) -> tuple[Fate, Fate]:
        buyer = a_buyer()
        old = await desk.ordered("1", buyer=buyer)
        first = await desk.created(old)
        await desk.take_out(buyer, "1")
        await desk.put(buyer, "2")
        new = await desk.purchase(buyer)
        second = await desk.created(new)
        answers = await together(desk.perform(first), desk.perform(second))
        assert [state_of(answer) for answer in answers] == [2, 2]
        assert await desk.in_cart(buyer) == []
        assert await desk.has(buyer) == ["1", "2"]
        return await desk.fate(old), await desk.fate(new)

    needs(await race(desk, story, MANY // 2), (PAID, PAID))


async def test_checkouts_of_one_cart_are_one_purchase(desk: Desk) -> None:
    async def story(_: int) -> Fate:
        buyer = a_buyer()
        await desk.put(buyer, "1")
        orders = await together(*(desk.purchase(buyer) for _ in range(4)))
        assert len({order.order_id for order in orders}) == 1
        return await judged(desk, orders[0])

    needs(await race(desk, story, MANY // 2), WAITS)


async def test_everything_at_once(desk: Desk) -> None:
    """One purchase, everybody at it, again and again: it comes to an end that is allowed, and every answer fits it."""

    async def story(_: int) -> Fate:
        buyer = a_buyer()
        order = await desk.ordered(buyer=buyer)
        ids = [an_id(), an_id()]

        async def go(payme_id: str) -> list[int]:
            return [
                state_of(await desk.create(order, payme_id)),
                state_of(await desk.perform(payme_id)),
                state_of(await desk.cancel(payme_id)),
            ]

        async def cancel() -> None:
            with contextlib.suppress(IllegalMove):
                await desk.move(order)

        first, second, *_ = await together(go(ids[0]), go(ids[1]), cancel(), desk.perform(ids[0]), desk.cancel(ids[1]))
        await desk.rest()
        for answers in (first, second):
            assert answers[0] in {1, BUSY, CLOSED, NOT_NOW, -31052}, answers
            assert answers[1] in {2, NOT_NOW, NO_ATTEMPT}, answers
            assert answers[2] in {-1, -2, NO_ATTEMPT}, answers
        fate = await judged(desk, order)
        assert fate.attempts.count(1) + fate.attempts.count(2) == 0
        assert fate.payment in {"waiting", "cancelled", "refunded"}
        return fate

    await race(desk, story)
    assert await desk.cases() == []


async def test_everybody_at_one_cart(desk: Desk) -> None:
    """Three purchases of a cart, one of them held; Payme, the buyer, staff and a deletion come at once. Nobody meets a deadlock."""

    async def story(number: int) -> tuple[int, ...]:
        buyer = a_buyer()
        orders = []
        for product_id in ("1", "2", "3"):
            orders.append(await desk.ordered(product_id, buyer=buyer))
            if product_id == "1":
                first = await desk.created(orders[0])

        async def cancel(order: Order) -> None:
            with contextlib.suppress(IllegalMove):
                await desk.move(order)

        async def change() -> None:
            await desk.take_out(buyer, "3")
            await desk.put(buyer, "4")
            await desk.purchase(buyer)

        performed, created, *_ = await together(
            desk.perform(first),
            desk.create(orders[2], an_id()),
            cancel(orders[1]),
            cancel(orders[2]),
            change(),
            *([checkout.withdraw(desk.ctx, desk.merchant_id, ["5"])] if number % 5 == 0 else []),
        )
        await desk.rest()
        assert state_of(performed) == 2
        assert (await judged(desk, orders[0])) == PAID
        assert (state_of(created), await desk.fate(orders[2])) in {(1, HELD), (CLOSED, CANCELLED)}
        assert "1" not in await desk.in_cart(buyer)
        return state_of(performed), state_of(created)

    await race(desk, story)
