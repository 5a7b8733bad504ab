"""The plan, dead letters and replays (section 4)."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.contracts.payments.till import Json, until
from tests.contracts.webhooks.desk import Hook, Office, command_of, is_delivery, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, FINE, Reply

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

PLAN = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
PAID = ["payment.paid"]


@pytest.fixture(scope="module")
def _patient(open_office: OpenOffice) -> Office:
    return open_office(WEBHOOK_RETRY_SECONDS=None, WEBHOOK_TIMEOUT_S=None, PAYMENT_LINK_TTL_S="864000")


@pytest.fixture
def patient(_patient: Office) -> Iterator[Office]:
    """The plan of the contract, and a clock that tests move."""
    yield _patient
    _patient.clear()


@pytest.fixture(scope="module")
def _hasty(open_office: OpenOffice) -> Office:
    return open_office(WEBHOOK_RETRY_SECONDS="0")


@pytest.fixture
def hasty(_hasty: Office) -> Iterator[Office]:
    """One attempt, and then a dead letter."""
    yield _hasty
    _hasty.clear()


def now(office: Office) -> float:
    found: float = office.server.sql("SELECT extract(epoch FROM kassa_now())::float8 AS now")[0]["now"]
    return found


def seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def dead(office: Office, count: int) -> tuple[list[Json], str]:
    """So many dead letters of merchant 1 at one endpoint, oldest first, and the place of that endpoint."""
    hook = office.hook(1, BROKEN, events=PAID)
    found = [hook.ends(subject_of(office.paid(1)), "payment.paid", "failed") for _ in range(count)]
    hook.will(FINE)
    return found, hook.place


def has_failed(hook: Hook, delivery_id: str, times: int) -> bool:
    found = hook.one(delivery_id)
    return (found["attempts_made"], found["status"]) == (times, "retrying")


def test_ten_attempts_come_at_the_times_of_the_plan(patient: Office) -> None:
    hook = patient.hook(1, BROKEN, events=PAID)
    subject = subject_of(patient.paid(1))
    delivery_id = hook.delivery(subject, "payment.paid")["delivery_id"]
    for made in range(1, 10):
        until(partial(has_failed, hook, delivery_id, made), 8, f"attempt {made} fails")
        wait = seconds(hook.one(delivery_id)["next_attempt_at"]) - now(patient)
        planned = PLAN[made]
        assert 0.8 * planned - 2 <= wait <= 1.2 * planned, (made, wait)
        assert len(hook.calls()) == made
        if planned > 5:
            patient.later(wait - 5)
            quiet_for(0.3, lambda: len(hook.calls()))
            patient.later(5)
    delivery = hook.becomes(delivery_id, "failed", within=15)
    assert [call.attempt for call in hook.calls()] == list(range(1, 11))
    assert [each["number"] for each in delivery["attempts"]] == list(range(1, 11))
    assert (delivery["attempts_made"], delivery["next_attempt_at"], delivery["last_error"]) == (10, None, "status")
    assert len({call.event_id for call in hook.calls()}) == 1
    patient.later(200_000)
    quiet_for(0.5, lambda: len(hook.calls()))


def test_waits_are_random_within_a_fifth(patient: Office) -> None:
    """Nine failures at each of three endpoints: one more would open a breaker."""
    waits = []
    for _ in range(3):
        hook = patient.hook(1, BROKEN, events=PAID)
        payments = [patient.paid(1) for _ in range(9)]
        hook.waits_for(9)
        for payment_id in payments:
            found = hook.ends(subject_of(payment_id), "payment.paid", "retrying")
            [attempt] = found["attempts"]
            waits.append(seconds(found["next_attempt_at"]) - seconds(attempt["began_at"]) - attempt["duration_ms"] / 1000)
        hook.who.delete(hook.place)
    assert min(waits) >= 4 - 0.2
    assert max(waits) <= 6 + 0.2
    assert max(waits) - min(waits) > 0.4
    assert len({round(wait, 2) for wait in waits}) > 5


def test_the_wait_is_counted_from_the_end_of_the_attempt_before(office: Office) -> None:
    hook = office.hook(1, Reply(500, after=1.2), FINE, events=PAID)
    office.paid(1)
    first, second = hook.waits_for(2)
    assert first.took >= 1.2
    assert 0.75 <= second.at - first.over_at <= 2.2


def test_the_first_attempt_begins_within_a_second_of_the_commit(office: Office) -> None:
    hook = office.hook(1, events=PAID)
    for _ in range(8):
        payment_id = office.pay(1)
        office.settle(payment_id)
        committed = time.monotonic()
        [call] = hook.waits_for(1, subject_of(payment_id))
        assert call.at - committed <= 1.0
        time.sleep(0.15)


def test_a_due_attempt_begins_within_a_second_of_its_time(office: Office) -> None:
    hook = office.hook(1, BROKEN, BROKEN, FINE, events=PAID)
    subject = subject_of(office.paid(1))
    calls = hook.waits_for(3, subject)
    for earlier, later in itertools.pairwise(calls):
        assert 0.75 <= later.at - earlier.over_at <= 1.2 + 1.0


def test_a_plan_of_one_has_one_attempt(hasty: Office) -> None:
    hook = hasty.hook(1, BROKEN, events=PAID)
    found = hook.ends(subject_of(hasty.paid(1)), "payment.paid", "failed")
    assert (found["attempts_made"], found["next_attempt_at"]) == (1, None)


# Dead letters and replays


def test_a_dead_letter_is_sent_again_when_asked(hasty: Office) -> None:
    [found], place = dead(hasty, 1)
    hook = hasty.made[-1]
    answer = hook.replay(found["delivery_id"])
    assert answer.status_code == 202, answer.text
    body = {name: value for name, value in answer.json().items() if name != "attempts"}
    is_delivery(body)
    assert (body["delivery_id"], body["event_id"]) == (found["delivery_id"], found["event_id"])
    done = hook.becomes(found["delivery_id"], "success")
    assert done["last_status_code"] == 200
    first, second = hook.waits_for(2)
    assert first.event_id == second.event_id
    assert first.raw == second.raw
    assert second.attempt >= 1
    assert place == hook.place


def test_a_success_is_sent_again_when_asked(hasty: Office) -> None:
    hook = hasty.hook(1, events=PAID)
    found = hook.ends(subject_of(hasty.paid(1)), "payment.paid", "success")
    assert hook.replay(found["delivery_id"]).status_code == 202
    first, second = hook.waits_for(2)
    assert first.event_id == second.event_id
    hook.becomes(found["delivery_id"], "success")
    quiet_for(0.5, lambda: len(hook.calls()))


def test_a_replay_begins_a_new_plan(office: Office) -> None:
    hook = office.hook(1, BROKEN, events=PAID)
    found = hook.ends(subject_of(office.paid(1)), "payment.paid", "failed")
    assert len(hook.calls()) == 4
    assert hook.replay(found["delivery_id"]).status_code == 202
    hook.waits_for(8)
    hook.becomes(found["delivery_id"], "failed")
    quiet_for(1.5, lambda: len(hook.calls()))
    assert len(hook.calls()) == 8


def test_all_dead_letters_are_sent_again_when_asked(hasty: Office) -> None:
    found, place = dead(hasty, 3)
    hook = hasty.made[-1]
    answer = hook.post("replay", {"status": "failed"})
    assert (answer.status_code, answer.json()) == (202, {"replayed": 3})
    for each in found:
        hook.becomes(each["delivery_id"], "success")
    assert sorted(call.event_id for call in hook.calls()[3:]) == sorted(each["event_id"] for each in found)
    again = hook.who.post(f"{place}/replay", json={})
    assert (again.status_code, again.json()) == (202, {"replayed": 0})


def test_failed_is_what_is_replayed_unless_said_otherwise(hasty: Office) -> None:
    dead(hasty, 2)
    hook = hasty.made[-1]
    good = hook.ends(subject_of(hasty.paid(1)), "payment.paid", "success")
    answer = hook.post("replay", {})
    assert (answer.status_code, answer.json()) == (202, {"replayed": 2})
    hook.waits_for(5)
    assert [call.event_id for call in hook.calls()].count(good["event_id"]) == 1


def test_successes_are_replayed_when_asked(hasty: Office) -> None:
    hook = hasty.hook(1, events=PAID)
    found = [hook.ends(subject_of(hasty.paid(1)), "payment.paid", "success") for _ in range(2)]
    answer = hook.post("replay", {"status": "success"})
    assert (answer.status_code, answer.json()) == (202, {"replayed": 2})
    hook.waits_for(4)
    for each in found:
        assert [call.event_id for call in hook.calls()].count(each["event_id"]) == 2


def occurred(office: Office, event_id: str) -> str:
    [found] = [each for each in office.feed(1, type="payment.paid") if each["id"] == event_id]
    at: str = found["occurred_at"]
    return at


@pytest.mark.parametrize(("bounds", "count"), [("since", 2), ("until", 2), ("both", 1), ("future", 0), ("past", 0)])
def test_a_replay_may_be_of_a_time(hasty: Office, bounds: str, count: int) -> None:
    found, _ = dead(hasty, 3)
    hook = hasty.made[-1]
    times = [dt.datetime.fromisoformat(occurred(hasty, each["event_id"])) for each in found]
    after_first, before_last = (
        ((times[place] + (times[place + 1] - times[place]) / 2).isoformat().replace("+00:00", "Z")) for place in (0, 1)
    )
    body = {
        "since": {"since": after_first},
        "until": {"until": before_last},
        "both": {"since": after_first, "until": before_last},
        "future": {"since": "2999-01-01T00:00:00Z"},
        "past": {"until": "2020-01-01T00:00:00Z"},
    }[bounds]
    answer = hook.post("replay", {"status": "failed", **body})
    assert (answer.status_code, answer.json()) == (202, {"replayed": count})
    wanted = {"since": found[1:], "until": found[:2], "both": found[1:2]}.get(bounds, [])
    for each in wanted:
        hook.becomes(each["delivery_id"], "success")
    assert len(hook.listed(status="success")) == count


def test_a_replay_holds_nothing_up(hasty: Office) -> None:
    """It is outside the order: the next event of its subject does not wait for it."""
    gate = threading.Event()
    hook = hasty.hook(1, events=["payment.waiting", "payment.paid"])
    payment_id = hasty.pay(1)
    first = hook.ends(subject_of(payment_id), "payment.waiting", "success")
    hook.fake.judges(hook.path, lambda call: Reply(gate=gate) if call.type == "payment.waiting" else FINE)
    try:
        assert hook.replay(first["delivery_id"]).status_code == 202
        until(lambda: len(hook.calls(type_="payment.waiting")) == 2, 5, "the replay is under way")
        hasty.settle(payment_id)
        hook.ends(subject_of(payment_id), "payment.paid", "success", within=1.8)
    finally:
        gate.set()


def test_a_replay_of_one_endpoint_is_not_for_another(hasty: Office) -> None:
    other = hasty.hook(1, events=PAID)
    dead(hasty, 1)
    hook = hasty.made[-1]
    before = len(other.calls())
    assert hook.post("replay", {}).json() == {"replayed": 1}
    hook.waits_for(2)
    assert len(other.calls()) == before


def test_the_operator_can_replay_too() -> None:
    assert command_of({}, "events", "replay", "--help").returncode == 0


# Crashes


@pytest.fixture(scope="module")
def _mortal(open_office: OpenOffice) -> Office:
    return open_office(WEBHOOK_TIMEOUT_S="1", WEBHOOK_RETRY_SECONDS="0,1,1,1,1,1")


@pytest.fixture
def mortal(_mortal: Office) -> Iterator[Office]:
    """An office that is killed; a lease is six seconds long."""
    yield _mortal
    _mortal.clear()


def test_a_delivery_whose_deliverer_died_is_made_again(mortal: Office) -> None:
    gate, office = threading.Event(), mortal
    hook = office.hook(1, Reply(gate=gate), FINE, events=PAID)
    payment_id = office.paid(1)
    hook.waits_for(1)
    office.server.kill()
    gate.set()
    office.mall.forget_clients()
    office.server.restart()
    hook.who = office.merchant(1)
    first, second = hook.waits_for(2, within=20)
    assert first.event_id == second.event_id
    assert first.raw == second.raw
    assert second.attempt == 2
    found = hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert found["attempts_made"] == 2


def test_what_was_recorded_before_a_kill_is_delivered_after_it(mortal: Office) -> None:
    office = mortal
    hook = office.hook(1, BROKEN, events=["*"], ordered=False)
    payments = [office.paid(1) for _ in range(3)]
    office.server.kill()
    office.mall.forget_clients()
    hook.will(FINE)
    office.server.restart()
    hook.who = office.merchant(1)
    for payment_id in payments:
        hook.ends(subject_of(payment_id), "payment.paid", "success", within=20)
