"""What became of payments and refunds is counted once, by the commit that made it true, under few words."""

from __future__ import annotations

import logging

import pytest
from tests.factories import Shop, open_payment, settle

from kassa import payments
from kassa.kit.money import Money
from kassa.kit.times import Counts
from kassa.payments import Verdict
from kassa.payments.figures import CAPTURES, DECLINES, MOVES, REFUNDS, class_of
from kassa.payments.model import RefundVerdict


def counted() -> dict[tuple[str, ...], float]:
    """Every figure of these with its labels."""
    figures: tuple[Counts, ...] = (CAPTURES, DECLINES, MOVES, REFUNDS)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for each in figures
        for family in each.collect()
        for sample in family.samples
    }


def more_than(before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {name: value - before.get(name, 0) for name, value in counted().items() if value != before.get(name, 0)}


async def test_a_capture_counts_once_however_often_it_is_reported(shop: Shop) -> None:
    payment, before = await open_payment(shop), counted()
    for _ in range(3):
        await settle(shop, payment, "paid")
    assert more_than(before) == {("kassa_captures_total", "card", "INR"): 1}


@pytest.mark.parametrize(
    ("code", "why"), [("insufficient_funds", "funds"), ("Expired_Card", "card"), ("the shop of Ann", "other"), (None, "other")]
)
async def test_a_decline_counts_under_its_class_and_never_under_a_strangers_words(shop: Shop, code: str | None, why: str) -> None:
    payment, before = await open_payment(shop), counted()
    await settle(shop, payment, Verdict("declined", code=code))
    assert more_than(before) == {("kassa_declines_total", "card", "INR", why): 1}
    assert class_of(code) == why


async def test_a_way_through_doubt_is_counted_step_by_step(shop: Shop) -> None:
    payment, before = await open_payment(shop), counted()
    for kind in ("unknown", "unknown", "parked", "paid"):
        payment = (await settle(shop, payment, kind)).payment
    assert more_than(before) == {
        ("kassa_payment_moves_total", "card", "unknown"): 1,
        ("kassa_payment_moves_total", "card", "parked"): 1,
        ("kassa_captures_total", "card", "INR"): 1,
    }


async def test_what_is_rolled_back_did_not_happen(shop: Shop) -> None:
    payment, before = await open_payment(shop), counted()
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("test") as tx:
            await payments.settle(tx, payment, Verdict("paid"))
            raise ZeroDivisionError
    assert more_than(before) == {}


async def test_many_at_once_are_all_counted(shop: Shop) -> None:
    opened, before = [await open_payment(shop) for _ in range(3)], counted()
    async with shop.db.transaction("test") as tx:
        await payments.settle_all(tx, [(payment, Verdict("paid" if place else "closed")) for place, payment in enumerate(opened)])
    assert more_than(before) == {
        ("kassa_captures_total", "card", "INR"): 2,
        ("kassa_payment_moves_total", "card", "expired"): 1,
    }


async def test_a_refund_counts_when_it_is_begun_and_when_it_ends(shop: Shop) -> None:
    payment, before = (await settle(shop, await open_payment(shop), "paid")).payment, counted()
    async with shop.db.transaction("test") as tx:
        payment, refund = await payments.begin_refund(tx, payment, owed=False, reason=None, amount=Money(4_000, "INR"))
    for kind in ("pending", "succeeded", "succeeded"):
        async with shop.db.transaction("test") as tx:
            refund = await payments.conclude_refund(tx, payment, refund, RefundVerdict(kind))
    assert more_than(before) == {
        ("kassa_refunds_total", "card", "INR", "begun"): 1,
        ("kassa_refunds_total", "card", "INR", "succeeded"): 1,
    }


async def test_the_log_has_a_line_where_somebody_may_ask_and_none_where_all_went_well(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kassa.payments")
    payment = await open_payment(shop)
    payment = (await settle(shop, payment, "unknown")).payment
    await settle(shop, payment, "paid")
    [line] = [record for record in caplog.records if record.name == "kassa.payments"]
    assert (line.levelname, vars(line)["payment_id"], vars(line)["way"]) == ("WARNING", payment.payment_id, "card")
    assert "order_id" not in vars(line), "the reference is the merchant's own word"
