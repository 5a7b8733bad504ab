"""A merchant's own system asks for payments at the merchant's own cashbox (rulings, 9): the payment stands where an order stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from tests.factories import render_payment, settle, subscribe
from tests.store.payme.desk import (
    BUSY,
    CLOSED,
    NOT_NOW,
    PAID_ALREADY,
    WRONG_SUM,
    Desk,
    an_id,
    in_turns,
    open_desk,
    state_of,
    together,
)

from kassa import collect
from kassa.collect import payme
from kassa.kit import clock
from kassa.kit.money import Money
from kassa.payments import Payment, requests


@pytest_asyncio.fixture(loop_scope="session")
async def seller(alone: Desk) -> AsyncIterator[Desk]:
    """A merchant with a subscription, and another provider beside Payme."""
    await subscribe(alone.ctx, alone.merchant_id, 1000)
    await alone.till.route("stripe", requests.Rule(1, "stripe"))
    yield alone


async def states(desk: Desk, payment: Payment) -> tuple[str, tuple[int, ...]]:
    """The payment's status, and the states of its attempts."""
    rows = await desk.db.rows("SELECT state FROM payme_transactions WHERE payment_id = $1 ORDER BY state", payment.payment_id)
    return (await desk.till.payment(payment)).status, tuple(row["state"] for row in rows)


async def test_it_is_paid_and_given_back(seller: Desk) -> None:
    payment = await seller.asked("A-1", key="a-key-of-its-own")
    assert (payment.status, payment.provider, payment.pay_url) == ("waiting", "payme", payment.pay_url)
    assert payment.pay_url is not None
    assert payment.pay_url.startswith("https://test.paycom.uz/")
    again = await collect.request_payment(seller.ctx, seller.outside_wish("A-1", key="a-key-of-its-own"), render_payment)
    assert isinstance(again, collect.Replayed)
    payme_id = await seller.performed(payment)
    assert await states(seller, payment) == ("paid", (2,))
    assert await seller.till.shop.entries(payment.payment_id) == [("capture", 700_000)]
    assert await seller.create(payment, an_id()) == PAID_ALREADY
    assert state_of(await seller.cancel(payme_id, 5)) == -2
    assert await states(seller, payment) == ("refunded", (-2,))
    assert await seller.create(payment, an_id()) == CLOSED
    told = await seller.till.told(payment)
    assert [told.count(name) for name in ("payment.waiting", "payment.paid", "refund.created", "payment.refunded")] == [1, 1, 1, 1]
    assert await seller.cases() == []


async def test_one_attempt_after_the_other(seller: Desk) -> None:
    payment = await seller.asked("A-2")
    first = await seller.created(payment)
    assert await seller.create(payment, an_id()) == BUSY
    assert await seller.create(payment, an_id(), amount=1) == WRONG_SUM
    await seller.cancel(first)
    await seller.performed(payment)
    assert await states(seller, payment) == ("paid", (-1, 2))


async def test_a_repeated_create_is_named_by_the_payment_and_not_by_the_merchants_order(seller: Desk) -> None:
    """The merchant's own order ids may look like ours."""
    other = await seller.asked("A-3")
    payment = await seller.asked(str(other.payment_id))
    payme_id, at = await seller.created(payment), await seller.now_ms()
    assert await seller.create(other, payme_id, time_ms=at) == -31050


@pytest.mark.parametrize("box", [True, False], ids=["another currency", "no cashbox"])
async def test_it_is_no_provider_of_others(seller: Desk, *, box: bool) -> None:
    desk = seller if box else replace(await open_desk(seller.ctx))
    if not box:
        await desk.db.execute("DELETE FROM payme_cashboxes WHERE merchant_id = $1", desk.merchant_id)
    wish = desk.outside_wish("A-4")
    with pytest.raises(collect.ProviderMissing):
        await collect.request_payment(desk.ctx, replace(wish, price=Money(700, "INR")) if box else wish, render_payment)
    assert await desk.till.statuses("A-4") == []


async def test_its_time_waits_while_payme_holds_it(seller: Desk) -> None:
    forgotten, cancelled, alone = [await seller.asked(f"A-{number}") for number in (5, 6, 7)]
    await clock.move(seller.db, timedelta(hours=23))
    first, second = await seller.created(forgotten), await seller.created(cancelled)
    await clock.move(seller.db, timedelta(hours=2))
    for _ in range(3):
        await collect.sweep_payments(seller.ctx)
    assert await states(seller, alone) == ("expired", ())
    assert (await seller.check(first), await states(seller, forgotten)) == (await seller.check(first), ("waiting", (1,)))
    await seller.cancel(second)
    assert await states(seller, cancelled) == ("expired", (-1,))
    await clock.move(seller.db, timedelta(hours=11))
    assert await payme.sweep_attempts(seller.ctx) == 1
    assert await states(seller, forgotten) == ("expired", (-1,))
    assert (await seller.asked("A-5")).status == "waiting"  # the order id is free again


async def test_one_that_was_let_go_expires_in_its_time(seller: Desk) -> None:
    payment = await seller.asked("A-8")
    await seller.cancel(await seller.created(payment))
    await collect.sweep_payments(seller.ctx)
    assert await states(seller, payment) == ("waiting", (-1,))
    await clock.move(seller.db, timedelta(hours=25))
    await collect.sweep_payments(seller.ctx)
    assert await states(seller, payment) == ("expired", (-1,))


async def test_late_money_of_an_older_link_supersedes_what_nobody_holds(seller: Desk) -> None:
    old = await seller.asked("A-9", alias="stripe")
    await settle(seller.till.shop, old, "closed")
    new = await seller.asked("A-9")
    await seller.till.report(old)
    assert await seller.till.statuses("A-9") == ["paid", "cancelled"]
    assert await seller.create(new, an_id()) == CLOSED


async def test_late_money_goes_back_beside_what_payme_holds(seller: Desk) -> None:
    async def story(number: int) -> tuple[Any, ...]:
        old = await seller.asked(f"B-{number}", alias="stripe")
        await settle(seller.till.shop, old, "closed")
        new = await seller.asked(f"B-{number}")
        payme_id = await seller.created(new)
        performed, reported = await together(seller.perform(payme_id), seller.till.report(old))
        await seller.rest()
        return state_of(performed), reported.message, *await seller.till.statuses(f"B-{number}")

    found = Counter(await in_turns([story(number) for number in range(30)]))
    assert found == {(2, "payment updated", "refunded", "paid"): 30}


async def test_calls_about_one_payment_at_once(seller: Desk) -> None:
    """Everything that Payme may say, said at once: one truth, each time."""

    async def story(number: int) -> tuple[Any, ...]:
        payment = await seller.asked(f"C-{number}")
        ids = [an_id(), an_id()]
        time = await seller.now_ms()
        answers = await together(*(seller.create(payment, each, time_ms=time) for each in (*ids, *ids)))
        assert sorted(map(state_of, answers)) == [BUSY, BUSY, 1, 1]
        (holder,) = {each for each, answer in zip((*ids, *ids), answers, strict=True) if state_of(answer) == 1}
        performed, cancelled = await together(seller.perform(holder), seller.cancel(holder))
        ends = state_of(performed), state_of(cancelled)
        assert ends in {(2, -2), (NOT_NOW, -1)}
        status = await states(seller, payment)
        assert status == {-2: ("refunded", (-2,)), -1: ("waiting", (-1,))}[ends[1]]
        return status

    assert len(Counter(await in_turns([story(number) for number in range(40)]))) == 2
