"""A refund of what was paid at Payme: whoever speaks first ends it, once; what is not known is asked, and a no is looked at."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import pytest
from tests.factories import at_once, render_payment, subscribe
from tests.store.payme_receipts.conftest import No, Town

from kassa import collect, orders, payments
from kassa.checkout.cancel import cancel
from kassa.collect import payme as calls
from kassa.kit.money import Money
from kassa.kit.neighbour import BreakerOpen, NoAnswer, NotSent
from kassa.payments import payme
from kassa.payments.payme.model import Cashbox


async def owed(town: Town) -> tuple[orders.Order, str]:
    """A paid order that the shop has cancelled; nobody has told Payme yet."""
    order, payme_id = await town.paid()
    async with town.db.transaction("orders.move") as tx:
        await cancel(town.ctx, tx, await orders.lock(tx, town.merchant_id, order.order_id), None)
    [refund] = await town.refunds(order)
    assert (refund.status, refund.owed, refund.sends) == ("pending", True, 0)
    return order, payme_id


async def wished(town: Town, order: orders.Order) -> payments.Refund:
    """A refund that a merchant asks for, of the whole payment."""
    async with town.db.transaction("collect.refund") as tx:
        locked = await orders.lock(tx, town.merchant_id, order.order_id)
        _, refund = await payments.begin_refund(tx, await town.payment(order), owed=False, reason=None)
        await orders.note_payment(tx, locked, "refunded")
    return refund


@pytest.mark.parametrize("state", [21, 50])
async def test_the_answer_first_then_paymes_cancel(town: Town, state: int) -> None:
    order, payme_id = await owed(town)
    town.wire.says["receipts.cancel"] = town.receipt(order, payme_id, state)
    assert await town.due() == 1
    assert (await town.payment(order)).status == ("refunded" if state == 50 else "refunding")
    first = await calls.cancel(town.ctx, town.box, payme_id, 5)
    assert await calls.cancel(town.ctx, town.box, payme_id, 5) == first
    assert first["state"] == -2
    await town.later(3600)
    assert await town.due() == 0
    await town.is_given_back_once(order)
    assert town.wire.asked == ["receipts.cancel"]


@pytest.mark.parametrize("answer", [50, 21, No(-31007), NoAnswer(), "refused and shown as paid"], ids=str)
async def test_paymes_cancel_first_then_whatever_is_answered(town: Town, answer: Any) -> None:
    order, payme_id = await owed(town)

    async def cancelled(_params: Any) -> Any:
        await calls.cancel(town.ctx, town.box, payme_id, 5)
        if isinstance(answer, str):
            return No(-31007)
        return town.receipt(order, payme_id, answer) if isinstance(answer, int) else answer

    town.wire.says |= {"receipts.cancel": cancelled, "receipts.check": {"state": 4 if isinstance(answer, str) else 50}}
    assert await town.due() == 1
    await town.is_given_back_once(order)
    await town.later(3600)
    assert await town.due() == 0
    assert await town.attempt(payme_id) == (-2, 5)


@pytest.mark.parametrize("turn", range(8))
async def test_both_at_the_same_moment_are_one_refund(town: Town, turn: int) -> None:
    order, payme_id = await owed(town)

    async def answered(_params: Any) -> Any:
        await asyncio.sleep(0.004 * turn)
        return town.receipt(order, payme_id, 50)

    town.wire.says["receipts.cancel"] = answered
    came = await at_once(town.due(), *(calls.cancel(town.ctx, town.box, payme_id, 5) for _ in range(3)))
    assert [each for each in came if isinstance(each, BaseException)] == []
    await town.is_given_back_once(order)
    assert await town.attempt(payme_id) == (-2, 5)
    assert (await town.shop.order_of(order.order_id)).status == "cancelled"
    assert await town.shop.level("mouse") == (100, 0)


async def test_a_refund_that_a_merchant_asked_for_and_paymes_cancel_are_one(town: Town) -> None:
    order, payme_id = await town.paid()
    await wished(town, order)
    town.wire.says["receipts.cancel"] = town.receipt(order, payme_id, 50)
    await at_once(town.due(), calls.cancel(town.ctx, town.box, payme_id, 5))
    await town.is_given_back_once(order)
    assert (await town.shop.order_of(order.order_id)).status == "cancelled"


@pytest.mark.parametrize("silence", [NoAnswer(), NotSent(), BreakerOpen()], ids=lambda each: type(each).__name__)
async def test_silence_is_asked_about_before_anything_is_sent_again(town: Town, silence: Exception) -> None:
    order, payme_id = await owed(town)
    town.wire.says |= {"receipts.cancel": silence, "receipts.check": NoAnswer()}
    await town.due()
    await town.later(60)
    await town.due()
    assert town.wire.asked == ["receipts.cancel", "receipts.check"], "not sent while nobody knows"
    town.wire.says |= {"receipts.check": {"state": 21}}
    await town.later(60)
    await town.due()
    assert (await town.payment(order)).status == "refunding"
    town.wire.says |= {"receipts.check": {"state": 4}, "receipts.cancel": town.receipt(order, payme_id, 21)}
    await town.later(60)
    await town.due()
    assert town.wire.asked == ["receipts.cancel", *["receipts.check"] * 3, "receipts.cancel"], "it never arrived"
    town.wire.says |= {"receipts.check": {"state": 50}}
    await town.later(3600)
    await town.due()
    await town.is_given_back_once(order)
    await calls.cancel(town.ctx, town.box, payme_id, 5)
    await town.is_given_back_once(order)


@pytest.mark.parametrize("state", [21, 50, 20, 3, 30])
async def test_a_no_to_what_was_cancelled_before_is_none(town: Town, state: int) -> None:
    order, payme_id = await owed(town)
    town.wire.says |= {"receipts.cancel": No(-31008), "receipts.check": {"state": state}}
    await town.due()
    assert (await town.payment(order)).status == ("refunded" if state == 50 else "refunding")
    assert await town.cases() == []
    await calls.cancel(town.ctx, town.box, payme_id, 5)
    await town.is_given_back_once(order)


async def test_a_clear_no_to_an_owed_refund_is_a_persons(town: Town) -> None:
    order, payme_id = await owed(town)
    town.wire.says |= {"receipts.cancel": No(-31007), "receipts.check": {"state": 4}}
    await town.due()
    [refund] = await town.refunds(order)
    assert (refund.status, refund.message) == ("parked", "Payme refused it (-31007): No")
    assert await town.cases() == ["refund_at_provider"]
    await calls.cancel(town.ctx, town.box, payme_id, 5)  # from the cabinet
    await town.is_given_back_once(order)
    assert await town.cases() == []


async def test_a_clear_no_to_a_merchants_wish_gives_the_money_back_to_the_merchant(town: Town) -> None:
    order, payme_id = await town.paid()
    await wished(town, order)
    town.wire.says |= {"receipts.cancel": No(-31007), "receipts.check": {"state": 4}}
    await town.due()
    assert [refund.status for refund in await town.refunds(order)] == ["failed"]
    assert (await town.payment(order)).status == "paid"
    await wished(town, order)
    town.wire.says |= {"receipts.cancel": town.receipt(order, payme_id, 50)}
    await town.due()
    assert [refund.status for refund in await town.refunds(order)] == ["failed", "succeeded"]
    await calls.cancel(town.ctx, town.box, payme_id, 5)
    assert [refund.status for refund in await town.refunds(order)] == ["failed", "succeeded"]


async def test_a_receipt_that_payme_does_not_show_is_a_persons(town: Town) -> None:
    order, _ = await town.paid()
    await wished(town, order)
    town.wire.says |= {"receipts.cancel": No(-32504), "receipts.check": No(-32504)}
    await town.due()
    assert [refund.status for refund in await town.refunds(order)] == ["parked"]
    assert await town.cases() == ["refund_at_provider"]


async def test_a_part_is_not_sent(town: Town) -> None:
    order, _ = await town.paid()
    payment = await town.payment(order)
    async with town.db.transaction("collect.refund") as tx:
        await payments.begin_refund(tx, payment, owed=False, reason=None, amount=Money(payment.amount_minor - 1, "UZS"))
    await town.due()
    assert town.wire.asked == []
    assert [refund.status for refund in await town.refunds(order)] == ["parked"]


async def test_what_was_paid_into_another_cashbox_is_not_sent_to_this_one(town: Town) -> None:
    await owed(town)
    other = Cashbox(town.merchant_id, "another-cashbox", town.box.key, is_test=True)
    async with town.db.transaction("payme.cashbox") as tx:
        await payme.set_cashbox(tx, town.ctx.keys, other)
    await town.due()
    assert town.wire.asked == []
    assert await town.cases() == ["refund_at_provider"]


async def test_without_a_cashbox_it_is_a_persons(town: Town) -> None:
    await owed(town)
    async with town.db.transaction("payme.cashbox") as tx:
        await payme.drop_cashbox(tx, town.merchant_id)
    await town.due()
    assert town.wire.asked == []
    assert await town.cases() == ["refund_at_provider"]


@pytest.mark.parametrize("far", [("processing", "shipped"), ("processing", "shipped", "delivered")], ids=["shipped", "delivered"])
@pytest.mark.parametrize("first", ["answer", "cancel"])
async def test_goods_that_have_left_stay_sold_and_their_money_goes_back_once(town: Town, far: tuple[str, ...], first: str) -> None:
    order, payme_id = await town.paid()
    for status in far:
        order = await town.shop.move(order, status)
    with pytest.raises(calls.PaymeRefusal) as no:
        await calls.cancel(town.ctx, town.box, payme_id, 5)
    assert no.value.number == -31007, "nobody here has asked for it"
    await wished(town, order)
    town.wire.says["receipts.cancel"] = town.receipt(order, payme_id, 50)
    if first == "answer":
        await town.due()
    assert (await calls.cancel(town.ctx, town.box, payme_id, 5))["state"] == -2
    await town.due()
    await town.is_given_back_once(order)
    assert (await town.shop.order_of(order.order_id)).status == far[-1]


@pytest.mark.parametrize("first", ["answer", "cancel", "both"])
async def test_a_payment_without_an_order_of_ours_is_given_back_once(town: Town, first: str) -> None:
    await subscribe(town.ctx, town.merchant_id, 1)
    wish = collect.PaymentWish(
        merchant_id=town.merchant_id, order_id="A-1", order_is_number=False, quantity="1", alias="payme", plan_id=None,
        event_ref=None, price=Money(900_000, "UZS"), key=None,
    )  # fmt: skip
    asked = await collect.request_payment(town.ctx, wish, render_payment)
    assert not isinstance(asked, collect.Replayed)
    payment_id, payme_id = asked.payment.payment_id, secrets.token_hex(12)
    account = {"order_id": str(payment_id)}
    await calls.create(town.ctx, town.box, payme_id, time.time_ns() // 1_000_000, 900_000, account)
    await calls.perform(town.ctx, town.box, payme_id)
    async with town.db.transaction("collect.refund") as tx:
        payment = await town.shop.payment_of(payment_id)
        await payments.begin_refund(tx, payment, owed=False, reason=None)
    town.wire.says["receipts.cancel"] = {"receipt": {"_id": payme_id, "state": 50, "amount": 900_000}}
    works = {"answer": [town.due], "cancel": [_cancelled(town, payme_id)], "both": [town.due, _cancelled(town, payme_id)]}
    await at_once(*(work() for work in works[first]))
    await _cancelled(town, payme_id)()
    await town.due()
    payment = await town.shop.payment_of(payment_id)
    assert (payment.status, payment.refunded_minor) == ("refunded", 900_000)
    assert await town.shop.entries(payment_id) == [("capture", 900_000), ("refund", 900_000)]
    assert await town.attempt(payme_id) == (-2, 5)


def _cancelled(town: Town, payme_id: str) -> Any:
    return lambda: calls.cancel(town.ctx, town.box, payme_id, 5)
