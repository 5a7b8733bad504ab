"""A merchant gives money back: by amount, by line, or all of it; never more than came in, and never twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.factories import (
    PRICE,
    Died,
    RemoteShelf,
    ScriptedLinks,
    ScriptedNeighbour,
    Till,
    at_once,
    open_payment,
    open_till,
    render_refund,
    settle,
    world,
)

from kassa import collect, orders
from kassa.catalog.sources import OwnSource
from kassa.checkout import Neighbours, Rules, sweep_refunds
from kassa.collect import LineAsked, PaymentMissing, Refunded, Replayed
from kassa.collect.model import LineNotRefundable, NoLines, RestockImpossible
from kassa.kit import clock, once
from kassa.payments import NotRefundable, Payment, RefundTooLarge, Verdict


async def sums(till: Till, payment: Payment) -> tuple[str, int, int]:
    """Status, given back, on its way back."""
    found = await till.payment(payment)
    return found.status, found.refunded_minor, found.refunding_minor


async def paid_order(till: Till, **items: int) -> tuple[orders.Order, Payment]:
    """An order of these, paid by link."""
    number = await till.db.value("SELECT count(*) FROM orders")
    order = await till.shop.order(f"buyer-{number}", items, method="link:stripe")
    await till.report(order.payment_id)
    await till.rest()
    order = await till.shop.order_of(order.order_id)
    assert order.status == "paid"
    return order, await till.payment(order.payment_id)


def answer_of(given: Refunded) -> bytes:
    return render_refund(given)[1]


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_part_leaves_the_payment_paid_and_the_whole_does_not(till: Till) -> None:
    payment = await till.paid(price=10_000)
    first = await till.given_back(payment, 3_000, reason="damaged")
    assert (first.status, first.amount_minor, first.reason, first.owed) == ("succeeded", 3_000, "damaged", False)
    assert await sums(till, payment) == ("paid", 3_000, 0)
    assert (await till.given_back(payment)).amount_minor == 7_000
    assert await sums(till, payment) == ("refunded", 10_000, 0)
    assert await till.shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 3_000), ("refund", 7_000)]


async def test_two_of_sixty_on_a_hundred_at_once_are_one(till: Till) -> None:
    for n in range(10):
        payment = await till.paid(f"A-{n}", 10_000)
        answers = await at_once(till.give_back(payment, 6_000), till.give_back(payment, 6_000))
        assert sorted(type(each).__name__ for each in answers) == ["RefundTooLarge", "Refunded"], answers
        (refused,) = [each for each in answers if isinstance(each, RefundTooLarge)]
        assert refused.details["refundable"] == "40.00"
        assert await sums(till, payment) == ("paid", 6_000, 0)


async def test_fifty_of_ten_at_once_on_a_hundred_are_ten(till: Till) -> None:
    payment = await till.paid(price=10_000)
    answers = await at_once(*(till.give_back(payment, 1_000) for _ in range(50)))
    assert Counter(type(each).__name__ for each in answers)["Refunded"] == 10
    assert all(isinstance(each, Refunded | RefundTooLarge | NotRefundable) for each in answers), answers
    assert await sums(till, payment) == ("refunded", 10_000, 0)
    assert sum(till.links.returned.values()) == 10_000


async def test_parts_and_wholes_at_once_never_exceed_what_came_in(till: Till) -> None:
    payment = await till.paid(price=10_000)
    till.links.refunds = ["succeeded", "pending", "failed", "impossible", "cut"] * 10
    await at_once(*(till.give_back(payment, amount) for amount in [None, 900, 1_700, 4_000] * 10))
    status, refunded, refunding = await sums(till, payment)
    assert refunded + refunding <= 10_000
    assert (status == "paid") == (refunded + refunding < 10_000)


@pytest.mark.parametrize("way", [(), ("waiting",), ("declined",), ("closed",), ("cancelled",)])
async def test_what_was_not_paid_cannot_be_given_back_and_the_key_stays_free(till: Till, way: tuple[str, ...]) -> None:
    payment = await open_payment(till.shop, provider="link", method="link:stripe")
    for step in way:
        await settle(till.shop, payment, Verdict(step))
    with pytest.raises(NotRefundable):
        await till.give_back(payment, 1, "key-00001")
    assert (await till.refunds(payment), await till.keys()) == ([], [])
    await till.report(payment)
    assert isinstance(await till.give_back(payment, 1, "key-00001"), Refunded)


async def test_what_was_given_back_as_a_whole_cannot_be_given_back_again(till: Till) -> None:
    payment = await till.paid()
    await till.given_back(payment)
    for amount in (None, 1):
        with pytest.raises(NotRefundable):
            await till.give_back(payment, amount)


async def test_more_than_is_left_is_refused_and_leaves_nothing(till: Till) -> None:
    payment = await till.paid(price=10_000)
    with pytest.raises(RefundTooLarge):
        await till.give_back(payment, 10_001, "key-00001")
    assert (await till.refunds(payment), await till.keys(), till.links.sent) == ([], [], [])
    assert isinstance(await till.give_back(payment, 10_000, "key-00001"), Refunded)


async def test_a_strangers_payment_is_not_there(till: Till) -> None:
    payment = await till.paid()
    other = await open_till(till.ctx)
    with pytest.raises(PaymentMissing):
        await other.give_back(payment, 1)
    assert await sums(till, payment) == ("paid", 0, 0)


async def test_a_part_keeps_the_reference_and_the_whole_frees_it(till: Till) -> None:
    payment = await till.paid("A-1")
    await till.given_back(payment, 1)
    with pytest.raises(collect.PaymentExists):
        await till.request("A-1")
    await till.given_back(payment)
    assert (await till.requested("A-1")).payment_id != payment.payment_id


# ── what the provider says ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "shown", "kept", "after", "listed"),
    [
        ("succeeded", "succeeded", "succeeded", ("refunded", 10_000, 0), False),
        ("pending", "pending", "pending", ("refunding", 0, 10_000), False),
        ("cut", "pending", "pending", ("refunding", 0, 10_000), False),
        ("failed", "failed", "failed", ("paid", 0, 0), False),
        ("impossible", "pending", "parked", ("refunding", 0, 10_000), True),
    ],
)
async def test_every_answer_of_a_provider(
    till: Till, word: str, shown: str, kept: str, after: tuple[str, int, int], listed: bool
) -> None:
    payment = await till.paid()
    till.links.refunds = [word]
    refund = await till.given_back(payment)
    assert (refund.shown_status, refund.status) == (shown, kept)
    assert await sums(till, payment) == after
    assert await till.listed() == ([("refund_parked", f"refund:{refund.refund_id}")] if listed else [])
    assert till.links.sent == [refund.provider_key]


async def test_a_failed_one_gives_its_sum_back_and_can_be_tried_anew(till: Till) -> None:
    payment = await till.paid(price=10_000)
    till.links.refunds = ["failed", "failed", "succeeded"]
    assert [(await till.given_back(payment, amount)).status for amount in (4_000, None, None)] == ["failed", "failed", "succeeded"]
    assert await sums(till, payment) == ("refunded", 10_000, 0)
    assert (await till.told(payment))[2:] == [
        "payment.paid", *["refund.created", "refund.failed"] * 2, "refund.created", "refund.succeeded", "payment.refunded",
    ]  # fmt: skip


async def test_silence_is_asked_again_by_the_plan_of_the_contract_and_after_72_hours_a_person_looks(alone: Till) -> None:
    payment = await alone.paid()
    alone.links.refunds = ["pending"] * 200
    refund = await alone.given_back(payment)
    waits = []
    while refund.status == "pending":
        assert refund.next_at is not None
        wait = refund.next_at - refund.read_at
        waits.append(round(wait.total_seconds()))
        await clock.move(alone.db, wait - timedelta(seconds=1))
        assert await sweep_refunds(alone.ctx) == 0, "not before its time"
        await clock.move(alone.db, timedelta(seconds=2))
        assert await sweep_refunds(alone.ctx) == 1
        (refund,) = await alone.refunds(payment)
    assert waits[:6] == [5, 30, 300, 1800, 3600, 3600]
    assert set(waits[4:]) == {3600}
    assert timedelta(hours=72) < refund.read_at - refund.created_at < timedelta(hours=73, minutes=30)
    assert (refund.shown_status, refund.next_at is not None) == ("pending", True), "it is parked, and tried on"
    assert await alone.listed() == [("refund_parked", f"refund:{refund.refund_id}")]
    assert set(alone.links.sent) == {refund.provider_key}
    alone.links.refunds = []
    await clock.move(alone.db, timedelta(hours=1, seconds=2))
    assert await sweep_refunds(alone.ctx) == 1
    assert (await sums(alone, payment), await alone.listed()) == (("refunded", 10_000, 0), [])


async def test_one_without_a_route_waits_for_a_person_and_is_not_asked_again(alone: Till) -> None:
    payment = await alone.paid()
    alone.links.refunds = ["impossible"]
    refund = await alone.given_back(payment, 2_000)
    await clock.move(alone.db, timedelta(days=4))
    assert await sweep_refunds(alone.ctx) == 0
    assert await alone.breaches() == [], "a person has it"
    await collect.mark_refund_done(alone.ctx, refund, "by bank transfer")
    assert (await sums(alone, payment), await alone.listed()) == (("paid", 2_000, 0), [])


async def test_the_stand_in_gives_back_in_the_same_transaction(till: Till) -> None:
    payment = (await settle(till.shop, await open_payment(till.shop, provider="simulated"), "paid")).payment
    refund = await till.given_back(payment, 1_000)
    assert (refund.status, refund.sends) == ("succeeded", 0)
    assert await sums(till, payment) == ("paid", 1_000, 0)


async def test_a_worker_and_the_caller_at_the_same_time_send_it_once(alone: Till) -> None:
    for n in range(30):
        payment = await alone.paid(f"A-{n}")

        async def works() -> None:
            for _ in range(10):
                await sweep_refunds(alone.ctx)

        given, _ = await at_once(alone.give_back(payment), works())
        assert isinstance(given, Refunded), repr(given)
        assert await sums(alone, payment) == ("refunded", 10_000, 0)
        assert len(alone.links.sent) == n + 1, "sent twice"


async def test_a_report_that_overtakes_the_answer_stays(till: Till) -> None:
    """The provider reports the refund as done before its answer says `pending`, or even `failed`."""
    for word in ("pending", "failed", "cut"):
        payment = await till.paid(f"A-{word}")

        class Overtaken(ScriptedLinks):
            async def refund(self, payment: Payment, refund: Any) -> Any:
                await till.report(payment, "refunded", refund)
                return await super().refund(payment, refund)

        ahead = till.at(world(till.db, providers=[Overtaken(refunds=[word])]))
        given = await ahead.give_back(payment)
        assert isinstance(given, Refunded)
        assert await sums(till, payment) == ("refunded", 10_000, 0)
        assert await till.shop.entries(payment.payment_id) == [("capture", 10_000), ("refund", 10_000)]


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeat_gets_the_first_answer_whatever_has_happened_since(till: Till) -> None:
    payment = await till.paid()
    till.links.refunds = ["pending"]
    first = await till.give_back(payment, 1_000, "key-00001")
    assert isinstance(first, Refunded)
    await till.report(payment, "refunded", first.refund)
    await till.given_back(payment)
    assert await till.give_back(payment, 1_000, "key-00001") == Replayed(201, answer_of(first))
    assert len(await till.refunds(payment)) == 2


async def test_two_keys_are_two_refunds_of_the_same_sum(till: Till) -> None:
    payment = await till.paid()
    one, other = await till.given_back(payment, 1_000, "key-00001"), await till.given_back(payment, 1_000, "key-00002")
    assert one.refund_id != other.refund_id
    assert await sums(till, payment) == ("paid", 2_000, 0)


async def test_another_payload_under_the_key_gives_nothing_back(till: Till) -> None:
    payment = await till.paid()
    await till.give_back(payment, 1_000, "key-00001")
    with pytest.raises(once.KeyReused):
        await till.give_back(payment, 2_000, "key-00001", payload=b"another")
    assert await sums(till, payment) == ("paid", 1_000, 0)


async def test_fifty_at_once_under_one_key_are_one_refund_and_equal_answers(till: Till) -> None:
    payment = await till.paid()

    async def ask() -> Refunded | Replayed:
        while True:
            with contextlib.suppress(once.InProgress):  # one that waited for a second on a busy machine asks again, as callers do
                return await till.give_back(payment, 100, "key-00001")

    answers = await at_once(*(ask() for _ in range(50)))
    (first,) = [each for each in answers if isinstance(each, Refunded)]
    assert [each for each in answers if not isinstance(each, Refunded)] == [Replayed(201, answer_of(first))] * 49
    assert (await sums(till, payment), len(till.links.sent)) == (("paid", 100, 0), 1)


async def test_a_repeat_of_a_running_one_is_sent_away_after_a_second(till: Till) -> None:
    payment, gate = await till.paid(), asyncio.Event()

    class Slow(ScriptedLinks):
        async def refund(self, payment: Payment, refund: Any) -> Any:
            await gate.wait()
            return await super().refund(payment, refund)

    slow = till.at(world(till.db, providers=[Slow()]))
    first = asyncio.create_task(slow.give_back(payment, 100, "key-00001"))
    while not await till.refunds(payment):
        await asyncio.sleep(0.01)
    with pytest.raises(once.InProgress):
        await till.give_back(payment, 100, "key-00001")
    gate.set()
    given = await first
    assert isinstance(given, Refunded)
    assert await till.give_back(payment, 100, "key-00001") == Replayed(201, answer_of(given))
    assert len(await till.refunds(payment)) == 1


async def test_one_whose_process_died_after_the_provider_acted_is_not_given_back_twice(alone: Till) -> None:
    payment = await alone.paid()
    alone.links.refunds = ["dies"]
    with pytest.raises(Died):
        await alone.give_back(payment, 1_000, "key-00001")
    (refund,) = await alone.refunds(payment)
    assert (refund.status, await sums(alone, payment)) == ("pending", ("paid", 0, 1_000))
    with pytest.raises(once.InProgress):
        await alone.give_back(payment, 1_000, "key-00001")
    await clock.move(alone.db, timedelta(seconds=16))
    again = await alone.give_back(payment, 1_000, "key-00001")
    assert isinstance(again, Replayed)
    assert again.status == 201
    assert b'"status":"pending"' in again.body
    await alone.db.execute("UPDATE refunds SET lease_until = now() - interval '1 s'")
    assert await sweep_refunds(alone.ctx) == 1
    assert await alone.give_back(payment, 1_000, "key-00001") == again
    assert (await sums(alone, payment), alone.links.returned) == (("paid", 1_000, 0), {refund.provider_key: 1_000})
    assert alone.links.sent == [refund.provider_key] * 2


async def test_a_whole_refund_whose_process_died_is_answered_though_nothing_is_left(alone: Till) -> None:
    payment = await alone.paid()
    alone.links.refunds = ["dies"]
    with pytest.raises(Died):
        await alone.give_back(payment, None, "key-00001")
    await alone.db.execute("UPDATE refunds SET lease_until = now() - interval '1 s'")
    assert await sweep_refunds(alone.ctx) == 1
    await clock.move(alone.db, timedelta(seconds=16))
    again = await alone.give_back(payment, None, "key-00001")
    assert isinstance(again, Replayed)
    assert b'"status":"succeeded"' in again.body
    assert len(await alone.refunds(payment)) == 1


# ── lines of an order ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_sum_is_made_of_the_frozen_lines(till: Till) -> None:
    order, payment = await paid_order(till, mouse=3, lamp=2)
    await till.db.execute("UPDATE products SET price_minor = 1 WHERE merchant_id = $1", till.merchant_id)
    given = await till.give_back(payment, lines=[LineAsked("mouse", 2), LineAsked("lamp", 1)])
    assert isinstance(given, Refunded)
    assert given.refund.amount_minor == 3 * PRICE
    assert [(line.line_id, line.quantity, line.amount_minor, line.restock) for line in given.refund.lines] == [
        ("lamp", 1, PRICE, False), ("mouse", 2, 2 * PRICE, False),
    ]  # fmt: skip
    assert await till.shop.level("mouse") == (97, 0), "nothing was put back"
    found = await till.shop.order_of(order.order_id)
    assert (found.status, found.payment_status) == ("paid", "paid")


@pytest.mark.parametrize(
    "lines",
    [
        [LineAsked("nothing", 1)], [LineAsked("mouse", 4)], [LineAsked("mouse", 1), LineAsked("mouse", 1)],
        [LineAsked("lamp", 1), LineAsked("nothing", 1)],
    ],
)  # fmt: skip
async def test_a_line_that_is_not_there_or_too_much_of_one_gives_nothing_back(till: Till, lines: list[LineAsked]) -> None:
    _, payment = await paid_order(till, mouse=3, lamp=1)
    with pytest.raises(LineNotRefundable):
        await till.give_back(payment, key="key-00001", lines=lines)
    assert (await till.refunds(payment), await till.keys()) == ([], [])


async def test_a_payment_of_no_order_has_no_lines(till: Till) -> None:
    payment = await till.paid()
    with pytest.raises(NoLines):
        await till.give_back(payment, lines=[LineAsked("mouse", 1)])


async def test_no_piece_is_given_back_twice_however_many_ask_at_once(till: Till) -> None:
    _, payment = await paid_order(till, mouse=5, lamp=20)
    answers = await at_once(*(till.give_back(payment, lines=[LineAsked("mouse", 2, restock=True)]) for _ in range(20)))
    assert Counter(type(each).__name__ for each in answers) == {"Refunded": 2, "LineNotRefundable": 18}
    assert await sums(till, payment) == ("paid", 4 * PRICE, 0)
    assert await till.shop.level("mouse") == (99, 0)
    assert (await till.given_back(payment, lines=[LineAsked("mouse", 1, restock=True)])).amount_minor == PRICE
    assert await till.shop.level("mouse") == (100, 0)


async def test_a_line_of_a_refund_that_failed_can_be_given_back_again(till: Till) -> None:
    _, payment = await paid_order(till, mouse=1)
    till.links.refunds = ["failed"]
    assert [(await till.given_back(payment, lines=[LineAsked("mouse", 1)])).status for _ in range(2)] == ["failed", "succeeded"]


async def test_a_line_of_a_refund_that_failed_can_be_given_back_again_with_its_goods(till: Till) -> None:
    """The pieces are on the shelf since the first try; the second try gives the money, and puts nothing there twice."""
    _, payment = await paid_order(till, mouse=2)
    till.links.refunds = ["failed"]
    lines = [LineAsked("mouse", 2, restock=True)]
    assert [(await till.given_back(payment, lines=lines)).status for _ in range(2)] == ["failed", "succeeded"]
    assert await till.shop.level("mouse") == (100, 0)


async def test_what_nobody_counts_is_there_anyway(till: Till) -> None:
    await till.db.execute(
        "INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency, images)"
        " VALUES ($1, 'shop', 'gift', 'gift', 'Gift', 100, 'INR', '{}')", till.merchant_id,
    )  # fmt: skip
    _, payment = await paid_order(till, mouse=1, gift=1)
    lines = [LineAsked("mouse", 1, restock=True), LineAsked("gift", 1, restock=True)]
    assert (await till.given_back(payment, lines=lines)).amount_minor == PRICE + 100
    assert await till.shop.level("mouse") == (100, 0)


@pytest.mark.parametrize("counts", ["inventory service", "product service"])
async def test_what_others_count_cannot_be_put_back_here_and_nothing_happens(till: Till, counts: str) -> None:
    inventory, products = ScriptedNeighbour(), ScriptedNeighbour()
    if counts == "inventory service":
        near: Any = Neighbours(inventory, None, None)  # type: ignore[arg-type]
        options: dict[str, Any] = {"rules": Rules(inventory_service=True), "source": OwnSource(counted=False)}
    else:
        near = Neighbours(None, None, products)  # type: ignore[arg-type]
        options = {"rules": Rules(product_service=True), "source": RemoteShelf({"book": 10, "mouse": 10})}
    there = till.at(world(till.db, providers=[ScriptedLinks()], neighbours=near, **options))
    _, payment = await paid_order(there, **({"mouse": 2} if counts == "inventory service" else {"book": 2}))
    line = "mouse" if counts == "inventory service" else "book"
    with pytest.raises(RestockImpossible):
        await there.give_back(payment, key="key-00001", lines=[LineAsked(line, 1, restock=True)])
    assert (await till.refunds(payment), await till.keys()) == ([], [])
    assert isinstance(await there.give_back(payment, lines=[LineAsked(line, 1)]), Refunded)


async def test_lines_in_opposite_order_never_block_each_other(till: Till) -> None:
    bought = [await paid_order(till, mouse=2, lamp=2) for _ in range(10)]
    there = [LineAsked("mouse", 1, restock=True), LineAsked("lamp", 1, restock=True)]
    answers = await at_once(
        *(till.give_back(payment, lines=there[::way]) for _, payment in bought for way in (1, -1))
    )  # fmt: skip
    assert [type(each) for each in answers] == [Refunded] * 20, answers
    assert (await till.shop.level("mouse"), await till.shop.level("lamp")) == ((100, 0), (50, 0))


# ── what the order shows ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_shows_a_whole_refund_and_keeps_its_status(till: Till) -> None:
    order, payment = await paid_order(till, mouse=1)
    await till.given_back(payment)
    found = await till.shop.order_of(order.order_id)
    assert (found.status, found.payment_status) == ("paid", "refunded")


async def test_a_whole_refund_that_fails_makes_the_order_paid_again(till: Till) -> None:
    order, payment = await paid_order(till, mouse=1)
    till.links.refunds = ["pending"]
    refund = await till.given_back(payment)
    assert (await till.shop.order_of(order.order_id)).payment_status == "refunded"
    await till.report(payment, "failed", refund)
    assert (await till.shop.order_of(order.order_id)).payment_status == "paid"
    assert await sums(till, payment) == ("paid", 0, 0)


async def test_the_last_of_several_parts_is_a_whole_refund_too(till: Till) -> None:
    order, payment = await paid_order(till, mouse=2)
    till.links.refunds = ["succeeded", "failed", "succeeded"]
    await till.given_back(payment, lines=[LineAsked("mouse", 1)])
    assert (await till.shop.order_of(order.order_id)).payment_status == "paid"
    await till.given_back(payment)
    assert (await till.shop.order_of(order.order_id)).payment_status == "paid", "it failed"
    await till.given_back(payment)
    assert (await till.shop.order_of(order.order_id)).payment_status == "refunded"


async def test_a_cancelled_order_is_given_back_by_its_cancellation_alone(till: Till) -> None:
    order, payment = await paid_order(till, mouse=1)
    till.links.refunds = ["pending"]
    await till.shop.move(order, "cancelled")
    with pytest.raises(NotRefundable):
        await till.give_back(payment)


async def test_an_order_that_is_not_paid_yet_is_cancelled_and_not_refunded(till: Till) -> None:
    order = await till.shop.order("ann", {"mouse": 1}, method="link:stripe")
    with pytest.raises(NotRefundable):
        await till.give_back(await till.payment(order.payment_id))
    await till.shop.move(order, "cancelled", by_staff=False)


async def test_a_refund_that_fails_after_its_order_was_cancelled_is_owed(alone: Till) -> None:
    order, payment = await paid_order(alone, mouse=2)
    alone.links.refunds = ["pending"] * 9
    part = await alone.given_back(payment, lines=[LineAsked("mouse", 1)])
    await alone.shop.move(order, "cancelled")
    assert await sums(alone, payment) == ("refunding", 0, 2 * PRICE)
    await alone.report(payment, "failed", part)
    assert [(each.status, each.owed, each.amount_minor) for each in await alone.refunds(payment)] == [
        ("failed", False, PRICE),
        ("pending", True, PRICE),
        ("pending", True, PRICE),
    ]
    assert await sums(alone, payment) == ("refunding", 0, 2 * PRICE)
    alone.links.refunds = []
    await clock.move(alone.db, timedelta(minutes=1))
    assert await sweep_refunds(alone.ctx) == 2
    assert await sums(alone, payment) == ("refunded", 2 * PRICE, 0)
    assert await alone.shop.level("mouse") == (100, 0)


async def test_a_cancellation_after_some_pieces_came_back_brings_the_others(till: Till) -> None:
    order, payment = await paid_order(till, mouse=3, lamp=1)
    await till.given_back(payment, lines=[LineAsked("mouse", 2, restock=True)])
    await till.shop.move(order, "cancelled")
    assert (await till.shop.level("mouse"), await till.shop.level("lamp")) == ((100, 0), (50, 0))
    assert await sums(till, payment) == ("refunded", 4 * PRICE, 0)


async def test_a_refund_and_a_cancellation_at_the_same_time_give_the_sum_back_once(till: Till) -> None:
    for n in range(15):
        order, payment = await paid_order(till, mouse=2)
        works = [till.give_back(payment, lines=[LineAsked("mouse", 1, restock=True)]), till.shop.move(order, "cancelled")]
        given, moved = (await at_once(*works)) if n % 2 else (await at_once(*works[::-1]))[::-1]
        assert isinstance(given, Refunded | NotRefundable), repr(given)
        assert isinstance(moved, orders.Order), repr(moved)
        await till.rest()
        assert await sums(till, payment) == ("refunded", 2 * PRICE, 0), f"round {n}"
        assert await till.shop.level("mouse") == (100, 0), f"round {n}"
