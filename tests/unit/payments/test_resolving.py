"""Silence is a question: what `ask` makes of each answer, and when it asks again (checkout contract, section 5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.factories import NOON, payment_as_read

from kassa.kit.context import Context
from kassa.payments import Payment, Providers, Verdict, ask
from kassa.payments.resolve import wait_before_ask

NEVER_SEEN = Verdict("unknown", never_seen=True)
NO_ROUTE = Verdict("unknown", unanswerable=True, message="The payment service cannot be asked.")


class Answering:
    """A provider that gives one answer."""

    name = "card"

    def __init__(self, answer: Verdict) -> None:
        self.answer = answer

    async def ask(self, payment: Payment) -> Verdict:
        return self.answer


async def asked(answer: Verdict, **payment: object) -> Verdict:
    ctx = Context(None, None, ports={Providers: Providers({"card": Answering(answer)})})  # type: ignore[arg-type,dict-item]
    return await ask(ctx, payment_as_read(status="unknown", unknown_since=NOON, **payment) if "status" not in payment
                     else payment_as_read(**payment))  # fmt: skip


def after(**passed: float) -> dict[str, object]:
    return {"read_at": NOON + timedelta(**passed)}


@pytest.mark.parametrize("kind", ["paid", "declined", "closed"])
async def test_a_clear_answer_is_the_verdict(kind: str) -> None:
    answer = Verdict(kind, ref="t-1", code="c", message="m")
    assert await asked(answer) == answer


async def test_it_is_asked_at_once_then_after_the_plan_then_hourly() -> None:
    waits = [wait_before_ask(0)]
    for asks in range(12):
        verdict = await asked(Verdict("unknown"), asks=asks)
        assert verdict.kind == "unknown"
        waits.append(verdict.ask_in_s)
    assert waits == [0, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 3600, 3600, 3600]


@pytest.mark.parametrize("hours", [0, 1, 71, 72])
async def test_within_72_hours_it_is_asked_again(hours: float) -> None:
    assert (await asked(Verdict("unknown"), asks=20, **after(hours=hours))).kind == "unknown"


async def test_after_72_hours_it_is_parked_for_a_person() -> None:
    verdict = await asked(Verdict("unknown", message="busy"), asks=80, **after(hours=72, seconds=1))
    assert (verdict.kind, verdict.code, verdict.message) == ("parked", "asked_long_enough", "busy")
    assert verdict.ask_in_s is None


async def test_even_after_72_hours_a_clear_answer_wins() -> None:
    assert (await asked(Verdict("paid"), **after(hours=100))).kind == "paid"


@pytest.mark.parametrize("passed", [0, 1, 14.9])
async def test_never_seen_is_not_believed_for_15_seconds_after_the_last_sending(passed: float) -> None:
    verdict = await asked(NEVER_SEEN, asks=7, **after(seconds=passed))
    assert verdict.kind == "unknown"
    assert verdict.never_seen
    assert passed + verdict.ask_in_s == pytest.approx(15, abs=0.1)


async def test_never_seen_is_asked_by_the_plan_where_that_is_sooner() -> None:
    assert (await asked(NEVER_SEEN, asks=0, **after(seconds=1))).ask_in_s == 1


@pytest.mark.parametrize("passed", [15, 16, 3600])
async def test_never_seen_is_believed_from_15_seconds_after_the_last_sending(passed: float) -> None:
    verdict = await asked(NEVER_SEEN, **after(seconds=passed))
    assert (verdict.kind, verdict.code) == ("declined", "payment_not_executed")
    assert verdict.ask_in_s == 300


async def test_the_15_seconds_count_from_the_last_sending_not_the_first() -> None:
    resent = NOON + timedelta(seconds=20)
    verdict = await asked(NEVER_SEEN, last_sent_at=resent, sends=2, asks=7, read_at=NOON + timedelta(seconds=30))
    assert verdict.kind == "unknown"


async def test_a_charge_that_was_never_sent_cannot_have_been_never_seen() -> None:
    assert (await asked(NEVER_SEEN, last_sent_at=None, **after(hours=1))).kind == "unknown"


@pytest.mark.parametrize("before", [0, 1, 2, 3])
async def test_a_provider_that_cannot_be_asked_is_asked_again(before: int) -> None:
    verdict = await asked(NO_ROUTE, unanswerable=before, asks=before)
    assert verdict.kind == "unknown"
    assert verdict.unanswerable


async def test_the_fifth_time_it_cannot_be_asked_it_is_parked() -> None:
    verdict = await asked(NO_ROUTE, unanswerable=4, asks=4)
    assert (verdict.kind, verdict.code) == ("parked", "cannot_be_asked")
    assert verdict.message == NO_ROUTE.message


async def test_after_giving_up_only_a_late_yes_matters() -> None:
    given_up = {"status": "declined", "reason": "payment_not_executed"}
    assert (await asked(Verdict("paid", ref="t-1"), **given_up)).kind == "paid"
    for answer in (Verdict("unknown"), NEVER_SEEN, NO_ROUTE, Verdict("declined")):
        assert (await asked(answer, **given_up)).kind == "declined"


async def test_after_giving_up_it_is_looked_at_5_and_60_minutes_later_and_no_more() -> None:
    first = await asked(NEVER_SEEN, **after(seconds=15))
    second = await asked(NEVER_SEEN, status="declined", asks=0)
    third = await asked(NEVER_SEEN, status="declined", asks=1)
    assert first.ask_in_s == 5 * 60
    assert first.ask_in_s + second.ask_in_s == 60 * 60
    assert third.ask_in_s is None
