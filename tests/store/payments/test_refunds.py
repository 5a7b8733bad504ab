"""Money given back: never more than was captured, sent under one key, booked once, and never forgotten when it is owed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.factories import CURRENCY, ScriptedCards, Shop, at_once, open_payment, paid_payment, settle, world

from kassa import payments
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.payments import Payment, Refund, RefundTaken
from kassa.payments.model import RefundVerdict
from kassa.payments.provider import Providers
from kassa.payments.refund import NotRefundable, RefundTooLarge


async def begin(shop: Shop, payment: Payment, amount: int | None = None, *, owed: bool = False, key: str | None = None) -> Refund:
    async with shop.db.transaction("refund") as tx:
        _, refund = await payments.begin_refund(
            tx, payment, provider_key=key or str(new_id()), owed=owed, reason="asked for",
            amount=None if amount is None else Money(amount, CURRENCY),
        )  # fmt: skip
    return refund


async def conclude(shop: Shop, refund: Refund, kind: str) -> Refund:
    payment = await shop.payment_of(refund.payment_id)
    async with shop.db.transaction("refund") as tx:
        return await payments.conclude_refund(tx, payment, refund, RefundVerdict(kind))


async def sums(shop: Shop, payment: Payment) -> tuple[str, int, int, int]:
    """Status, captured, refunded, on its way back."""
    found = await shop.payment_of(payment.payment_id)
    return found.status, found.captured_minor, found.refunded_minor, found.refunding_minor


async def told(shop: Shop, payment: Payment) -> list[str]:
    return [type_ for _, type_ in await shop.events(f"payment:{payment.payment_id}")][2:]


def with_cards(shop: Shop, *refunds: str) -> Shop:
    return replace(shop, ctx=world(shop.db, providers=[ScriptedCards(refunds=list(refunds))]))


async def test_a_part_given_back_leaves_the_payment_paid(shop: Shop) -> None:
    payment = await paid_payment(shop)
    refund = await begin(shop, payment, 3_000)
    assert await sums(shop, payment) == ("paid", 10_000, 0, 3_000)
    await conclude(shop, refund, "succeeded")
    assert await sums(shop, payment) == ("paid", 10_000, 3_000, 0)
    assert await shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 3_000)]
    assert await told(shop, payment) == ["refund.created", "refund.succeeded"]


async def test_the_whole_given_back_is_refunding_then_refunded(shop: Shop) -> None:
    payment = await paid_payment(shop)
    refund = await begin(shop, payment)
    assert refund.amount_minor == 10_000
    assert await sums(shop, payment) == ("refunding", 10_000, 0, 10_000)
    await conclude(shop, refund, "succeeded")
    assert await sums(shop, payment) == ("refunded", 10_000, 10_000, 0)
    assert await told(shop, payment) == ["refund.created", "refund.succeeded", "payment.refunded"]


async def test_parts_that_sum_to_the_whole_are_the_whole(shop: Shop) -> None:
    payment = await paid_payment(shop)
    parts = [await begin(shop, payment, amount) for amount in (4_000, 5_000, 1_000)]
    assert (await sums(shop, payment))[0] == "refunding"
    for refund in parts:
        await conclude(shop, refund, "succeeded")
    assert await sums(shop, payment) == ("refunded", 10_000, 10_000, 0)


async def test_without_an_amount_all_that_is_left_goes_back(shop: Shop) -> None:
    payment = await paid_payment(shop)
    await conclude(shop, await begin(shop, payment, 2_500), "succeeded")
    assert (await begin(shop, payment)).amount_minor == 7_500


async def test_more_than_is_left_is_refused(shop: Shop) -> None:
    payment = await paid_payment(shop)
    with pytest.raises(RefundTooLarge):
        await begin(shop, payment, 10_001)
    await begin(shop, payment, 6_000)
    with pytest.raises(RefundTooLarge):
        await begin(shop, payment, 4_001)
    assert await sums(shop, payment) == ("paid", 10_000, 0, 6_000)


@pytest.mark.parametrize("verdicts", [(), ("waiting",), ("unknown",), ("declined",), ("closed",), ("cancelled",)])
async def test_what_was_not_paid_cannot_be_given_back(shop: Shop, verdicts: tuple[str, ...]) -> None:
    payment = await open_payment(shop)
    for verdict in verdicts:
        payment = (await settle(shop, payment, verdict)).payment
    with pytest.raises(NotRefundable):
        await begin(shop, payment)


async def test_what_was_given_back_cannot_be_given_back_again(shop: Shop) -> None:
    payment = await paid_payment(shop)
    refund = await begin(shop, payment)
    with pytest.raises(NotRefundable):
        await begin(shop, payment)
    await conclude(shop, refund, "succeeded")
    with pytest.raises(NotRefundable):
        await begin(shop, payment)


async def test_fifty_refunds_at_once_never_exceed_what_was_captured(shop: Shop) -> None:
    payment = await paid_payment(shop)
    answers = await at_once(*(begin(shop, payment, 900) for _ in range(50)))
    begun = [each for each in answers if isinstance(each, Refund)]
    assert len(begun) == 11
    assert all(isinstance(each, Refund | RefundTooLarge) for each in answers)
    assert await sums(shop, payment) == ("paid", 10_000, 0, 9_900)
    await asyncio.gather(*(conclude(shop, refund, "succeeded") for refund in begun))
    assert await sums(shop, payment) == ("paid", 10_000, 9_900, 0)


async def test_fifty_refunds_of_the_whole_at_once_are_one(shop: Shop) -> None:
    payment = await paid_payment(shop)
    answers = await at_once(*(begin(shop, payment) for _ in range(50)))
    assert sum(isinstance(each, Refund) for each in answers) == 1
    assert sum(isinstance(each, NotRefundable) for each in answers) == 49


async def test_one_key_is_one_refund(shop: Shop) -> None:
    payment = await paid_payment(shop)
    await begin(shop, payment, 100, key="c-1:refund")
    with pytest.raises(asyncpg.UniqueViolationError):
        await begin(shop, payment, 100, key="c-1:refund")
    assert await sums(shop, payment) == ("paid", 10_000, 0, 100)


async def test_an_answer_noted_by_twenty_at_once_is_booked_once(shop: Shop) -> None:
    payment = await paid_payment(shop)
    refund = await begin(shop, payment, 3_000)
    await at_once(*(conclude(shop, refund, ["succeeded", "failed"][n % 2]) for n in range(20)))
    status, captured, refunded, refunding = await sums(shop, payment)
    assert (status, captured, refunding) == ("paid", 10_000, 0)
    assert refunded in {0, 3_000}
    assert len(await shop.entries(payment.payment_id)) == 1 + (refunded == 3_000)
    assert len(await told(shop, payment)) == 2


async def test_a_refund_that_failed_leaves_the_money_where_it_was(shop: Shop) -> None:
    payment = await paid_payment(shop)
    assert (await conclude(shop, await begin(shop, payment), "failed")).status == "failed"
    assert await sums(shop, payment) == ("paid", 10_000, 0, 0)
    assert await told(shop, payment) == ["refund.created", "refund.failed"]
    assert await shop.entries(payment.payment_id) == [("capture", 10_000)]
    assert (await begin(shop, payment)).amount_minor == 10_000, "it can be tried anew"


async def test_one_of_two_parts_that_fails_makes_the_payment_paid_again(shop: Shop) -> None:
    payment = await paid_payment(shop)
    one, other = await begin(shop, payment, 6_000), await begin(shop, payment, 4_000)
    await conclude(shop, one, "failed")
    assert await sums(shop, payment) == ("paid", 10_000, 0, 4_000)
    await conclude(shop, other, "succeeded")
    assert await sums(shop, payment) == ("paid", 10_000, 4_000, 0)


@pytest.mark.parametrize("kind", ["failed", "impossible"])
async def test_a_refund_that_is_owed_never_fails_a_person_looks(shop: Shop, kind: str) -> None:
    payment = await paid_payment(shop)
    refund = await conclude(shop, await begin(shop, payment, owed=True), kind)
    assert refund.status == "parked"
    assert await sums(shop, payment) == ("refunding", 10_000, 0, 10_000)
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.db.execute("UPDATE refunds SET status = 'failed' WHERE refund_id = $1", refund.refund_id)


async def test_a_person_says_that_it_was_given_back_by_hand(shop: Shop) -> None:
    payment = await paid_payment(shop, provider="cash_on_delivery")
    refund = await conclude(shop, await begin(shop, payment, owed=True), "impossible")
    for _ in range(2):
        async with shop.db.transaction("refund") as tx:
            by_hand = RefundVerdict("succeeded", message="by hand")
            await payments.conclude_refund(tx, await shop.payment_of(payment.payment_id), refund, by_hand)
    assert await sums(shop, payment) == ("refunded", 10_000, 10_000, 0)
    assert await shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 10_000)]


async def test_silence_is_tried_again_with_longer_pauses(shop: Shop) -> None:
    shop = with_cards(shop, *["silent"] * 8)
    payment = await paid_payment(shop)
    refund = await begin(shop, payment, owed=True)
    waits = []
    for _ in range(8):
        refund = await payments.send_refund(shop.ctx, refund)
        assert refund.status == "pending"
        waits.append(round(((refund.next_at or refund.read_at) - refund.read_at).total_seconds()))
    assert waits == [1, 2, 5, 15, 30, 60, 60, 60]
    refund = await payments.send_refund(shop.ctx, refund)
    assert refund.status == "succeeded"
    assert await sums(shop, payment) == ("refunded", 10_000, 10_000, 0)


async def test_after_an_hour_it_is_tried_every_quarter_and_after_a_day_a_person_looks_too(shop: Shop) -> None:
    shop = with_cards(shop, "silent", *["silent"] * 6)
    payment = await paid_payment(shop)
    refund = await payments.send_refund(shop.ctx, await begin(shop, payment, owed=True))
    await shop.db.execute(
        "UPDATE refunds SET sends = 9, first_sent_at = first_sent_at - interval '61 minutes' WHERE refund_id = $1", refund.refund_id
    )
    refund = await payments.send_refund(shop.ctx, refund)
    assert refund.status == "pending"
    assert round(((refund.next_at or refund.read_at) - refund.read_at).total_seconds()) == 900
    await shop.db.execute(
        "UPDATE refunds SET first_sent_at = first_sent_at - interval '24 hours' WHERE refund_id = $1", refund.refund_id
    )
    refund = await payments.send_refund(shop.ctx, refund)
    assert refund.status == "parked"
    assert refund.next_at is not None, "and it is tried on"


async def test_ten_senders_at_once_send_it_once(shop: Shop) -> None:
    gate = asyncio.Event()

    class Slow(ScriptedCards):
        async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
            await gate.wait()
            return await super().refund(payment, refund)

    cards = Slow()
    slow = replace(shop, ctx=world(shop.db, providers=[cards], lease_s=0.5))
    payment = await paid_payment(slow)
    refund = await begin(slow, payment)
    sending = asyncio.create_task(at_once(*(payments.send_refund(slow.ctx, refund) for _ in range(10))))
    await asyncio.sleep(1.2)  # longer than the lease: whoever sends keeps it
    assert isinstance((await at_once(payments.send_refund(slow.ctx, refund)))[0], RefundTaken)
    gate.set()
    answers = await sending
    assert sum(isinstance(each, Refund) for each in answers) == 1
    assert sum(isinstance(each, RefundTaken) for each in answers) == 9
    assert list(cards.returned) == [refund.provider_key]
    assert await sums(slow, payment) == ("refunded", 10_000, 10_000, 0)


async def test_a_refund_whose_sender_died_is_due_again_when_its_lease_is_over(shop: Shop) -> None:
    payment = await paid_payment(shop)
    refund = await begin(shop, payment)
    ids = {each.refund_id for each in await payments.due_refunds(shop.ctx)}
    assert refund.refund_id in ids
    assert await payments.store.claim_refund(shop.db, refund, 60) is not None
    assert refund.refund_id not in {each.refund_id for each in await payments.due_refunds(shop.ctx)}
    await shop.db.execute("UPDATE refunds SET lease_until = now() - interval '1 s' WHERE refund_id = $1", refund.refund_id)
    assert refund.refund_id in {each.refund_id for each in await payments.due_refunds(shop.ctx)}
    assert (await payments.send_refund(shop.ctx, refund)).status == "succeeded"
    assert refund.refund_id not in {each.refund_id for each in await payments.due_refunds(shop.ctx)}


async def test_a_refund_is_sent_under_its_own_key_every_time(shop: Shop) -> None:
    keys: list[str] = []

    class Remembering(ScriptedCards):
        async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
            keys.append(refund.provider_key)
            return await super().refund(payment, refund)

    shop = replace(shop, ctx=world(shop.db, providers=[Remembering(refunds=["silent", "silent"])]))
    refund = await begin(shop, await paid_payment(shop), key="c-2:refund")
    for _ in range(3):
        refund = await payments.send_refund(shop.ctx, refund)
    assert keys == ["c-2:refund"] * 3


async def test_a_refund_of_a_payment_that_does_not_hold_its_reference_does_not_take_it(shop: Shop) -> None:
    payment = await paid_payment(shop, ref="order-1001")
    await shop.db.execute("UPDATE payments SET holds_reference = false WHERE payment_id = $1", payment.payment_id)
    holder = await paid_payment(shop, ref="order-1001")
    await conclude(shop, await begin(shop, payment, 1_000), "succeeded")
    rows = await shop.db.rows(
        "SELECT payment_id FROM payments WHERE ref = 'order-1001' AND holds_reference AND merchant_id = $1", shop.merchant_id
    )
    assert [row["payment_id"] for row in rows] == [holder.payment_id]


async def test_given_back_as_a_whole_the_reference_is_free_again(shop: Shop) -> None:
    payment = await paid_payment(shop, ref="order-1002")
    await conclude(shop, await begin(shop, payment), "succeeded")
    assert (await open_payment(shop, ref="order-1002")).status == "opened"


async def test_another_refund_of_the_same_payment_is_listed_in_the_order_they_were_begun(shop: Shop) -> None:
    payment = await paid_payment(shop)
    begun = [(await begin(shop, payment, amount)).refund_id for amount in (1, 2, 3)]
    assert [each.refund_id for each in await payments.refunds_of(shop.db, shop.merchant_id, payment.payment_id)] == begun


def test_the_providers_of_a_world_are_found_by_the_payments_own_name(shop: Shop) -> None:
    providers: Any = shop.ctx.port(Providers)
    assert {"card", "simulated", "cash_on_delivery"} <= set(providers.by_name)
