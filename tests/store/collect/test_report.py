"""What a provider reports: every cell of the table in section 4 of the payments contract, a hundred at once, and what fits nothing."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.factories import ScriptedExternal, ScriptedLinks, Till, at_once, open_payment, open_till, settle, world

from kassa import collect
from kassa.collect import Reported, sweep_unmatched
from kassa.kit import clock
from kassa.kit.ids import new_id
from kassa.payments import Payment

UPDATED, PROCESSED, MISMATCH, OTHER, MISSING = (
    "payment updated", "already processed", "amount mismatch", "other provider", "payment not found",
)  # fmt: skip
NO = ("failed", "expired", "canceled", "FINISHED", "finished ", "whatever it may be")
"""Anything but `finished`, `pending` and `processing` means no."""


async def payment_at(till: Till, status: str) -> Payment:
    """A payment of a link in one of the states of the core."""
    if status == "opened":
        return await open_payment(till.shop, provider="link", method="link:stripe")
    payment = await till.requested(f"A-{new_id()}")
    match status:
        case "waiting":
            pass
        case "paid":
            await settle(till.shop, payment, "paid")
        case "declined" | "cancelled":
            await settle(till.shop, payment, status)
        case "expired":
            await settle(till.shop, payment, "closed")
        case "refunding" | "refunded":
            await settle(till.shop, payment, "paid")
            till.links.refunds = ["pending"] if status == "refunding" else []
            await till.given_back(payment)
    found = await till.payment(payment)
    assert found.status == status
    return found


@pytest.mark.parametrize("status", ["opened", "waiting"])
async def test_a_pending_one_becomes_paid(till: Till, status: str) -> None:
    payment = await payment_at(till, status)
    said = await till.report(payment)
    assert (said.message, said.payment and said.payment.status) == (UPDATED, "paid")
    assert await till.shop.entries(payment.payment_id) == [("capture", payment.amount_minor)]
    assert await till.noted(payment) == [("finished", UPDATED)]


@pytest.mark.parametrize("said", NO)
async def test_a_pending_one_becomes_failed_whatever_word_says_no(till: Till, said: str) -> None:
    payment = await payment_at(till, "waiting")
    answer = await till.report(payment, said)
    assert (answer.message, answer.payment and (answer.payment.status, answer.payment.reason)) == (
        UPDATED,
        ("declined", "provider_declined"),
    )
    assert await till.told(payment) == ["payment.created", "payment.waiting", "payment.declined"]
    assert await till.used() == 1


@pytest.mark.parametrize("status", ["waiting", "paid", "declined", "expired", "cancelled", "refunded"])
@pytest.mark.parametrize("said", ["pending", "processing"])
async def test_what_is_still_going_on_changes_nothing(till: Till, status: str, said: str) -> None:
    payment = await payment_at(till, status)
    told = await till.told(payment)
    await till.report(payment, said)
    assert ((await till.payment(payment)).status, await till.told(payment), await till.listed()) == (status, told, [])


@pytest.mark.parametrize("status", ["paid", "refunding", "refunded"])
@pytest.mark.parametrize("said", ["finished", "failed"])
async def test_what_was_paid_stays_as_it_is_and_a_no_is_listed(till: Till, status: str, said: str) -> None:
    payment = await payment_at(till, status)
    answer = await till.report(payment, said)
    assert (answer.message, answer.payment and answer.payment.status) == (PROCESSED, status)
    assert await till.shop.entries(payment.payment_id) == [
        ("capture", 10_000),
        *([("refund", 10_000)] if status == "refunded" else []),
    ]
    assert await till.listed() == ([("report_contradicts", f"payment:{payment.payment_id}")] if said == "failed" else [])
    assert (said, PROCESSED) in await till.noted(payment)


@pytest.mark.parametrize("status", ["declined", "expired", "cancelled"])
async def test_late_facts_win(till: Till, status: str) -> None:
    payment = await payment_at(till, status)
    said = await till.report(payment)
    assert (said.message, said.payment and (said.payment.status, said.payment.reason)) == (UPDATED, ("paid", None))
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000)]


@pytest.mark.parametrize("status", ["declined", "expired", "cancelled"])
async def test_a_no_after_a_no_changes_nothing(till: Till, status: str) -> None:
    payment = await payment_at(till, status)
    told = await till.told(payment)
    assert (await till.report(payment, "failed")).message == PROCESSED
    assert ((await till.payment(payment)).status, await till.told(payment), await till.listed()) == (status, told, [])


@pytest.mark.parametrize("said", ["finished", "failed"])
async def test_a_hundred_equal_reports_at_once_take_effect_once(till: Till, said: str) -> None:
    payment = await till.requested()
    answers = await at_once(*(till.report(payment, said) for _ in range(100)))
    assert Counter(each.message for each in answers) == {UPDATED: 1, PROCESSED: 99}
    assert Counter(await till.noted(payment)) == {(said, UPDATED): 1, (said, PROCESSED): 99}
    assert await till.told(payment) == [
        "payment.created",
        "payment.waiting",
        "payment.paid" if said == "finished" else "payment.declined",
    ]
    assert await till.shop.entries(payment.payment_id) == ([("capture", 10_000)] if said == "finished" else [])


async def test_yes_and_no_a_hundred_times_at_once_always_end_paid_once(till: Till) -> None:
    payment = await till.requested()
    answers = await at_once(*(till.report(payment, ["finished", "failed", "pending"][n % 3]) for n in range(99)))
    assert all(isinstance(each, Reported) for each in answers)
    assert (await till.payment(payment)).status == "paid"
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000)]
    assert len(await till.noted(payment)) == 99


# ── payments of the shop's own orders ────────────────────────────────────────────────────────────────────────────────


async def an_order(till: Till) -> tuple[Any, Payment]:
    """An order whose buyer has a link."""
    order = await till.shop.order(f"buyer-{new_id()}", {"mouse": 2}, method="link:stripe")
    return order, await till.payment(order.payment_id)


async def test_the_payment_of_an_order_takes_its_order_with_it(till: Till) -> None:
    order, payment = await an_order(till)
    assert (await till.report(payment)).message == UPDATED
    await till.rest()
    order = await till.shop.order_of(order.order_id)
    assert (order.status, order.payment_status) == ("paid", "paid")
    assert await till.noted(payment) == [("finished", UPDATED)]


async def test_a_no_about_an_orders_payment_cancels_the_order_and_lets_go_of_the_stock(till: Till) -> None:
    order, payment = await an_order(till)
    assert await till.shop.level("mouse") == (100, 2)
    assert (await till.report(payment, "failed")).message == UPDATED
    await till.rest()
    assert (await till.shop.order_of(order.order_id)).status == "cancelled"
    assert await till.shop.level("mouse") == (100, 0)


@pytest.mark.parametrize("said", ["finished", "failed"])
async def test_a_hundred_reports_of_an_order_at_once_take_effect_once(till: Till, said: str) -> None:
    order, payment = await an_order(till)
    answers = await at_once(*(till.report(payment, said) for _ in range(100)))
    await till.rest()
    assert Counter(each.message if isinstance(each, Reported) else type(each).__name__ for each in answers) == {
        UPDATED: 1,
        PROCESSED: 99,
    }
    assert Counter(await till.noted(payment))[(said, UPDATED)] == 1
    assert (await till.shop.order_of(order.order_id)).status == ("paid" if said == "finished" else "cancelled")
    assert await till.shop.level("mouse") == ((98, 0) if said == "finished" else (100, 0))


async def test_a_yes_for_an_order_that_was_cancelled_is_paid_and_goes_back(till: Till) -> None:
    order, payment = await an_order(till)
    await till.shop.move(order, "cancelled", by_staff=False)
    assert (await till.report(payment)).message == UPDATED
    await till.rest()
    assert (await till.payment(payment)).status == "refunded"
    assert list(till.links.returned.values()) == [payment.amount_minor]
    assert await till.shop.level("mouse") == (100, 0)


# ── what fits nothing ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said", [{"price": "100.01"}, {"price": "99.99"}, {"price": "-100.00"}, {"price": "?"}, {"price": "NaN"}, {"price": "1e400"},
             {"price": "100.001"}, {"currency": "USD"}, {"currency": "inr"}, {"price": "100.00", "currency": "UZS"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("status", ["waiting", "declined"])
async def test_another_sum_changes_nothing_and_is_listed(till: Till, status: str, said: dict[str, str]) -> None:
    payment = await payment_at(till, status)
    answer = await till.report(payment, **said)
    assert (answer.message, answer.payment and answer.payment.status) == (MISMATCH, status)
    assert (await till.payment(payment)).status == status
    assert await till.listed() == [("amount_mismatch", f"payment:{payment.payment_id}")]
    assert await till.noted(payment) == [("finished", MISMATCH)]
    assert await till.shop.entries(payment.payment_id) == []


@pytest.mark.parametrize("said", [{"price": "100"}, {"price": "100.00"}, {"price": "100.000"}, {"price": "1e2"}, {"currency": "INR"},
                                  {"price": "100.0", "currency": "INR"}], ids=str)  # fmt: skip
async def test_the_same_sum_however_it_is_written_is_believed(till: Till, said: dict[str, str]) -> None:
    payment = await till.requested()
    assert (await till.report(payment, **said)).message == UPDATED


async def test_a_mismatch_told_a_hundred_times_at_once_is_one_case_and_the_right_report_still_counts(till: Till) -> None:
    payment = await till.requested()
    answers = await at_once(*(till.report(payment, price="1.00") for _ in range(100)))
    assert Counter(each.message for each in answers) == {MISMATCH: 100}
    assert len(await till.listed()) == 1
    assert (await till.report(payment, price="100.00")).message == UPDATED


async def test_a_mismatch_of_an_orders_payment_changes_nothing(till: Till) -> None:
    order, payment = await an_order(till)
    assert (await till.report(payment, price="1.00")).message == MISMATCH
    await till.rest()
    assert ((await till.shop.order_of(order.order_id)).status, (await till.payment(payment)).status) == ("pending", "waiting")
    await till.report(payment, "failed")
    await till.rest()


@pytest.mark.parametrize("provider", ["card", "simulated"])
@pytest.mark.parametrize("said", ["finished", "failed", "pending"])
async def test_a_payment_of_another_provider_is_not_the_webhooks_to_settle(till: Till, provider: str, said: str) -> None:
    payment = await open_payment(till.shop, provider=provider)
    answer = await till.report(payment, said)
    assert (answer.message, answer.payment and answer.payment.status) == (OTHER, "opened")
    assert await till.listed() == [("report_of_another_provider", f"payment:{payment.payment_id}")]
    assert await till.shop.entries(payment.payment_id) == []


async def test_what_was_asked_for_by_key_and_is_collected_outside_is_settled(till: Till) -> None:
    rules = collect.CollectRules(keyed_provider="external")
    outside = till.at(world(till.db, providers=[ScriptedExternal(), ScriptedLinks()], collecting=rules))
    wish = collect.KeyedWish(till.merchant_id, till.wish().price, "A-1", "key-00001", {})
    made = await collect.request_by_key(outside.ctx, wish)
    assert (await outside.report(made.payment_id)).message == UPDATED
    assert (await till.payment(made.payment_id)).status == "paid"


async def test_a_word_that_cannot_be_kept_is_kept_as_far_as_it_can(till: Till) -> None:
    payment = await till.requested()
    assert (await till.report(payment, "не оплачено\n\x07" + "x" * 200)).message == UPDATED
    (noted,) = await till.noted(payment)
    assert (len(noted[0]), noted[0].startswith("?? ????????"), noted[0].isprintable()) == (64, True, True)


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def waiting_refund(till: Till, amount: int | None = 3_000) -> tuple[Payment, Any]:
    payment = await till.paid(f"A-{new_id()}")
    till.links.refunds = ["pending"]
    refund = await till.given_back(payment, amount)
    assert refund.status == "pending"
    return payment, refund


@pytest.mark.parametrize(
    ("said", "status", "sums"), [("refunded", "succeeded", (3_000, 0)), ("failed", "failed", (0, 0)), ("x", "failed", (0, 0))]
)
async def test_a_report_about_a_refund_decides_it(till: Till, said: str, status: str, sums: tuple[int, int]) -> None:
    payment, refund = await waiting_refund(till)
    answer = await till.report(payment, said, refund)
    found = await till.payment(payment)
    assert (answer.message, found.refunded_minor, found.refunding_minor) == (UPDATED, *sums)
    assert [each.status for each in await till.refunds(payment)] == [status]


async def test_a_hundred_reports_about_a_refund_at_once_take_effect_once(till: Till) -> None:
    payment, refund = await waiting_refund(till)
    answers = await at_once(*(till.report(payment, "refunded", refund) for _ in range(100)))
    assert Counter(each.message for each in answers) == {UPDATED: 1, PROCESSED: 99}
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 3_000)]
    assert (await till.told(payment)).count("refund.succeeded") == 1


async def test_a_refund_that_failed_and_succeeded_at_once_did_one_of_them(till: Till) -> None:
    for _ in range(10):
        payment, refund = await waiting_refund(till, None)
        await at_once(*(till.report(payment, ["refunded", "failed"][n % 2], refund) for n in range(10)))
        found = await till.payment(payment)
        assert (found.status, found.refunded_minor, found.refunding_minor) in {("refunded", 10_000, 0), ("paid", 0, 0)}


@pytest.mark.parametrize("said", ["pending", "processing"])
async def test_a_refund_that_still_goes_on_goes_on(till: Till, said: str) -> None:
    payment, refund = await waiting_refund(till)
    await till.report(payment, said, refund)
    assert [each.status for each in await till.refunds(payment)] == ["pending"]


async def test_a_refund_reported_before_its_payment_was_is_kept_until_it_is_there(alone: Till) -> None:
    """Out of order (F11): nothing is booked for a refund that nobody began."""
    payment = await alone.requested()
    said = await alone.report(payment, "refunded", new_id())
    assert (said.message, said.payment) == ("refund not found", None)
    assert (await alone.payment(payment)).refunded_minor == 0
    await clock.move(alone.db, timedelta(seconds=2))
    assert await sweep_unmatched(alone.ctx) == 0
    assert len(await kept(alone)) == 1


# ── unknown payments ─────────────────────────────────────────────────────────────────────────────────────────────────


async def kept(till: Till) -> list[tuple[str, bool]]:
    """Reports that wait for their payment, and whether they are still tried."""
    rows = await till.db.rows("SELECT status, next_at IS NOT NULL AS tried FROM inbox_unmatched ORDER BY received_at, message_id")
    return [(row["status"], row["tried"]) for row in rows]


async def test_a_report_of_an_unknown_payment_is_kept_and_kept_once(alone: Till) -> None:
    nobody = new_id()
    for _ in range(3):
        said = await alone.report(nobody)
        assert (said.message, said.payment) == (MISSING, None)
    await alone.report(nobody, "failed")
    await alone.report(new_id())
    assert await kept(alone) == [("finished", True), ("failed", True), ("finished", True)]


async def appears(till: Till, payment_id: uuid.UUID) -> Payment:
    """The payment with this id is there now, as after a restore."""
    return await open_payment(till.shop, provider="link", method="link:stripe", payment_id=payment_id)


async def test_it_is_applied_as_soon_as_the_payment_appears(alone: Till) -> None:
    payment_id = new_id()
    await alone.report(payment_id)
    await clock.move(alone.db, timedelta(seconds=2))
    assert await sweep_unmatched(alone.ctx) == 0
    assert await kept(alone) == [("finished", True)]
    await appears(alone, payment_id)
    assert await sweep_unmatched(alone.ctx) == 0, "it was looked at a moment ago"
    await clock.move(alone.db, timedelta(seconds=2))
    assert await sweep_unmatched(alone.ctx) == 1
    assert ((await alone.payment(payment_id)).status, await kept(alone)) == ("paid", [])


async def test_ten_sweepers_at_once_apply_it_once(alone: Till) -> None:
    ids = [new_id() for _ in range(20)]
    for payment_id in ids:
        await alone.report(payment_id)
        await appears(alone, payment_id)
    await clock.move(alone.db, timedelta(seconds=2))
    assert sum(await at_once(*(sweep_unmatched(alone.ctx) for _ in range(10)))) == 20
    assert {payment.status for payment in await alone.payments()} == {"paid"}
    assert all([await alone.noted(payment) == [("finished", UPDATED)] for payment in await alone.payments()])


async def test_what_was_kept_is_judged_like_any_report(alone: Till) -> None:
    payment_id = new_id()
    await alone.report(payment_id, price="1.00")
    await appears(alone, payment_id)
    await clock.move(alone.db, timedelta(seconds=2))
    assert await sweep_unmatched(alone.ctx) == 1
    assert ((await alone.payment(payment_id)).status, await kept(alone)) == ("opened", [])
    assert await alone.listed() == [("amount_mismatch", f"payment:{payment_id}")]


async def test_after_72_hours_it_is_a_case_once_and_tried_no_more(alone: Till) -> None:
    payment_id = new_id()
    await alone.report(payment_id)
    await clock.move(alone.db, timedelta(hours=71, minutes=59))
    assert await sweep_unmatched(alone.ctx) == 0
    assert await house_cases(alone) == []
    await clock.move(alone.db, timedelta(minutes=2))
    for _ in range(3):
        assert await sweep_unmatched(alone.ctx) == 0
        await clock.move(alone.db, timedelta(seconds=2))
    assert await house_cases(alone) == [("report_unmatched", f"payment:{payment_id}")]
    assert await kept(alone) == [("finished", False)]


async def test_a_refund_that_stays_unknown_is_a_case_after_72_hours_too(alone: Till) -> None:
    payment = await alone.paid()
    await alone.report(payment, "refunded", new_id())
    await clock.move(alone.db, timedelta(hours=73))
    for _ in range(2):
        await sweep_unmatched(alone.ctx)
        await clock.move(alone.db, timedelta(seconds=2))
    assert [kind for kind, _ in [*await house_cases(alone), *await alone.listed()]] == ["report_unmatched"]
    assert await kept(alone) == [("refunded", False)]


async def test_a_refund_of_another_payment_does_not_vanish(alone: Till) -> None:
    """Right signature, wrong order (F12): it changes neither payment, and is kept until somebody looks."""
    mine, other = await alone.paid("A-1"), await alone.paid("A-2")
    alone.links.refunds = ["pending"]
    refund = await alone.given_back(other)
    await alone.report(mine, "refunded", refund)
    await clock.move(alone.db, timedelta(seconds=2))
    await sweep_unmatched(alone.ctx)
    assert [each.status for each in await alone.refunds(other)] == ["pending"]
    assert (await alone.payment(mine)).refunded_minor == 0
    assert await kept(alone) or await alone.listed() or await house_cases(alone), "nobody will ever hear of it"


async def house_cases(till: Till) -> list[tuple[str, str]]:
    """What is listed for the house: nobody knows whose an unknown payment is."""
    rows = await till.db.rows("SELECT kind, subject FROM cases WHERE merchant_id = '1' AND closed_at IS NULL")
    return [(row["kind"], row["subject"]) for row in rows]


async def test_a_later_report_with_the_right_sum_is_kept_beside_one_with_a_wrong_sum(alone: Till) -> None:
    payment_id = new_id()
    await alone.report(payment_id, price="1.00")
    await alone.report(payment_id, price="100.00")
    await appears(alone, payment_id)
    await clock.move(alone.db, timedelta(seconds=2))
    await sweep_unmatched(alone.ctx)
    assert (await alone.payment(payment_id)).status == "paid"


async def test_another_merchants_payment_is_settled_as_its_own(till: Till) -> None:
    """Reports name no merchant: whatever follows stays with the merchant whose payment it is."""
    other = await open_till(till.ctx)
    theirs = await other.requested()
    await till.report(theirs)
    assert (await other.payment(theirs)).status == "paid"
    assert (await till.payments(), await till.noted(theirs), len(await other.noted(theirs))) == ([], [], 1)
    assert await other.breaches() == []
