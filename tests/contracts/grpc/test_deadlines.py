"""Callers who do not wait, or go away: nothing half done, nothing left open, and the same key gets one payment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import Caller, Json, a_word, an_order, listed, ordered, persist, refused, request_of, settled
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import SUCCEEDED
from tests.contracts.grpc.slow import a_slow_order, dawdling, nothing_is_left_open, now, wait_for_sleepers
from tests.rig import Server


def with_a_deadline(caller: Caller, order: Json, milliseconds: int) -> StatusCode:
    call = caller.begin("RequestPayment", request_of(order), timeout=milliseconds / 1000)
    code: StatusCode = call.code()
    return code


def with_a_change_of_mind(caller: Caller, order: Json, milliseconds: int) -> StatusCode:
    call = caller.begin("RequestPayment", request_of(order))
    timer = threading.Timer(milliseconds / 1000, call.cancel)
    timer.start()
    code: StatusCode = call.code()
    timer.join()
    return code


@pytest.mark.parametrize("go_away", [with_a_deadline, with_a_change_of_mind], ids=["deadlines", "cancels"])
def test_after_many_hasty_calls_each_key_gives_one_payment(own: Server, meet: Meet, go_away: Callable[..., StatusCode]) -> None:
    caller = meet(own.grpc, x_api_key="sk_demo_3")
    caller.health()
    family = a_word("hasty")
    orders = [an_order(order_id=f"{family}:{n}") for n in range(80)]
    with ThreadPoolExecutor(6) as hands:
        codes = set(hands.map(lambda n: go_away(caller, orders[n], 1 + n % 40), range(80)))
    assert codes - {StatusCode.OK}, "not one of them was in too much of a hurry"
    assert codes <= {StatusCode.OK, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
    nothing_is_left_open(own, now(own), within=20)
    answers = [persist(caller, order, within=60) for order in orders]
    again = [caller.pay(**order) for order in orders]
    assert [answer.data for answer in again] == [answer.data for answer in answers]
    there = {item["order_id"]: item["payment_id"] for item in _family(own, family)}
    assert there == {order["order_id"]: answer.payment_id for order, answer in zip(orders, answers, strict=True)}
    assert len(_family(own, family)) == 80, "one payment each"
    assert settled(caller, answers[-1].payment_id, within=60)[0] == SUCCEEDED


def _family(server: Server, family: str) -> list[Json]:
    return [item for item in listed(server, "sk_demo_3") if str(item["order_id"]).startswith(f"{family}:")]


def test_a_deadline_that_passes_before_the_commit_writes_nothing(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    order = a_slow_order(3)
    with dawdling(own):
        assert refused(caller.pay, timeout=0.4, **order)[0] == StatusCode.DEADLINE_EXCEEDED
        nothing_is_left_open(own, now(own), within=2)
        assert ordered(own, order) == []
    taken = persist(caller, order)
    assert taken.replayed is None, "the key is free"
    assert ordered(own, order) == [taken.payment_id]


def test_a_cancelled_call_leaves_no_transaction_and_no_payment(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    order = a_slow_order(4)
    with dawdling(own):
        call = caller.begin("RequestPayment", request_of(order))
        wait_for_sleepers(own, 1)
        call.cancel()
        nothing_is_left_open(own, now(own), within=2)
        assert ordered(own, order) == []
    taken = persist(caller, order)
    assert taken.replayed is None, "the key is free"
    assert ordered(own, order) == [taken.payment_id]


def test_a_caller_who_vanishes_leaves_no_transaction(own: Server, meet: Meet) -> None:
    caller, other = meet(own.grpc), meet(own.grpc)
    order = a_slow_order(4)
    with dawdling(own):
        call = caller.begin("RequestPayment", request_of(order))
        wait_for_sleepers(own, 1)
        caller.close()
        assert call.code() == StatusCode.CANCELLED
        nothing_is_left_open(own, now(own), within=2)
    assert persist(other, order).replayed is None


def test_without_a_deadline_the_server_takes_five_seconds(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    order = a_slow_order(9)
    with dawdling(own):
        began = time.monotonic()
        assert refused(caller.pay, timeout=None, **order)[0] == StatusCode.DEADLINE_EXCEEDED
        assert 4.5 <= time.monotonic() - began <= 7
        nothing_is_left_open(own, now(own), within=2)
        assert ordered(own, order) == []


def test_a_repeat_of_a_running_request_waits_a_second_and_is_told_so(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    order = a_slow_order(2.5)
    with dawdling(own):
        running: Any = caller.begin("RequestPayment", request_of(order))
        wait_for_sleepers(own, 1)
        began = time.monotonic()
        assert refused(caller.pay, **order) == (
            StatusCode.ABORTED,
            "Request with this idempotency key is still running",
        )
        assert 0.8 <= time.monotonic() - began < 2
        first = running.result()
        repeat = caller.pay(**order)
        assert (repeat.data, repeat.replayed) == (first, "true")
        assert ordered(own, order) == [repeat.payment_id]


def test_a_repeat_that_need_not_wait_long_gets_the_first_answer(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    order = a_slow_order(0.6)
    with dawdling(own):
        running = caller.begin("RequestPayment", request_of(order))
        wait_for_sleepers(own, 1)
        repeat = caller.pay(**order)
        assert (repeat.data, repeat.replayed) == (running.result(), "true")


def test_a_slow_payment_holds_up_nobody_else(own: Server, meet: Meet) -> None:
    caller = meet(own.grpc)
    with dawdling(own):
        running = caller.begin("RequestPayment", request_of(a_slow_order(2.5)))
        wait_for_sleepers(own, 1)
        payment = caller.pay().payment_id
        assert caller.look(payment).payment_id == payment
        assert caller.health() == "ok"
        assert not running.done()
        running.result()
