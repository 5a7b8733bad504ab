"""Shutdown, power cuts and a database that is away: nothing that was answered is lost, and callers may simply try again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from tests import rig
from tests.contracts.grpc.callers import (
    Answer,
    Caller,
    Json,
    an_order,
    check,
    eventually,
    ordered,
    persist,
    refused,
    request_of,
    settled,
    watch,
)
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING, SERVICE, SUCCEEDED
from tests.contracts.grpc.slow import a_slow_order, dawdling, wait_for_sleepers
from tests.rig import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
AWAY = (StatusCode.UNAVAILABLE, "Service unavailable")

STORIES = [
    ({}, (SUCCEEDED, "Payment succeeded")),
    ({"amount_minor": 1302}, (FAILED, "Payment declined")),
    ({"metadata": {"simulate": "decline"}}, (FAILED, "Payment declined")),
]


@contextmanager
def without_its_database(server: Server) -> Iterator[None]:
    """Cut every connection to the database of a server and let nobody in, until the block ends."""
    name = urlsplit(server.dsn).path.lstrip("/")
    elsewhere = rig.with_database(server.dsn, "postgres")
    rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    rig.query(elsewhere, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.fixture
def running(own: Server) -> Iterator[Server]:
    """The server that may be stopped; whatever became of it, the next test finds it running."""
    yield own
    if not own.alive():
        own.process = None
        own.start()


class Crowd:
    """Callers who pay without a pause, each request a new order, and keep what they were answered."""

    def __init__(self, address: str, callers: int = 4):
        self.answered: list[tuple[Json, Answer]] = []
        self.codes: set[StatusCode] = set()
        self._over = threading.Event()
        self._address, self._hands = address, ThreadPoolExecutor(callers)
        self._work = [self._hands.submit(self._keep_paying) for _ in range(callers)]

    def _keep_paying(self) -> None:
        caller = Caller(self._address)
        try:
            while not self._over.is_set():
                order = an_order()
                try:
                    self.answered.append((order, caller.pay(**order)))
                except grpc.RpcError as error:
                    self.codes.add(error.code())
                self._over.wait(0.02)
        finally:
            caller.close()

    def go_home(self) -> None:
        self._over.set()
        for work in self._work:
            work.result()
        self._hands.shutdown()


def is_as_it_was_answered(caller: Caller, answered: list[tuple[Json, Answer]]) -> None:
    """Every repeat gets the first answer, byte for byte."""
    for order, answer in answered:
        repeat = caller.pay(**order)
        assert (repeat.data, repeat.replayed) == (answer.data, "true")


def test_after_a_power_cut_all_that_was_answered_is_there_and_is_settled(running: Server, meet: Meet) -> None:
    crowd = Crowd(running.grpc)
    try:
        eventually(lambda: len(crowd.answered) > 20, 20, "nobody is served")
        caller = meet(running.grpc)
        orders = [(an_order(**changes), state) for changes, state in STORIES * 3]
        waiting = an_order(metadata={"simulate": "wait"})
        answers = [(order, caller.pay(**order)) for order, _ in orders]
        waits = caller.pay(**waiting)
        running.kill()
    finally:
        crowd.go_home()
    running.restart()
    caller = meet(running.grpc)
    end = time.monotonic() + 2
    for (_, answer), (_, state) in zip(answers, orders, strict=True):
        assert settled(caller, answer.payment_id, within=max(0, end - time.monotonic())) == state
    assert caller.state(waits.payment_id) == (PENDING, "Payment initiated")
    is_as_it_was_answered(caller, [*answers, (waiting, waits), *crowd.answered])
    for _, answer in crowd.answered:
        assert settled(caller, answer.payment_id, within=10) == (SUCCEEDED, "Payment succeeded")


def test_a_shutdown_under_load_loses_nothing_that_was_answered(running: Server, meet: Meet) -> None:
    crowd = Crowd(running.grpc)
    try:
        eventually(lambda: len(crowd.answered) > 40, 20, "nobody is served")
        assert running.stop() == 0
        eventually(lambda: crowd.codes, 20, "nobody was turned away")
    finally:
        crowd.go_home()
    assert crowd.codes == {StatusCode.UNAVAILABLE}
    running.start()
    caller = meet(running.grpc)
    is_as_it_was_answered(caller, crowd.answered)
    for _, answer in crowd.answered:
        assert settled(caller, answer.payment_id, within=10) == (SUCCEEDED, "Payment succeeded")


def test_at_a_shutdown_watchers_are_told_running_calls_end_well_and_new_ones_are_turned_away(running: Server, meet: Meet) -> None:
    caller, patient = meet(running.grpc), meet(running.grpc)
    streams = [watch(meet(running.grpc), service) for service in ("", SERVICE)]
    assert [next(stream).status for stream in streams] == [SERVING, SERVING]
    quick, endless = a_slow_order(2.5), a_slow_order(8)
    with dawdling(running):
        calls = [patient.begin("RequestPayment", request_of(order), timeout=60) for order in (quick, endless)]
        wait_for_sleepers(running, 2)
        began = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        assert [next(stream).status for stream in streams] == [NOT_SERVING, NOT_SERVING]
        assert not calls[0].done(), "they were told while calls were running"
        for stream in streams:
            stream.cancel()  # type: ignore[attr-defined]
        assert refused(caller.pay)[0] == StatusCode.UNAVAILABLE
        assert refused(meet(running.grpc).health)[0] == StatusCode.UNAVAILABLE
        first = calls[0].result()
        assert calls[1].exception() is not None, "nobody gets more than five seconds"
        assert running.wait() == 0
        assert time.monotonic() - began < 8
    running.start()
    after = meet(running.grpc)
    repeat = after.pay(**quick)
    assert (repeat.data, repeat.replayed) == (first, "true")
    assert ordered(running, endless) == [], "what was not answered was not written"


def test_a_watch_that_nobody_ends_does_not_hold_up_a_shutdown(running: Server, meet: Meet) -> None:
    stream = watch(meet(running.grpc), SERVICE)
    assert next(stream).status == SERVING
    began = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    assert running.wait() == 0
    assert time.monotonic() - began < 8
    assert next(stream).status == NOT_SERVING
    with pytest.raises((grpc.RpcError, StopIteration)):
        next(stream)


def test_without_its_database_the_service_is_unavailable_until_it_is_back(own: Server, meet: Meet) -> None:
    caller, keyed, order = meet(own.grpc), meet(own.grpc, x_api_key="sk_demo_2"), an_order()
    known = an_order()
    first = caller.pay(**known)
    settled(caller, first.payment_id)
    streams = [watch(caller, service) for service in ("", SERVICE)]
    assert [next(stream).status for stream in streams] == [SERVING, SERVING]
    with without_its_database(own):
        assert refused(caller.pay, **order) == AWAY
        assert refused(caller.pay, **known) == AWAY
        assert refused(caller.look, first.payment_id) == AWAY
        assert refused(keyed.pay, **order) == AWAY
        assert refused(keyed.look, first.payment_id) == AWAY
        assert caller.health() == "ok"
        assert [next(stream).status for stream in streams] == [NOT_SERVING, NOT_SERVING]
        assert [check(caller, service) for service in ("", SERVICE)] == [NOT_SERVING, NOT_SERVING]
    assert [next(stream).status for stream in streams] == [SERVING, SERVING]
    taken = persist(caller, order)
    assert taken.replayed is None
    assert ordered(own, order) == [taken.payment_id]
    assert settled(caller, taken.payment_id, within=10) == (SUCCEEDED, "Payment succeeded")
    assert caller.pay(**known).data == first.data


def test_while_the_database_goes_away_every_answer_is_true(own: Server, meet: Meet) -> None:
    """Callers pay on while it disappears and comes back: each key gives one payment, whatever was said in between."""
    caller = meet(own.grpc)
    orders = [an_order() for _ in range(150)]
    codes: set[StatusCode] = set()

    def pay(order: Json) -> Answer | None:
        try:
            return caller.pay(**order)
        except grpc.RpcError as error:
            codes.add(error.code())
            return None

    with ThreadPoolExecutor(6) as hands:
        work = [hands.submit(pay, order) for order in orders]
        eventually(lambda: sum(each.done() for each in work) > 15)
        with without_its_database(own):
            answers = [each.result() for each in work]
    assert codes == {StatusCode.UNAVAILABLE}
    for order, answer in zip(orders, answers, strict=True):
        final = persist(caller, order)
        assert answer is None or final.data == answer.data, "what was answered was written"
        assert caller.pay(**order).data == final.data
    assert [len(ordered(own, order)) for order in orders[::10]] == [1] * 15
