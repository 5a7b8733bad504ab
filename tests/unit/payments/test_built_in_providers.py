"""The stand-in for cards and cash on delivery: their verdicts follow from the payment's own row, whenever they are asked."""

from __future__ import annotations

import pytest
from tests.factories import payment_as_read, refund_as_read

from kassa.payments.providers import Cash, Simulated

REFUND = refund_as_read()


@pytest.mark.parametrize(
    ("script", "amount", "currency", "last4", "meaning"),
    [
        ("checkout", 100_000, "INR", "1111", "paid"),
        ("checkout", 100_001, "INR", "1111", "insufficient_funds"),
        ("checkout", 1000, "JPY", "1111", "paid"),
        ("checkout", 1001, "JPY", "1111", "insufficient_funds"),
        ("checkout", 1_000_000, "KWD", "1111", "paid"),
        ("checkout", 1_000_001, "KWD", "1111", "insufficient_funds"),
        ("checkout", 100, "INR", "0002", "card_declined"),
        ("checkout", 100_001, "INR", "0002", "insufficient_funds"),
        ("orders", 999_999_999, "INR", "1111", "paid"),
        ("orders", 100, "INR", "0002", "card_declined"),
        ("orders", 100, "INR", None, "paid"),
    ],
)
async def test_the_stand_in_follows_the_script_of_its_contract(
    script: str, amount: int, currency: str, last4: str | None, meaning: str
) -> None:
    payment = payment_as_read(provider="simulated", script=script, amount_minor=amount, currency=currency, card_last4=last4)
    verdict = await Simulated().begin(payment, None, None)
    assert meaning == (verdict.kind if verdict.kind == "paid" else verdict.code)
    assert await Simulated().ask(payment) == verdict


async def test_the_stand_in_always_gives_money_back() -> None:
    assert (await Simulated().refund(payment_as_read(), REFUND)).kind == "succeeded"


async def test_cash_waits_at_the_door_and_is_given_back_by_a_person() -> None:
    payment = payment_as_read(provider="cash_on_delivery")
    assert (await Cash().begin(payment, None, None)).kind == "waiting"
    assert (await Cash().ask(payment)).kind == "waiting"
    assert (await Cash().refund(payment, REFUND)).kind == "impossible"
