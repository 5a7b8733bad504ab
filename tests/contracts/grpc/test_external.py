"""`GRPC_PAYMENT_PROVIDER=external`: a payment waits for the provider's signed word, and late facts win.

The first house here also takes nobody without a key; the second waits two seconds and takes only so many calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import Caller, Json, an_order, at_once, refused, report, reported, request_of
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING, SUCCEEDED
from tests.rig import Server

WAITING = (PENDING, "Payment initiated")
PAID = (SUCCEEDED, "Payment succeeded")
DECLINED = (FAILED, "Payment declined")
EXPIRED = (FAILED, "Payment expired")
REQUIRED = (StatusCode.UNAUTHENTICATED, "API key required")


@pytest.fixture(scope="module")
def outside(start_kassa: Callable[..., Server]) -> Server:
    return start_kassa(GRPC_PAYMENT_PROVIDER="external", GRPC_REQUIRE_API_KEY="true")


@pytest.fixture(scope="module")
def hasty(start_kassa: Callable[..., Server]) -> Server:
    return start_kassa(GRPC_PAYMENT_PROVIDER="external", PAYMENT_LINK_TTL_S="2", RATE_LIMIT="20/second")


@pytest.fixture
def merchant(outside: Server, meet: Meet) -> Caller:
    return meet(outside.grpc, x_api_key="sk_demo_2")


@pytest.mark.parametrize(
    ("word", "state"),
    [("finished", PAID), ("failed", DECLINED), ("anything else", DECLINED)],
)
def test_the_signed_word_of_the_provider_decides(outside: Server, merchant: Caller, word: str, state: tuple[int, str]) -> None:
    order = an_order(currency="EUR")
    first = merchant.pay(**order)
    assert merchant.state(first.payment_id) == WAITING
    answer = report(outside, first.payment_id, word)
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == {
        "message": "payment updated",
        "payment_id": first.payment_id,
        "status": "PAYMENT_FINISHED" if state == PAID else "PAYMENT_FAILED",
    }
    assert merchant.state(first.payment_id) == state
    assert merchant.pay(**order).data == first.data, "the key still gives the first answer"


def test_nothing_is_simulated(merchant: Caller) -> None:
    """Neither sums nor metadata decide anything here, for longer than a simulated payment takes."""
    orders = [{}, {"amount_minor": 1302}, {"metadata": {"simulate": "decline"}}, {"metadata": {"simulate": "wait"}}]
    waiting = [merchant.pay(**order).payment_id for order in orders]
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert [merchant.state(payment) for payment in waiting] == [WAITING] * 4
        time.sleep(0.2)


@pytest.mark.parametrize("word", ["pending", "processing"])
def test_a_word_that_decides_nothing_changes_nothing(outside: Server, merchant: Caller, word: str) -> None:
    payment = merchant.pay().payment_id
    assert report(outside, payment, word).status_code == 200
    assert merchant.state(payment) == WAITING
    assert reported(outside, payment, "finished") == "payment updated"
    assert merchant.state(payment) == PAID


def test_a_word_with_a_wrong_signature_is_not_heard(outside: Server, merchant: Caller) -> None:
    payment = merchant.pay().payment_id
    answer = report(outside, payment, "finished", secret="somebody-elses")
    assert (answer.status_code, answer.json()) == (403, {"error": "invalid_signature"})
    assert merchant.state(payment) == WAITING


def test_the_first_decision_stands_unless_money_comes_after_all(outside: Server, merchant: Caller) -> None:
    paid, declined = (merchant.pay().payment_id for _ in range(2))
    assert reported(outside, paid, "finished") == "payment updated"
    assert reported(outside, paid, "failed") == "already processed"
    assert merchant.state(paid) == PAID
    assert reported(outside, declined, "failed") == "payment updated"
    assert reported(outside, declined, "failed") == "already processed"
    assert merchant.state(declined) == DECLINED
    assert reported(outside, declined, "finished") == "payment updated"
    assert merchant.state(declined) == PAID


def test_the_word_said_many_times_at_once_is_booked_once(outside: Server, merchant: Caller) -> None:
    payment = merchant.pay().payment_id
    answers = at_once([lambda: reported(outside, payment, "finished")] * 12)
    assert sorted(answers) == ["already processed"] * 11 + ["payment updated"]
    rows = outside.sql("SELECT type FROM events WHERE subject = $1 ORDER BY sequence", f"payment:{payment}")
    assert [row["type"] for row in rows] == ["payment.created", "payment.paid"]


def test_two_payments_of_one_order_are_both_paid(outside: Server, merchant: Caller) -> None:
    one, two = an_order(), an_order()
    payments = [merchant.pay(**{**order, "order_id": one["order_id"]}).payment_id for order in (one, two)]
    for payment in payments:
        assert reported(outside, payment, "finished") == "payment updated"
    assert [merchant.state(payment) for payment in payments] == [PAID, PAID]


def test_a_house_that_requires_a_key_serves_nobody_without_one(outside: Server, meet: Meet, merchant: Caller) -> None:
    nobody, order = meet(outside.grpc), an_order()
    assert refused(nobody.pay, **order) == REQUIRED
    assert refused(nobody.look, "abc") == REQUIRED
    assert refused(nobody.look, merchant.pay().payment_id) == REQUIRED
    assert nobody.health() == "ok"
    assert meet(outside.grpc, x_api_key="sk_demo_1").pay(**order).replayed is None


# The hasty house


@pytest.mark.parametrize("order", [{}, {"metadata": {"simulate": "wait"}}], ids=["plain", "told to wait"])
def test_a_payment_that_nobody_reports_expires_and_late_money_still_wins(hasty: Server, meet: Meet, order: Json) -> None:
    began = time.monotonic()
    caller = meet(hasty.grpc, x_api_key="sk_demo_2")
    payment = caller.pay(**order).payment_id

    def state() -> tuple[int, str]:
        time.sleep(0.2)  # only so many calls a second
        return caller.state(payment)

    while (seen := state()) == WAITING:
        assert time.monotonic() - began < 15, "it does not expire"
    assert seen == EXPIRED
    assert time.monotonic() - began >= 1.9, "not before its time"
    assert reported(hasty, payment, "failed") == "already processed"
    assert state() == EXPIRED
    assert reported(hasty, payment, "finished") == "payment updated"
    assert state() == PAID


def test_who_calls_too_often_is_told_so_and_spends_no_key(hasty: Server, meet: Meet) -> None:
    eager, calm = meet(hasty.grpc, x_api_key="sk_demo_3"), meet(hasty.grpc, x_api_key="sk_demo_4")
    end = time.monotonic() + 20

    def turned_away() -> tuple[Json, grpc.RpcError]:
        while time.monotonic() < end:
            orders = [an_order() for _ in range(60)]
            calls = [eager.begin("RequestPayment", request_of(order)) for order in orders]
            for order, call in zip(orders, calls, strict=True):
                if (error := call.exception()) is not None:
                    return order, error
        raise AssertionError("there is no limit")

    order, error = turned_away()
    assert (error.code(), error.details()) == (StatusCode.RESOURCE_EXHAUSTED, "Rate limit exceeded")
    assert calm.pay().replayed is None, "a limit is each caller's own"

    def served() -> bool:
        try:
            assert eager.pay(**order).replayed is None, "what was turned away left its key free"
        except grpc.RpcError as again:
            assert (again.code(), again.details()) == (StatusCode.RESOURCE_EXHAUSTED, "Rate limit exceeded")
            return False
        return True

    while not served():
        assert time.monotonic() < end, "the limit does not pass"
        time.sleep(0.1)
