"""What workers do for payments of no order: decide what is simulated, close what nobody paid, ask again for lost links."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.factories import Died, Till, at_once, open_till, settle, world

from kassa import collect
from kassa.collect import KeyedWish, sweep_payments
from kassa.kit import clock
from kassa.kit.money import Money
from kassa.payments import Payment, requests


async def by_key(till: Till, *amounts: int) -> list[Any]:
    """Payments by key of these amounts, so that what becomes of them is known."""
    made = [KeyedWish(till.merchant_id, Money(amount, "USD"), "o", f"key-{n:05d}", {}) for n, amount in enumerate(amounts)]
    return [await collect.request_by_key(till.ctx, wish) for wish in made]


async def dead(till: Till, order_id: str = "A-1", **how: Any) -> Payment:
    """A payment whose request died before it had a link."""

    async def dies(_: Payment) -> None:
        raise Died

    till.links.meanwhile = dies
    with pytest.raises(Died):
        await till.request(order_id, **how)
    till.links.meanwhile = None
    till.links.asked.clear()
    return (await till.payments(order_id))[-1]


async def test_what_is_simulated_is_settled_in_sets(alone: Till) -> None:
    await by_key(alone, *(100 + n for n in range(60)))
    before = alone.db.statements
    assert await sweep_payments(alone.ctx) == 60
    assert alone.db.statements - before <= 10, "a handful of statements, however many they are"
    assert Counter(await alone.statuses()) == {"paid": 59, "declined": 1}
    assert await sweep_payments(alone.ctx) == 0


async def test_ten_sweepers_at_once_settle_each_once(alone: Till) -> None:
    await by_key(alone, *(100 + n for n in range(100)))
    answers = await at_once(*(sweep_payments(alone.ctx) for _ in range(10)))
    assert sum(answers) == 100, answers
    for payment in await alone.payments():
        told = await alone.told(payment)
        assert told == ["payment.created", "payment.declined" if payment.amount_minor == 102 else "payment.paid"]
        assert await alone.shop.entries(payment.payment_id) == (
            [] if payment.amount_minor == 102 else [("capture", payment.amount_minor)]
        )


async def test_a_turn_takes_so_many_and_the_next_one_the_rest(alone: Till) -> None:
    most = collect.sweep._AT_ONCE
    await by_key(alone, *([100] * (most + 10)))
    assert [await sweep_payments(alone.ctx) for _ in range(3)] == [most, 10, 0]


async def test_one_merchants_many_do_not_keep_anothers_few_waiting(alone: Till) -> None:
    other = await open_till(alone.ctx)
    await by_key(alone, *([100] * 30))
    await by_key(other, 100)
    assert await sweep_payments(alone.ctx) == 31
    assert await other.statuses() == ["paid"]
    assert await other.breaches() == []


async def test_while_one_is_locked_by_others_the_rest_is_settled(alone: Till) -> None:
    made = await by_key(alone, 100, 100, 100)
    async with alone.db.transaction("somebody") as tx:
        await tx.execute("SELECT 1 FROM payments WHERE payment_id = $1 FOR UPDATE", made[1].payment_id)
        taken = await asyncio.create_task(sweep_payments(alone.ctx), context=_outside())
        assert taken == 2
    assert await sweep_payments(alone.ctx) == 1
    assert await alone.statuses() == ["paid"] * 3


def _outside() -> Any:
    import contextvars

    return contextvars.Context()


async def test_a_link_that_nobody_pays_is_closed_at_its_end_and_not_before(alone: Till) -> None:
    payment = await alone.requested()
    await clock.move(alone.db, timedelta(hours=23, minutes=59))
    await sweep_payments(alone.ctx)
    assert (await alone.payment(payment)).status == "waiting"
    await clock.move(alone.db, timedelta(minutes=2))
    assert await sweep_payments(alone.ctx) == 1
    found = await alone.payment(payment)
    assert (found.status, found.reason, await alone.told(payment)) == (
        "expired", "expired", ["payment.created", "payment.waiting", "payment.expired"],
    )  # fmt: skip
    assert await alone.used() == 1, "a link that expires does not bring its token back"
    assert (await alone.requested()).status == "waiting", "the order is free again"


async def test_a_lost_link_is_asked_for_again_with_the_same_payment_and_not_at_once(alone: Till) -> None:
    """Within 15 s of the restart, and not while the request that made it may still be at it."""
    payment = await dead(alone)
    await clock.move(alone.db, timedelta(seconds=8))
    assert (await sweep_payments(alone.ctx), alone.links.asked) == (0, [])
    await clock.move(alone.db, timedelta(seconds=6))
    assert await sweep_payments(alone.ctx) == 1
    found = await alone.payment(payment)
    assert (found.status, alone.links.asked, await alone.used()) == ("waiting", [(payment.payment_id, "stripe")], 1)
    assert found.pay_url is not None


async def test_ten_sweepers_at_once_ask_once_for_a_lost_link(alone: Till) -> None:
    for n in range(5):
        await dead(alone, f"A-{n}")
    await clock.move(alone.db, timedelta(seconds=15))
    await at_once(*(sweep_payments(alone.ctx) for _ in range(10)))
    assert Counter(alone.links.asked).most_common(1)[0][1] == 1
    assert (len(alone.links.asked), await alone.statuses()) == (5, ["waiting"] * 5)


@pytest.mark.parametrize(("word", "reason"), [("silent", "provider_unreachable"), ("refused", "provider_link_failed")])
async def test_a_lost_link_that_cannot_be_had_ends_the_payment_and_brings_the_token_back(
    alone: Till, word: str, reason: str
) -> None:
    payment = await dead(alone)
    alone.links.begins = [word]
    await clock.move(alone.db, timedelta(seconds=15))
    assert await sweep_payments(alone.ctx) == 1
    found = await alone.payment(payment)
    assert (found.status, found.reason, await alone.used()) == ("declined", reason, 0)


async def test_a_worker_that_dies_while_it_asks_leaves_it_to_the_next_one(alone: Till) -> None:
    payment = await dead(alone)
    await clock.move(alone.db, timedelta(seconds=15))

    async def dies(_: Payment) -> None:
        raise Died

    alone.links.meanwhile = dies
    assert await sweep_payments(alone.ctx) == 1
    alone.links.meanwhile = None
    assert ((await alone.payment(payment)).status, await sweep_payments(alone.ctx)) == ("opened", 0)
    await clock.move(alone.db, timedelta(seconds=16))
    assert await sweep_payments(alone.ctx) == 1
    assert (await alone.payment(payment)).status == "waiting"


async def test_a_lost_link_that_is_never_had_is_closed_at_the_end(alone: Till) -> None:
    payment = await dead(alone)
    await clock.move(alone.db, timedelta(days=1, seconds=1))
    assert await sweep_payments(alone.ctx) == 1
    assert ((await alone.payment(payment)).status, alone.links.asked) == ("expired", [])


async def test_a_repeat_of_one_that_ended_without_a_link_is_made_anew_and_not_answered_with_none(alone: Till) -> None:
    """Nobody ever had a link of it, so there is no first answer: an answer without a link must not be kept for thirty days."""
    old = await dead(alone, key="key-00001")
    await clock.move(alone.db, timedelta(days=1, seconds=1))
    assert await sweep_payments(alone.ctx) == 1
    assert (await alone.payment(old)).status == "expired"
    made = await alone.request(key="key-00001")
    assert isinstance(made, collect.Requested), f"{made}"
    assert made.url is not None


async def test_payments_of_orders_are_left_to_their_checkouts(alone: Till) -> None:
    held = await alone.shop.begin({"mouse": 1}, provider="link")
    assert (await alone.payment(held.payment)).status == "opened"
    await alone.db.execute("UPDATE payments SET next_ask_at = kassa_now()")
    assert await sweep_payments(alone.ctx) == 0


async def test_one_that_is_settled_by_others_between_reading_and_locking_is_left_alone(alone: Till) -> None:
    payment = await alone.requested()
    await alone.db.execute("UPDATE payments SET expires_at = kassa_now(), next_ask_at = kassa_now()")
    read = await requests.due(alone.db, 10)
    await settle(alone.shop, payment, "paid")
    assert await collect.sweep._look(alone.ctx, alone.merchant_id, read) == 0
    assert (await alone.payment(payment)).status == "paid"


async def test_a_payment_of_a_provider_that_is_gone_waits_for_its_end_and_stops_nobody(alone: Till) -> None:
    """The operator took a provider away: the others go on, and this one is closed when its time is over."""
    lost = await dead(alone, "A-1")
    await by_key(alone, 100)
    bare = alone.at(world(alone.db))
    await clock.move(alone.db, timedelta(seconds=15))
    await sweep_payments(bare.ctx)
    statuses = {payment.ref_kind: payment.status for payment in await alone.payments()}
    assert statuses["grpc"] == "paid"
    await clock.move(alone.db, timedelta(days=1))
    await sweep_payments(bare.ctx)
    assert (await alone.payment(lost)).status == "expired"
