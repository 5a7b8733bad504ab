"""The one door for verdicts: whoever brings one, however often, money is captured once and late facts win."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_payment, open_shop, settle

from kassa import payments
from kassa.kit.ids import new_id
from kassa.payments import MOVES, Payment, Verdict
from kassa.payments.model import HOLDS

WAYS = {
    "opened": (),
    "waiting": ("waiting",),
    "unknown": ("unknown",),
    "parked": ("unknown", "parked"),
    "paid": ("paid",),
    "declined": ("declined",),
    "expired": ("closed",),
    "cancelled": ("cancelled",),
}
"""How a payment comes to each status that a verdict can lead to."""
VERDICTS = ("paid", "declined", "waiting", "closed", "unknown", "parked", "cancelled")


async def payment_at(shop: Shop, status: str, **how: Any) -> Payment:
    payment = await open_payment(shop, **how)
    for verdict in WAYS[status]:
        payment = (await settle(shop, payment, verdict)).payment
    assert payment.status == status
    return payment


async def told(shop: Shop, payment: Payment) -> list[str]:
    return [type_ for _, type_ in await shop.events(f"payment:{payment.payment_id}")]


@pytest.mark.parametrize("status", WAYS)
@pytest.mark.parametrize("verdict", VERDICTS)
async def test_every_verdict_at_every_status_moves_by_the_table_and_a_second_time_not_at_all(
    shop: Shop, status: str, verdict: str
) -> None:
    payment = await payment_at(shop, status)
    first = await settle(shop, payment, verdict)
    expected = MOVES.table.get((status, verdict), status)
    assert (first.payment.status, first.before, first.moved) == (expected, status, expected != status)
    events, entries = await told(shop, payment), await shop.entries(payment.payment_id)
    again = await settle(shop, first.payment, verdict)
    stale = await settle(shop, payment, verdict)
    assert again.payment.status == stale.payment.status == (await shop.payment_of(payment.payment_id)).status == expected
    assert await told(shop, payment) == events
    assert await shop.entries(payment.payment_id) == entries
    assert entries == ([("capture", payment.amount_minor)] if expected == "paid" else [])
    assert events.count("payment.paid") == (expected == "paid")


@pytest.mark.parametrize("door", ["answer", "callback", "question", "person"])
async def test_a_yes_through_any_door_twice_is_one_capture(shop: Shop, door: str) -> None:
    verdict = {
        "answer": Verdict("paid", ref="t-1", message="Payment processed successfully"),
        "callback": Verdict("paid"),
        "question": Verdict("paid", ref="t-1"),
        "person": Verdict("paid", message="seen on the statement"),
    }[door]
    payment = await payment_at(shop, {"answer": "opened", "callback": "waiting", "question": "unknown", "person": "parked"}[door])
    first, second = await settle(shop, payment, verdict), await settle(shop, payment, verdict)
    assert (first.moved, second.moved) == (True, False)
    assert await shop.entries(payment.payment_id) == [("capture", 10_000)]


async def test_a_hundred_equal_yeses_at_once_are_one_capture_and_one_event(shop: Shop) -> None:
    payment = await open_payment(shop)
    answers = await at_once(*(settle(shop, payment, Verdict("paid", ref=f"t-{n}")) for n in range(100)))
    assert sum(each.moved for each in answers) == 1
    assert {each.payment.status for each in answers} == {"paid"}
    assert await shop.entries(payment.payment_id) == [("capture", 10_000)]
    assert await told(shop, payment) == ["payment.created", "payment.paid"]
    found = await shop.payment_of(payment.payment_id)
    assert (found.captured_minor, found.refunded_minor) == (10_000, 0)


async def test_a_yes_and_noes_at_the_same_time_always_end_paid_once(shop: Shop) -> None:
    for _ in range(5):
        payment = await payment_at(shop, "unknown")
        kinds = ["paid", "declined", "closed", "unknown", "parked"] * 6
        await at_once(*(settle(shop, payment, kind) for kind in kinds))
        assert (await shop.payment_of(payment.payment_id)).status == "paid"
        assert await shop.entries(payment.payment_id) == [("capture", 10_000)]
        assert (await told(shop, payment)).count("payment.paid") == 1


@pytest.mark.parametrize("status", ["declined", "expired", "cancelled", "parked"])
async def test_a_late_yes_wins(shop: Shop, status: str) -> None:
    payment = await payment_at(shop, status)
    settled = await settle(shop, payment, Verdict("paid", ref="t-late"))
    assert settled.payment.status == "paid"
    assert (settled.payment.captured_minor, settled.payment.provider_ref, settled.payment.reason) == (10_000, "t-late", None)
    assert await shop.entries(payment.payment_id) == [("capture", 10_000)]


async def test_a_late_no_does_not_take_money_back(shop: Shop) -> None:
    payment = await payment_at(shop, "paid")
    for verdict in ("declined", "closed", "cancelled", "unknown", "waiting", "parked"):
        assert not (await settle(shop, payment, verdict)).moved
    assert (await shop.payment_of(payment.payment_id)).status == "paid"


async def test_a_free_payment_is_paid_without_an_entry(shop: Shop) -> None:
    payment = await payment_at(shop, "paid", amount=0)
    assert payment.status == "paid"
    assert await shop.entries(payment.payment_id) == []


async def test_what_rolls_back_settled_nothing(shop: Shop) -> None:
    payment = await open_payment(shop)
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("settle") as tx:
            await payments.settle(tx, payment, Verdict("paid"))
            raise ZeroDivisionError
    assert (await shop.payment_of(payment.payment_id)).status == "opened"
    assert await shop.entries(payment.payment_id) == []


async def test_a_no_keeps_its_reason_and_a_later_yes_clears_it(shop: Shop) -> None:
    payment = await open_payment(shop)
    declined = (await settle(shop, payment, Verdict("declined", code="card_declined", message="The card was declined"))).payment
    assert (declined.reason, declined.message) == ("card_declined", "The card was declined")
    assert (await settle(shop, declined, "paid")).payment.reason is None


async def test_waiting_keeps_the_link(shop: Shop) -> None:
    payment = await open_payment(shop, provider="link", method="link:stripe")
    waiting = (await settle(shop, payment, Verdict("waiting", url="https://pay.example/1"))).payment
    assert waiting.pay_url == "https://pay.example/1"
    assert await told(shop, payment) == ["payment.created", "payment.waiting"]


async def test_questions_are_counted_and_their_plan_is_kept(shop: Shop) -> None:
    payment = (await settle(shop, await open_payment(shop), Verdict("unknown", ask_in_s=0))).payment
    assert (payment.asks, payment.unanswerable) == (0, 0)
    assert payment.next_ask_at == payment.unknown_since
    since = payment.unknown_since
    for asks in (1, 2, 3):
        payment = (await settle(shop, payment, Verdict("unknown", ask_in_s=60, unanswerable=asks > 1))).payment
        assert (payment.asks, payment.unanswerable, payment.unknown_since) == (asks, asks - 1, since)
        assert payment.next_ask_at is not None
        assert 59 < (payment.next_ask_at - payment.read_at).total_seconds() <= 60
    parked = (await settle(shop, payment, Verdict("parked"))).payment
    assert (parked.next_ask_at, parked.unknown_since) == (None, since)
    assert await told(shop, payment) == ["payment.created", "payment.unknown"]


async def test_an_unknown_payment_without_a_next_question_cannot_be_written(shop: Shop) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await settle(shop, await open_payment(shop), Verdict("unknown"))


async def test_a_payment_given_up_is_looked_at_twice_more_whoever_looks(shop: Shop) -> None:
    payment = await payment_at(shop, "declined")

    async def look(payment: Payment, again_s: float | None) -> Payment:
        async with shop.db.transaction("look") as tx:
            return await payments.note_late_look(tx, payment, again_s)

    looks = await at_once(*(look(payment, 3300) for _ in range(10)))
    assert {each.asks for each in looks} == {1}, "ten at once are one look"
    second = await shop.payment_of(payment.payment_id)
    assert second.next_ask_at is not None
    assert 3290 < (second.next_ask_at - second.read_at).total_seconds() <= 3300
    assert (await look(second, None)).next_ask_at is None


@pytest.mark.parametrize("status", WAYS)
async def test_a_payment_holds_its_reference_exactly_while_it_is_alive_or_paid(shop: Shop, status: str) -> None:
    payment = await payment_at(shop, status)
    holds = await shop.db.value("SELECT holds_reference FROM payments WHERE payment_id = $1", payment.payment_id)
    assert holds == (status in HOLDS)


async def test_a_reference_is_held_by_one_payment_and_free_again_after_a_no(shop: Shop) -> None:
    first = await open_payment(shop, ref="order-1001")
    with pytest.raises(asyncpg.UniqueViolationError):
        await open_payment(shop, ref="order-1001")
    await settle(shop, first, "declined")
    assert (await open_payment(shop, ref="order-1001")).status == "opened"


async def test_the_same_reference_of_another_merchant_is_another_one(shop: Shop) -> None:
    await open_payment(shop, ref="order-1001")
    await open_payment(await open_shop(shop.ctx), ref="order-1001")


async def test_another_merchants_payment_is_not_there(shop: Shop) -> None:
    payment, stranger = await open_payment(shop), await open_shop(shop.ctx)
    assert await payments.find(shop.db, stranger.merchant_id, payment.payment_id) is None
    assert await payments.find(shop.db, shop.merchant_id, new_id()) is None
    found = await payments.find_anywhere(shop.db, payment.payment_id)
    assert found is not None
    assert (found.merchant_id, found.payment_id) == (shop.merchant_id, payment.payment_id)


async def test_every_event_of_a_payment_tells_the_state_it_was_in(shop: Shop) -> None:
    payment = await payment_at(shop, "unknown")
    await settle(shop, payment, "paid")
    rows = await shop.db.rows("SELECT type, data FROM events WHERE subject = $1 ORDER BY sequence", f"payment:{payment.payment_id}")
    assert [(row["type"], row["data"]["state"], row["data"]["status"], row["data"]["captured"]) for row in rows] == [
        ("payment.created", "opened", 1, "0.00"),
        ("payment.unknown", "unknown", 1, "0.00"),
        ("payment.paid", "paid", 2, "100.00"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "captured_minor = amount_minor + 1",
        "refunded_minor = captured_minor + 1",
        "refunding_minor = captured_minor + 1",
        "captured_minor = 0, refunded_minor = 0",
        "refunded_minor = -1",
    ],
)
async def test_the_database_itself_forbids_sums_that_cannot_be(shop: Shop, wrong: str) -> None:
    payment = await payment_at(shop, "paid")
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.db.execute(f"UPDATE payments SET {wrong} WHERE payment_id = $1", payment.payment_id)


async def test_only_what_may_be_kept_of_a_card_has_a_column(shop: Shop) -> None:
    rows = await shop.db.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'payments' AND column_name LIKE 'card%'"
    )
    assert {row["column_name"] for row in rows} == {"card_brand", "card_first6", "card_last4", "card_fingerprint"}
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.db.execute(
            "UPDATE payments SET card_first6 = '4111111111111111' WHERE payment_id = $1", (await open_payment(shop)).payment_id
        )


async def test_a_payment_that_is_not_there_cannot_be_locked(shop: Shop) -> None:
    with pytest.raises(payments.store.PaymentMissing):
        async with shop.db.transaction("lock") as tx:
            await payments.store.lock(tx, shop.merchant_id, uuid.uuid4())
