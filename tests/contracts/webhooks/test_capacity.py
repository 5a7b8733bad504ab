"""How much one endpoint may take: eight at once, one at a time when it asks for mercy, and a breaker (section 4; F61)."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.contracts.payments.till import until
from tests.contracts.webhooks.desk import Office, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, FINE, Reply, says

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

PAID = ["payment.paid"]


@pytest.fixture(scope="module")
def wide(open_office: OpenOffice) -> Office:
    """Many attempts a second apart, and long patience with each."""
    return open_office(WEBHOOK_RETRY_SECONDS=",".join(["0"] + ["1"] * 19), WEBHOOK_TIMEOUT_S="20")


def test_eight_requests_are_in_flight_at_most(wide: Office) -> None:
    gate = threading.Event()
    hook = wide.hook(1, Reply(gate=gate), events=PAID)
    try:
        payments = [wide.paid(1) for _ in range(20)]
        hook.waits_for(8)
        quiet_for(1.5, lambda: len(hook.calls()))
        assert len(hook.calls()) == 8
    finally:
        gate.set()
    for payment_id in payments:
        hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert hook.fake.most_at_once(hook.path) == 8
    assert len(hook.calls()) == 20


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_endpoint_that_asks_for_mercy_gets_one_request_at_a_time(wide: Office, status: int) -> None:
    hook = wide.hook(1, events=PAID)
    sorry = Reply(status, after=0.1)
    hook.will(sorry, sorry, sorry, sorry, sorry, Reply(after=0.1))
    first = wide.paid(1)
    hook.ends(subject_of(first), "payment.paid", "retrying")
    payments = [wide.paid(1) for _ in range(6)]
    for payment_id in [first, *payments]:
        hook.ends(subject_of(payment_id), "payment.paid", "success", within=20)
    throttled = hook.calls()[:6]
    for earlier, later in itertools.pairwise(throttled):
        assert later.at >= earlier.over_at


def test_after_a_2xx_the_endpoint_is_trusted_again(wide: Office) -> None:
    gate = threading.Event()
    hook = wide.hook(1, says(503), FINE, Reply(gate=gate), events=PAID)
    first = wide.paid(1)
    hook.ends(subject_of(first), "payment.paid", "success")
    try:
        for _ in range(4):
            wide.paid(1)
        until(lambda: hook.fake.most_at_once(hook.path) >= 2, 5, "several at once again")
    finally:
        gate.set()


def test_other_failures_do_not_throttle(wide: Office) -> None:
    gate = threading.Event()
    hook = wide.hook(1, BROKEN, Reply(gate=gate), events=PAID)
    hook.ends(subject_of(wide.paid(1)), "payment.paid", "retrying")
    try:
        for _ in range(4):
            wide.paid(1)
        until(lambda: hook.fake.most_at_once(hook.path) >= 2, 5, "several at once")
    finally:
        gate.set()


def test_ten_failures_in_a_row_open_a_breaker(wide: Office) -> None:
    """Then nothing for two seconds, one probe, nothing for four, one probe that succeeds, and all the rest."""
    hook = wide.hook(1, events=PAID)
    sick = threading.Event()
    sick.set()
    hook.fake.judges(hook.path, lambda call: Reply(500) if sick.is_set() else FINE)
    payments = [wide.paid(1) for _ in range(12)]
    calls = hook.waits_for(10, within=10)
    until(lambda: time.monotonic() - hook.calls()[-1].at > 1.2, 8, "it pauses")
    before = len(hook.calls())
    assert 10 <= before <= 10 + 7
    pause = hook.waits_for(before + 1)[before].at - hook.calls()[before - 1].over_at
    assert 1.6 <= pause <= 3.5
    quiet_for(2.5, lambda: len(hook.calls()))
    assert len(hook.calls()) == before + 1
    sick.clear()
    calls = hook.waits_for(before + 2)
    assert 3.4 <= calls[before + 1].at - calls[before].over_at <= 6
    for payment_id in payments:
        hook.ends(subject_of(payment_id), "payment.paid", "success")
    made = sum(hook.delivery(subject_of(payment_id), "payment.paid")["attempts_made"] for payment_id in payments)
    assert made == len(hook.calls())


def test_a_breaker_is_the_endpoints_own(wide: Office) -> None:
    sick, well = wide.hook(1, BROKEN, events=PAID), wide.hook(1, events=PAID)
    for _ in range(11):
        wide.paid(1)
    sick.waits_for(10)
    payment_id = wide.pay(1)
    began = time.monotonic()
    wide.settle(payment_id)
    [call] = well.waits_for(1, subject_of(payment_id))
    assert call.at - began <= 1.2


def test_nine_failures_do_not_open_a_breaker(wide: Office) -> None:
    hook = wide.hook(1, *[BROKEN] * 9, FINE, events=PAID)
    for _ in range(9):
        wide.paid(1)
    hook.waits_for(9)
    payment_id = wide.pay(1)
    began = time.monotonic()
    wide.settle(payment_id)
    [call] = hook.waits_for(1, subject_of(payment_id))
    assert call.at - began <= 1.2


def test_a_success_in_between_starts_the_count_again(wide: Office) -> None:
    hook = wide.hook(1, *[BROKEN] * 6, FINE, *[BROKEN] * 6, FINE, events=PAID, ordered=False)
    for _ in range(7):
        wide.paid(1)
        time.sleep(0.02)
    calls = hook.waits_for(14, within=10)
    assert max(later.at - earlier.at for earlier, later in itertools.pairwise(calls)) < 1.9


def test_a_slow_merchant_delays_nobody_else(wide: Office) -> None:
    """F61: one takes as long as it likes; the others are served within a second."""
    gate = threading.Event()
    slow = wide.hook(1, Reply(gate=gate))
    others = {number: wide.hook(number, events=PAID) for number in (2, 3, 5, 6)}
    waits: list[float] = []
    try:
        for _ in range(12):
            wide.paid(1)
        slow.waits_for(8)
        for _ in range(5):
            for number, hook in others.items():
                payment_id = wide.pay(number)
                wide.settle(payment_id)
                committed = time.monotonic()
                [call] = hook.waits_for(1, subject_of(payment_id))
                waits.append(call.at - committed)
    finally:
        gate.set()
    assert max(waits) <= 1.0, statistics.quantiles(waits, n=10)


def test_a_slow_endpoint_does_not_delay_another_of_the_same_merchant(wide: Office) -> None:
    gate = threading.Event()
    slow, quick = wide.hook(1, Reply(gate=gate), events=PAID), wide.hook(1, events=PAID)
    try:
        for _ in range(12):
            payment_id = wide.pay(1)
            wide.settle(payment_id)
            committed = time.monotonic()
            [call] = quick.waits_for(1, subject_of(payment_id))
            assert call.at - committed <= 1.0
        assert len(slow.calls()) == 8
    finally:
        gate.set()


def test_many_dead_merchants_delay_nobody_else(wide: Office) -> None:
    for number in (2, 3, 5, 6):
        for _ in range(3):
            wide.hook(number, url="http://127.0.0.1:9/", events=PAID)
        for _ in range(4):
            wide.paid(number)
    hook = wide.hook(1, events=PAID)
    for _ in range(5):
        payment_id = wide.pay(1)
        wide.settle(payment_id)
        committed = time.monotonic()
        [call] = hook.waits_for(1, subject_of(payment_id))
        assert call.at - committed <= 1.0


@pytest.fixture(autouse=True)
def _leave_nothing(wide: Office) -> Iterator[None]:
    yield
    wide.clear()
