"""A payment in doubt: whoever looks asks once more, and a person's word counts as the provider's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.factories import ScriptedCards, ScriptedLinks, Till, at_once, open_payment, open_till, settle, world

from kassa import cases, checkout, collect
from kassa.checkout import saga
from kassa.collect import PaymentMissing, Refunded, decide, mark_refund_done
from kassa.kit.ids import new_id
from kassa.payments import NotRefundable, Payment


async def in_doubt(till: Till, *asks: str, begins: str = "silent_paid") -> tuple[Any, Payment]:
    """A purchase by card whose charge was not answered; `asks` is what the provider says when it is asked."""
    till.cards.begins, till.cards.asks = [begins], ["silent", *asks]
    held = await till.shop.begin({"mouse": 1})
    await saga.drive(till.ctx, held)
    payment = await till.payment(held.payment)
    assert payment.status == "unknown"
    return held, payment


async def not_due_for_long(till: Till, payment: Payment) -> None:
    """The plan of questions is in its slow end."""
    await till.db.execute(
        "UPDATE payments SET next_ask_at = kassa_now() + interval '1 hour' WHERE payment_id = $1", payment.payment_id
    )


async def test_whoever_reads_a_payment_in_doubt_makes_it_less_doubtful(till: Till) -> None:
    held, payment = await in_doubt(till)
    await not_due_for_long(till, payment)
    shown = await collect.read_payment(till.ctx, till.merchant_id, payment.payment_id)
    assert shown.payment.status == "unknown", "the reader does not wait"
    await till.rest()
    assert (await till.payment(payment)).status == "paid"
    assert (await till.shop.order_of(held.order.order_id)).status == "paid"


async def test_fifty_readers_at_once_ask_once(till: Till) -> None:
    _, payment = await in_doubt(till)
    await not_due_for_long(till, payment)
    before = till.cards.asked
    await at_once(*(collect.read_payment(till.ctx, till.merchant_id, payment.payment_id) for _ in range(50)))
    await till.rest()
    assert till.cards.asked == before + 1


async def test_a_buyer_who_reads_the_checkout_asks_too_and_a_page_loaded_again_and_again_asks_once(till: Till) -> None:
    held, payment = await in_doubt(till, "silent", "silent")
    await not_due_for_long(till, payment)
    before = till.cards.asked
    for _ in range(5):
        await checkout.read_checkout(till.ctx, till.merchant_id, held.checkout.checkout_id)
        await till.ctx.background.drain(5)
    assert till.cards.asked == before + 1


async def test_a_question_that_is_due_in_a_moment_is_not_brought_forward(till: Till) -> None:
    _, payment = await in_doubt(till)
    before = till.cards.asked
    await collect.read_payment(till.ctx, till.merchant_id, payment.payment_id)
    await till.ctx.background.drain(5)
    assert till.cards.asked == before


async def test_an_answer_that_is_none_leaves_the_plan_of_questions_as_it_is(till: Till) -> None:
    held, payment = await in_doubt(till, "silent", "truth")
    await collect.resolve(till.ctx, payment)
    found = await till.payment(payment)
    assert (found.status, found.asks, found.next_ask_at) == ("unknown", payment.asks, payment.next_ask_at)
    await collect.resolve(till.ctx, found)
    await till.rest()
    assert (await till.shop.order_of(held.order.order_id)).status == "paid"


@pytest.mark.parametrize("status", ["waiting", "paid", "declined"])
async def test_a_payment_that_is_known_is_not_asked_about(till: Till, status: str) -> None:
    payment = await till.requested()
    if status != "waiting":
        payment = (await settle(till.shop, payment, status)).payment
    asked = till.cards.asked
    assert await collect.resolve(till.ctx, payment) == payment
    assert till.cards.asked == asked


async def test_a_refund_asks_first_and_gives_back_what_was_paid_after_all(till: Till) -> None:
    _, payment = await in_doubt(till)
    given = await till.give_back(payment, 100)
    await till.rest()
    assert isinstance(given, Refunded)
    assert (await till.payment(payment)).refunded_minor == 100


async def test_a_refund_of_what_nobody_knows_is_refused(till: Till) -> None:
    _, payment = await in_doubt(till, "silent", "silent")
    with pytest.raises(NotRefundable):
        await till.give_back(payment, 100)
    await collect.resolve(till.ctx, payment)
    await collect.resolve(till.ctx, await till.payment(payment))
    await till.rest()


async def test_a_stranger_does_not_see_it(till: Till) -> None:
    payment, other = await till.requested(), await open_till(till.ctx)
    for read in (collect.read_payment, collect.read_timeline):
        with pytest.raises(PaymentMissing):
            await read(till.ctx, other.merchant_id, payment.payment_id)
        await read(till.ctx, None, payment.payment_id)


# ── a person's word ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "reason"), [("paid", None), ("declined", "by_hand"), ("cancelled", "by_hand")])
async def test_a_persons_word_settles_a_payment_and_closes_what_was_listed(till: Till, kind: str, reason: str | None) -> None:
    payment = await till.requested()
    await till.report(payment, price="1.00")
    assert len(await till.listed()) == 1
    found = await decide(till.ctx, payment.payment_id, kind, "seen on the statement")
    assert (found.status, found.reason, found.message) == (kind, reason, "By hand: seen on the statement")
    assert await till.listed() == []
    (case,) = await cases.find_cases(till.db, merchant_id=till.merchant_id, open_only=False)
    assert case.decision == "by hand: seen on the statement"


async def test_a_word_that_the_status_does_not_allow_changes_nothing(till: Till) -> None:
    payment = await till.paid()
    for kind in ("declined", "cancelled", "paid"):
        assert (await decide(till.ctx, payment.payment_id, kind, "no")).status == "paid"
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000)]


async def test_ten_people_who_say_the_same_at_once_are_one(till: Till) -> None:
    payment = await till.requested()
    answers = await at_once(*(decide(till.ctx, payment.payment_id, "paid", "seen") for _ in range(10)))
    assert Counter(each.status for each in answers) == {"paid": 10}
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000)]


async def test_a_persons_late_yes_is_treated_like_the_providers(till: Till) -> None:
    old = await till.requested()
    await settle(till.shop, old, "closed")
    new = await till.paid()
    await decide(till.ctx, old.payment_id, "paid", "seen on the statement")
    await till.rest()
    assert ((await till.payment(old)).status, (await till.payment(new)).status) == ("refunded", "paid")


async def test_a_persons_word_about_an_orders_payment_takes_the_order_with_it(till: Till) -> None:
    held, payment = await in_doubt(till, *["silent"] * 9)
    await decide(till.ctx, payment.payment_id, "declined", "the provider says no on the telephone")
    await till.rest()
    assert (await till.shop.order_of(held.order.order_id)).status == "cancelled"
    till.cards.charged.clear()


async def test_a_word_about_nothing_is_refused(till: Till) -> None:
    with pytest.raises(PaymentMissing):
        await decide(till.ctx, new_id(), "paid", "x")


async def test_what_was_given_back_by_hand_is_booked_once_however_often_it_is_said(till: Till) -> None:
    payment = (await settle(till.shop, await open_payment(till.shop, provider="cash_on_delivery"), "paid")).payment
    refund = await till.given_back(payment, 4_000)
    assert (refund.status, await till.listed()) == ("parked", [("refund_parked", f"refund:{refund.refund_id}")])
    answers = await at_once(*(mark_refund_done(till.ctx, refund, "in cash") for _ in range(10)))
    assert all(not isinstance(each, BaseException) for each in answers), answers
    found = await till.payment(payment)
    assert (found.status, found.refunded_minor, await till.listed()) == ("paid", 4_000, [])
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 4_000)]


async def test_a_person_and_the_provider_at_the_same_moment_book_it_once_and_nobody_is_sent_away(till: Till) -> None:
    """Both know that the money is back. Rows are taken in one order, so neither trips over the other."""
    for n in range(40):
        payment = await till.paid(f"A-{n}")
        till.links.refunds = ["pending"]
        refund = await till.given_back(payment)
        by_hand = [mark_refund_done(till.ctx, refund, "seen") for _ in range(3)]
        answers = await at_once(*by_hand, *(till.report(payment, "refunded", refund) for _ in range(3)))
        assert [each for each in answers if isinstance(each, BaseException)] == [], f"round {n}"
        assert (await till.payment(payment)).status == "refunded"
        assert len(await till.shop.entries(payment.payment_id)) == 2


async def test_a_refund_that_failed_cannot_be_said_to_be_done(till: Till) -> None:
    payment = await till.paid()
    till.links.refunds = ["failed"]
    refund = await till.given_back(payment)
    assert (await mark_refund_done(till.ctx, refund, "in cash")).status == "failed"
    assert ((await till.payment(payment)).status, (await till.payment(payment)).refunded_minor) == ("paid", 0)


async def test_a_card_that_cannot_be_refunded_by_its_service_is_done_by_hand(till: Till) -> None:
    cards = ScriptedCards(refunds=["impossible"])
    there = till.at(world(till.db, providers=[cards, ScriptedLinks()]))
    payment = (await settle(there.shop, await open_payment(there.shop), "paid")).payment
    refund = await there.given_back(payment, 1)
    assert refund.shown_status == "pending"
    assert (await mark_refund_done(there.ctx, refund, "by bank transfer")).status == "succeeded"
