"""The order of events within a subject, and the list in which a merchant sees what waits (section 4)."""

from __future__ import annotations

import itertools
import threading
import time

from tests.contracts.payments.till import BASE, a_key, malformed, until
from tests.contracts.webhooks.desk import Office, is_attempt, is_delivery, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, FINE, Call, Reply

THREE = ["payment.created", "payment.waiting", "payment.paid"]


def refund(office: Office, payment_id: str, **body: str) -> None:
    answer = office.merchant().post(f"{BASE}/{payment_id}/refunds", json=body, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201, answer.text


def test_events_of_a_subject_come_in_their_order(office: Office) -> None:
    hook = office.hook(1)
    payments = [office.paid(1, price="50.00") for _ in range(6)]
    for payment_id in payments:
        refund(office, payment_id, amount="20.00")
        refund(office, payment_id)
    for payment_id in payments:
        calls = hook.waits_for(8, subject_of(payment_id))
        assert [call.sequence for call in calls] == list(range(1, len(calls) + 1))
        assert [call.type for call in calls][:3] == THREE
        assert "payment.refunded" in [call.type for call in calls]


def test_a_later_event_waits_for_an_earlier_one(office: Office) -> None:
    gate = threading.Event()
    hook = office.hook(1, events=["payment.waiting", "payment.paid"])
    hook.fake.judges(hook.path, lambda call: Reply(gate=gate) if call.type == "payment.waiting" else FINE)
    try:
        payment_id = office.paid(1)
        hook.waits_for(1, subject_of(payment_id), "payment.waiting")
        waiting, paid = hook.of(subject_of(payment_id))
        assert (waiting["status"], paid["status"]) == ("processing", "blocked")
        assert (paid["attempts_made"], paid["next_attempt_at"]) == (0, None)
        quiet_for(0.8, lambda: len(hook.calls()))
    finally:
        gate.set()
    hook.ends(subject_of(payment_id), "payment.paid", "success")
    first, second = hook.calls(subject_of(payment_id))
    assert second.at >= first.over_at
    assert second.at - first.over_at <= 1.0


def test_a_later_event_waits_while_an_earlier_one_is_retried(office: Office) -> None:
    hook = office.hook(1, events=["payment.waiting", "payment.paid"])
    tries = iter([BROKEN, BROKEN])
    hook.fake.judges(hook.path, lambda call: next(tries, FINE) if call.type == "payment.waiting" else FINE)
    payment_id = office.paid(1)
    hook.ends(subject_of(payment_id), "payment.waiting", "retrying")
    assert [each["status"] for each in hook.of(subject_of(payment_id))][1] == "blocked"
    hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert [(call.type, call.attempt) for call in hook.calls(subject_of(payment_id))] == [
        ("payment.waiting", 1),
        ("payment.waiting", 2),
        ("payment.waiting", 3),
        ("payment.paid", 1),
    ]


def test_a_dead_letter_lets_the_next_one_go(office: Office) -> None:
    hook = office.hook(1, events=["payment.waiting", "payment.paid"])
    hook.fake.judges(hook.path, lambda call: BROKEN if call.type == "payment.waiting" else FINE)
    payment_id = office.paid(1)
    hook.ends(subject_of(payment_id), "payment.paid", "success", within=15)
    assert [each["status"] for each in hook.of(subject_of(payment_id))] == ["failed", "success"]
    assert [call.type for call in hook.calls(subject_of(payment_id))] == ["payment.waiting"] * 4 + ["payment.paid"]


def test_different_subjects_do_not_wait_for_each_other(office: Office) -> None:
    hook = office.hook(1, events=["payment.paid"])
    first = office.pay(1)
    hook.fake.judges(hook.path, lambda call: BROKEN if call.subject == subject_of(first) else FINE)
    office.settle(first)
    hook.ends(subject_of(first), "payment.paid", "retrying")
    for _ in range(4):
        payment_id = office.pay(1)
        began = time.monotonic()
        office.settle(payment_id)
        [call] = hook.waits_for(1, subject_of(payment_id))
        assert call.at - began <= 1.2


def test_without_order_a_later_event_does_not_wait(office: Office) -> None:
    hook = office.hook(1, ordered=False, events=["payment.waiting", "payment.paid"])
    hook.fake.judges(hook.path, lambda call: BROKEN if call.type == "payment.waiting" else FINE)
    payment_id = office.paid(1)
    hook.ends(subject_of(payment_id), "payment.paid", "success", within=2)
    hook.ends(subject_of(payment_id), "payment.waiting", "failed")
    assert [call.sequence for call in hook.calls(subject_of(payment_id), "payment.paid")] == [3]


def test_order_is_kept_per_endpoint(office: Office) -> None:
    """A broken endpoint does not hold up another one of the same merchant."""
    broken, good = office.hook(1, BROKEN), office.hook(1)
    payment_id = office.paid(1)
    calls = good.waits_for(3, subject_of(payment_id), within=3)
    assert [call.type for call in calls] == THREE
    assert {call.type for call in broken.calls(subject_of(payment_id))} == {"payment.created"}


def test_what_an_endpoint_does_not_want_holds_nothing_up(office: Office) -> None:
    hook = office.hook(1, events=["payment.paid"])
    payment_id = office.paid(1)
    [call] = hook.waits_for(1, subject_of(payment_id))
    assert (call.type, call.sequence) == ("payment.paid", 3)


# Disabled, enabled, deleted


def test_a_disabled_endpoint_collects_what_it_gets_later(office: Office) -> None:
    hook = office.hook(1)
    assert hook.post("disable").status_code == 200
    payments = [office.paid(1) for _ in range(3)]
    subjects = [subject_of(payment_id) for payment_id in payments]
    for subject in subjects:
        until(lambda s=subject: len(hook.of(s)) == 3, 5, "the deliveries are there")  # type: ignore[misc]
        assert {each["status"] for each in hook.of(subject)} == {"blocked"}
        assert {each["attempts_made"] for each in hook.of(subject)} == {0}
    quiet_for(0.6, lambda: len(hook.calls()))
    assert hook.calls() == []
    enabled = time.monotonic()
    assert hook.post("enable").status_code == 200
    for subject in subjects:
        calls = hook.waits_for(3, subject)
        assert [call.type for call in calls] == THREE
    assert hook.calls()[0].at - enabled <= 1.2


def test_disabling_stops_retries_and_enabling_makes_them_due(office: Office) -> None:
    hook = office.hook(1, BROKEN, FINE, events=["payment.paid"])
    payment_id = office.paid(1)
    delivery = hook.ends(subject_of(payment_id), "payment.paid", "retrying")
    assert hook.post("disable").status_code == 200
    quiet_for(1.8, lambda: len(hook.calls()))
    assert hook.one(delivery["delivery_id"])["status"] == "blocked"
    assert hook.post("enable").status_code == 200
    hook.becomes(delivery["delivery_id"], "success")
    assert [call.attempt for call in hook.calls()] == [1, 2]


def test_what_a_deleted_endpoint_still_owed_is_failed(office: Office) -> None:
    """Seen in the payment's timeline: the endpoint's own list is gone with it."""
    hook = office.hook(5, BROKEN, events=["payment.waiting", "payment.paid"])
    payment_id = office.paid(5)
    hook.ends(subject_of(payment_id), "payment.waiting", "retrying")
    assert hook.who.delete(hook.place).status_code == 204
    so_far = len(hook.calls())

    def told() -> list[int]:
        events = office.merchant(5).get(f"{BASE}/{payment_id}/tracking").json()["events"]
        return [each["status"] for each in events if each["event_type"] == 4]

    until(lambda: told() == [3, 3], 5, "both deliveries are failed")
    quiet_for(1.8, lambda: len(hook.calls()))
    assert len(hook.calls()) == so_far


# The list of deliveries


def test_deliveries_are_listed_newest_first_with_all_members(office: Office) -> None:
    hook = office.hook(1)
    payment_id = office.paid(1)
    subject = subject_of(payment_id)
    hook.ends(subject, "payment.paid", "success")
    found = hook.listed()
    for each in found:
        is_delivery(each)
    assert [each["event_type"] for each in found if each["subject"] == subject] == THREE[::-1]
    times = [each["created_at"] for each in found]
    assert times == sorted(times, reverse=True)
    assert [each["sequence"] for each in hook.of(subject)] == [1, 2, 3]


def test_one_delivery_has_its_attempts(office: Office) -> None:
    hook = office.hook(1, BROKEN, FINE, events=["payment.paid"])
    payment_id = office.paid(1)
    found = hook.ends(subject_of(payment_id), "payment.paid", "success")
    attempts = found.pop("attempts")
    is_delivery(found)
    for each in attempts:
        is_attempt(each)
    assert [(each["number"], each["status_code"], each["error"]) for each in attempts] == [(1, 500, "status"), (2, 200, None)]
    assert attempts[0]["response"] == "we are sorry"
    assert attempts[0]["began_at"] < attempts[1]["began_at"]
    [listed] = hook.of(subject_of(payment_id))
    assert listed == found


def test_deliveries_are_chosen_by_their_state(office: Office) -> None:
    hook = office.hook(1, events=["payment.paid", "payment.waiting"])
    bad = office.pay(1)
    hook.fake.judges(hook.path, lambda call: BROKEN if call.subject == subject_of(bad) and call.type == "payment.paid" else FINE)
    office.settle(bad)
    good = office.paid(1)
    hook.ends(subject_of(bad), "payment.paid", "failed", within=15)
    hook.ends(subject_of(good), "payment.paid", "success")
    assert [(each["subject"], each["event_type"]) for each in hook.listed(status="failed")] == [(subject_of(bad), "payment.paid")]
    assert len(hook.listed(status="success")) == 3
    for state in ("pending", "processing", "retrying", "blocked"):
        assert hook.listed(status=state) == []


def test_pages_of_deliveries_miss_nothing_and_repeat_nothing(office: Office) -> None:
    hook = office.hook(1)
    for _ in range(4):
        office.paid(1)
    until(lambda: len(hook.listed(status="success")) == 12, 8, "all is delivered")
    every = [each["delivery_id"] for each in hook.listed()]
    found, cursor = [], ""
    while True:
        page = hook.who.get(f"{hook.place}/deliveries", params={"limit": 5, "cursor": cursor}).json()
        assert set(page) == {"limit", "has_next", "next_cursor", "items"}
        assert page["limit"] == 5
        found += [each["delivery_id"] for each in page["items"]]
        if not page["has_next"]:
            assert page["next_cursor"] is None
            break
        assert len(page["items"]) == 5
        if len(found) == 5:
            office.paid(1)  # newer ones do not disturb
        cursor = page["next_cursor"]
    assert found == every


def test_a_cursor_of_another_endpoint_is_refused_or_shows_nothing_of_it(office: Office) -> None:
    first, second = office.hook(1), office.hook(1)
    for _ in range(2):
        office.paid(1)
    until(lambda: len(first.listed(status="success")) == 6, 8, "all is delivered")
    cursor = first.who.get(f"{first.place}/deliveries", params={"limit": 2}).json()["next_cursor"]
    answer = second.who.get(f"{second.place}/deliveries", params={"limit": 2, "cursor": cursor})
    if answer.status_code == 200:
        mine = {each["delivery_id"] for each in second.listed()}
        assert {each["delivery_id"] for each in answer.json()["items"]} <= mine
    else:
        malformed(answer)


def test_many_subjects_at_once_each_keep_their_order(office: Office) -> None:
    """Some answers are slow and some fail: the order of each subject holds all the same."""
    lock, seen = threading.Lock(), {"n": 0}

    def moody(call: Call) -> Reply:
        with lock:
            seen["n"] += 1
            place = seen["n"]
        return Reply(500) if place % 7 == 0 else Reply(after=0.05 * (place % 4))

    hook = office.hook(1, events=["payment.*"])
    hook.fake.judges(hook.path, moody)
    payments = [office.paid(1) for _ in range(12)]
    for payment_id in payments:
        hook.ends(subject_of(payment_id), "payment.paid", "success", within=20)
        calls = hook.calls(subject_of(payment_id))
        for earlier, later in itertools.pairwise(calls):
            assert later.at >= earlier.over_at
            assert later.sequence >= earlier.sequence
        assert sorted({call.sequence for call in calls}) == [1, 2, 3]
