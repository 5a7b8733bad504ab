"""Today's money against yesterday's."""

from __future__ import annotations

from datetime import timedelta

from tests.factories import CARD, PRICE, Till, settle

from kassa import desk
from kassa.desk.model import CAPTURED, DECLINED, REFUNDED, YESTERDAY, Total
from kassa.kit import clock
from kassa.payments.model import Card

BAD = Card("credit_card", "4000000000000002", "12/25", "123")


async def test_what_came_in_went_back_and_was_declined_is_counted_apart(till: Till) -> None:
    await till.shop.buy({"mouse": 2}, card=CARD)
    await till.shop.buy({"mouse": 1}, card=CARD)
    payment = await till.paid("A-1", 10_000)
    await till.given_back(payment, 2_500)
    till.cards.begins.append("declined")
    await till.shop.buy({"lamp": 1}, card=BAD)
    day = await desk.read_day(till.db, till.merchant_id)
    assert day.currencies == ["INR"]
    assert day.total(CAPTURED, "INR") == Total(3 * PRICE + 10_000, 3)
    assert day.total(CAPTURED, "INR", provider="card") == Total(3 * PRICE, 2)
    assert day.total(REFUNDED, "INR") == Total(2_500, 1)
    assert day.total(DECLINED, "INR") == Total(PRICE, 1)
    assert day.hours(CAPTURED, "INR")[12].count == 3
    assert day.hours(CAPTURED, "INR")[11].count == 0
    assert day.total(CAPTURED, "INR", YESTERDAY) == Total()


async def test_it_agrees_with_the_books(till: Till) -> None:
    for number in range(3):
        await till.paid(f"A-{number}", 1_000 + number)
    day = await desk.read_day(till.db, till.merchant_id)
    booked = await till.db.value("SELECT sum(amount_minor)::bigint FROM ledger_postings WHERE merchant_id = $1", till.merchant_id)
    assert day.total(CAPTURED, "INR").amount_minor == booked == 3_003


async def test_nobody_sees_anothers_money(till: Till, other: Till) -> None:
    await other.paid("A-1", 7_777)
    till.cards.begins.append("declined")
    assert (await desk.read_day(till.db, till.merchant_id)).sums == []


async def test_a_payment_of_a_declined_card_that_was_paid_after_all_is_no_decline(till: Till) -> None:
    payment = await till.requested("A-1")
    await settle(till.shop, payment, "declined")
    assert (await desk.read_day(till.db, till.merchant_id)).total(DECLINED, "INR").count == 1
    await settle(till.shop, await till.payment(payment), "paid")
    day = await desk.read_day(till.db, till.merchant_id)
    assert (day.total(DECLINED, "INR").count, day.total(CAPTURED, "INR").count) == (0, 1)


async def test_tomorrow_it_is_yesterdays_and_the_day_after_it_is_gone(till: Till) -> None:
    """The clock is moved on for good: this test is the last one of its file."""
    await till.paid("A-1", 5_000)
    await clock.move(till.db, timedelta(days=1))
    day = await desk.read_day(till.db, till.merchant_id)
    assert day.total(CAPTURED, "INR") == Total()
    assert day.total(CAPTURED, "INR", YESTERDAY) == Total(5_000, 1)
    assert day.hours(CAPTURED, "INR", YESTERDAY)[12].count == 1
    assert day.total(CAPTURED, "INR", YESTERDAY, by_now=True) == Total(5_000, 1), "this time yesterday is just after it"
    await till.paid("A-2", 600)
    day = await desk.read_day(till.db, till.merchant_id)
    assert day.total(CAPTURED, "INR") == Total(600, 1)
    await clock.move(till.db, timedelta(days=1))
    assert (await desk.read_day(till.db, till.merchant_id)).total(CAPTURED, "INR", YESTERDAY) == Total(600, 1)
