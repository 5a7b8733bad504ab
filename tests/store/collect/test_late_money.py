"""Money that comes late (rulings, 1): at most one payment of an order keeps it, however the late yes and the newer payment meet."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.factories import Till, at_once, settle

from kassa import collect
from kassa.checkout import sweep_refunds
from kassa.collect import PaymentExists, Replayed, Requested, sweep_payments
from kassa.kit import clock
from kassa.payments import Payment, Verdict, requests

OVER = ("declined", "closed", "cancelled")
"""How an older payment came to its end before its money came."""


async def two(till: Till, end: str, order_id: str = "A-1") -> tuple[Payment, Payment]:
    """An older payment of an order that is over, and a newer one that waits for its buyer."""
    old = await till.requested(order_id)
    await settle(till.shop, old, end)
    return old, await till.requested(order_id)


async def keepers(till: Till, order_id: str = "A-1") -> list[Payment]:
    """The payments of an order that keep its money."""
    return [payment for payment in await till.payments(order_id) if payment.status == "paid"]


async def holders(till: Till, order_id: str = "A-1") -> int:
    found: int = await till.db.value(
        "SELECT count(*) FROM payments WHERE merchant_id = $1 AND ref = $2 AND holds_reference", till.merchant_id, order_id
    )
    return found


@pytest.mark.parametrize("end", OVER)
async def test_beside_a_pending_one_the_late_one_is_paid_and_the_newer_is_superseded(till: Till, end: str) -> None:
    old, new = await two(till, end)
    assert (await till.report(old)).message == "payment updated"
    old, new = await till.payment(old), await till.payment(new)
    assert (old.status, new.status, new.reason) == ("paid", "cancelled", "superseded")
    assert await till.told(new) == ["payment.created", "payment.waiting", "payment.cancelled"]
    assert (await till.refunds(old), await holders(till)) == ([], 1)
    with pytest.raises(PaymentExists) as refused:
        await till.request()
    assert refused.value.payment.payment_id == old.payment_id


@pytest.mark.parametrize("end", OVER)
async def test_beside_a_paid_one_the_late_one_is_paid_and_goes_back_at_once(till: Till, end: str) -> None:
    old, new = await two(till, end)
    await till.report(new)
    said = await till.report(old)
    assert (said.message, said.payment and said.payment.status) == ("payment updated", "refunding")
    await till.rest()
    assert ((await till.payment(old)).status, (await till.payment(new)).status) == ("refunded", "paid")
    (refund,) = await till.refunds(old)
    assert (refund.status, refund.owed, refund.reason, refund.amount_minor) == ("succeeded", True, "superseded", 10_000)
    assert till.links.returned == {refund.provider_key: 10_000}
    assert await till.told(old) == [
        "payment.created", "payment.waiting", {"declined": "payment.declined", "closed": "payment.expired"}.get(end, "payment.cancelled"),
        "payment.paid", "refund.created", "refund.succeeded", "payment.refunded",
    ]  # fmt: skip
    assert await holders(till) == 1


async def test_a_superseded_one_that_is_paid_after_all_goes_back(till: Till) -> None:
    old, new = await two(till, "closed")
    await till.report(old)
    await till.report(new)
    await till.rest()
    assert ((await till.payment(old)).status, (await till.payment(new)).status) == ("paid", "refunded")


async def test_while_the_newer_one_goes_back_the_late_one_goes_back_too(till: Till) -> None:
    """Its refund could still fail, and then the newer one is the paid one again."""
    old, new = await two(till, "closed")
    await till.report(new)
    till.links.refunds = ["pending"]
    refund = await till.given_back(new)
    assert (await till.payment(new)).status == "refunding"
    await till.report(old)
    await till.rest()
    await till.report(new, "failed", refund)
    assert ((await till.payment(old)).status, (await till.payment(new)).status) == ("refunded", "paid")


async def test_after_the_newer_one_went_back_as_a_whole_the_late_one_keeps_its_money(till: Till) -> None:
    old, new = await two(till, "closed")
    await till.report(new)
    await till.given_back(new)
    await till.report(old)
    await till.rest()
    assert ((await till.payment(old)).status, (await till.payment(new)).status, await holders(till)) == ("paid", "refunded", 1)


async def test_of_five_older_ones_that_are_all_paid_one_keeps_the_money(till: Till) -> None:
    made = []
    for _ in range(5):
        made.append(await till.requested())
        await settle(till.shop, made[-1], "closed")
    made.append(await till.requested())
    answers = await at_once(*(till.report(payment) for payment in made for _ in range(3)))
    assert all(isinstance(each, collect.Reported) for each in answers), answers
    await till.rest()
    assert Counter(await till.statuses()) in ({"paid": 1, "refunded": 5}, {"paid": 1, "refunded": 4, "cancelled": 1})
    assert await holders(till) == 1


async def test_a_hundred_late_yeses_at_once_are_one_refund(till: Till) -> None:
    old, new = await two(till, "closed")
    await till.report(new)
    answers = await at_once(*(till.report(old) for _ in range(100)))
    await till.rest()
    assert Counter(each.message for each in answers) == {"payment updated": 1, "already processed": 99}
    assert [refund.status for refund in await till.refunds(old)] == ["succeeded"]
    assert len(till.links.sent) == 1


async def test_a_late_yes_and_a_yes_of_the_newer_at_the_same_time_leave_one_that_keeps_the_money(till: Till) -> None:
    for n in range(60):
        old, new = await two(till, OVER[n % 3], f"A-{n}")
        answers = await at_once(*(till.report(payment) for payment in ((old, new) if n % 2 else (new, old))))
        assert all(isinstance(each, collect.Reported) for each in answers), answers
        await till.rest()
        assert sorted([(await till.payment(old)).status, (await till.payment(new)).status]) == ["paid", "refunded"], f"round {n}"


async def test_a_late_yes_while_a_newer_one_is_asked_for_two_hundred_rounds(till: Till) -> None:
    """Either the POST was first, and its payment is superseded, or the yes was, and the POST is refused. Never both, never an error."""
    chance = random.Random(7)
    seen: Counter[tuple[str, ...]] = Counter()
    for n in range(200):
        order_id = f"A-{n}"
        old = await till.requested(order_id)
        await settle(till.shop, old, OVER[n % 3])

        async def reports(old: Payment = old, pause: float = 0.1 if n % 20 == 0 else chance.uniform(0, 0.004)) -> Any:
            await asyncio.sleep(pause)
            return await till.report(old)

        async def asks(
            order_id: str = order_id, n: int = n, pause: float = 0.1 if n % 20 == 1 else chance.uniform(0, 0.004)
        ) -> Any:
            await asyncio.sleep(pause)
            return await till.request(order_id, key=f"key-{n:05d}")

        said, made = await at_once(reports(), asks())
        assert isinstance(said, collect.Reported), repr(said)
        assert said.message == "payment updated"
        assert isinstance(made, Requested | PaymentExists), repr(made)
        statuses = await till.statuses(order_id)
        seen[tuple(statuses)] += 1
        assert statuses == (["paid"] if isinstance(made, PaymentExists) else ["paid", "cancelled"]), f"round {n}: {statuses}"
    assert len(seen) == 2, f"the race always had the same winner: {seen}"
    assert await till.used() == 200 + seen["paid", "cancelled"]


async def test_a_yes_that_read_the_payment_while_it_still_waited_looks_again(till: Till) -> None:
    """It expired between, and a newer one was made: whoever judges by the old reading must not trip over the newer holder."""
    for state in ("waiting", "paid"):
        order_id = f"A-{state}"
        stale = await till.requested(order_id)
        await settle(till.shop, stale, "closed")
        new = await till.requested(order_id)
        if state == "paid":
            await till.report(new)
        for _ in range(2):
            try:
                async with till.db.transaction("collect.report") as tx:
                    kept = await requests.settle_reference(tx, stale, Verdict("paid"))
            except requests.ReferenceTaken:
                stale = await till.payment(stale)
                continue
            break
        assert kept.settled.moved
        if kept.refund is not None:
            from kassa import checkout

            await checkout.send_refund(till.ctx, kept.refund)
        statuses = [(await till.payment(stale)).status, (await till.payment(new)).status]
        assert statuses == (["paid", "cancelled"] if state == "waiting" else ["refunded", "paid"])


async def test_an_expiry_and_a_yes_and_a_newer_post_at_the_same_moment(alone: Till) -> None:
    """The worker closes the link, the provider reports it as paid, and the merchant asks anew: all at once (F14, F34)."""
    chance = random.Random(11)
    for n in range(60):
        order_id = f"A-{n}"
        old = await alone.requested(order_id)
        await alone.db.execute(
            "UPDATE payments SET expires_at = kassa_now(), next_ask_at = kassa_now() WHERE payment_id = $1", old.payment_id
        )

        async def later(work: Any, pause: float) -> Any:
            await asyncio.sleep(pause)
            return await work

        swept, said, made = await at_once(
            later(sweep_payments(alone.ctx), 0),
            later(alone.report(old), chance.uniform(0, 0.006)),
            later(alone.request(order_id), chance.uniform(0, 0.006)),
        )
        assert isinstance(swept, int), repr(swept)
        assert isinstance(said, collect.Reported), f"round {n}: {said!r}"
        assert isinstance(made, Requested | PaymentExists), f"round {n}: {made!r}"
        await alone.rest()
        found = await alone.payment(old)
        assert found.status == "paid", f"round {n}: the money came, and the payment is {found.status}"
        assert (len(await keepers(alone, order_id)), await holders(alone, order_id)) == (1, 1), f"round {n}"


async def test_an_expiry_and_a_yes_always_end_paid_once(alone: Till) -> None:
    for n in range(60):
        payment = await alone.requested(f"A-{n}")
        await alone.db.execute(
            "UPDATE payments SET expires_at = kassa_now(), next_ask_at = kassa_now() WHERE payment_id = $1", payment.payment_id
        )
        works = [alone.report(payment), sweep_payments(alone.ctx)]
        await at_once(*(works if n % 2 else works[::-1]))
        assert (await alone.payment(payment)).status == "paid", f"round {n}"
        assert await alone.shop.entries(payment.payment_id) == [("capture", 10_000)]


# ── a refund of late money is owed: it never fails ───────────────────────────────────────────────────────────────────


async def owed(till: Till, *words: str) -> tuple[Payment, Payment]:
    old, new = await two(till, "closed")
    await till.report(new)
    till.links.refunds = list(words)
    await till.report(old)
    await till.rest()
    return old, new


@pytest.mark.parametrize("word", ["failed", "impossible"])
async def test_a_provider_that_will_not_give_it_back_makes_a_case_and_the_money_stays_on_its_way(till: Till, word: str) -> None:
    old, new = await owed(till, word)
    (refund,) = await till.refunds(old)
    assert (refund.status, refund.shown_status, (await till.payment(old)).status) == ("parked", "pending", "refunding")
    assert await till.listed() == [("refund_parked", f"refund:{refund.refund_id}")]
    done = await collect.mark_refund_done(till.ctx, refund, "by bank transfer")
    assert (done.status, (await till.payment(old)).status, await till.listed()) == ("succeeded", "refunded", [])
    assert ((await till.payment(new)).status, await holders(till)) == ("paid", 1)


async def test_a_provider_that_reports_that_it_failed_makes_a_case_too(till: Till) -> None:
    old, _ = await owed(till, "pending")
    (refund,) = await till.refunds(old)
    await till.report(old, "failed", refund)
    assert [each.status for each in await till.refunds(old)] == ["parked"]
    assert await till.listed() == [("refund_parked", f"refund:{refund.refund_id}")]
    await till.report(old, "refunded", refund)
    assert ((await till.payment(old)).status, await till.listed()) == ("refunded", [])


async def test_silence_is_tried_on_by_a_worker_under_the_same_key(alone: Till) -> None:
    old, _ = await owed(alone, "pending", "cut", "succeeded")
    for _ in range(4):
        await clock.move(alone.db, timedelta(minutes=6))
        await sweep_refunds(alone.ctx)
    (refund,) = await alone.refunds(old)
    assert (refund.status, (await alone.payment(old)).status) == ("succeeded", "refunded")
    assert alone.links.sent == [refund.provider_key] * 3
    assert alone.links.returned == {refund.provider_key: 10_000}


async def test_if_the_process_dies_before_it_is_sent_a_worker_sends_it(alone: Till) -> None:
    old, new = await two(alone, "closed")
    await alone.report(new)
    async with alone.db.transaction("collect.report") as tx:
        kept = await requests.settle_reference(tx, await alone.payment(old), Verdict("paid"))
    assert kept.refund is not None
    assert alone.links.sent == []
    assert await sweep_refunds(alone.ctx) == 1
    assert (await alone.payment(old)).status == "refunded"


async def test_a_repeat_of_the_post_that_was_superseded_still_gets_its_first_answer(till: Till) -> None:
    old = await till.requested()
    await settle(till.shop, old, "closed")
    made = await till.request(key="key-00001")
    await till.report(old)
    again = await till.request(key="key-00001")
    assert isinstance(made, Requested)
    assert isinstance(again, Replayed)
    assert str(made.payment.payment_id).encode() in again.body
