"""How endpoints are disabled, and the test that a merchant may ask for (sections 1, 2, 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.contracts.payments.till import Json, until
from tests.contracts.webhooks.desk import Hook, Office, disabled, is_envelope, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, FINE, Reply, says

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

DAY = 86_400
GONE = says(410, b"never again")
PAID = ["payment.paid"]


@pytest.fixture(scope="module")
def _ageing(open_office: OpenOffice) -> Office:
    return open_office(WEBHOOK_RETRY_SECONDS=",".join(["0"] * 9 + [str(DAY)] * 11))


@pytest.fixture
def ageing(_ageing: Office) -> Iterator[Office]:
    """Nine attempts at once, and then one a day; a clock that tests move."""
    yield _ageing
    _ageing.clear()


def status(hook: Hook) -> tuple[str, str | None]:
    found = hook.look()
    return found["status"], found["disabled_reason"]


def told_of(office: Office, hook: Hook, number: int = 1) -> list[Json]:
    """The events that say that this endpoint was disabled."""
    return office.feed(number, type="endpoint.disabled", subject=f"endpoint:{hook.id}")


def test_410_disables_the_endpoint(office: Office) -> None:
    hook = office.hook(1, GONE, events=PAID)
    subject = subject_of(office.paid(1))
    until(lambda: status(hook) == ("disabled", "gone"), 5, "it is disabled")
    delivery = hook.ends(subject, "payment.paid", "blocked")
    assert (delivery["last_status_code"], delivery["attempts_made"]) == (410, 1)
    later = subject_of(office.paid(1))
    hook.ends(later, "payment.paid", "blocked")
    quiet_for(1.8, lambda: len(hook.calls()))
    assert len(hook.calls()) == 1
    disabled(hook.post("test"))


def test_an_endpoint_that_was_gone_can_be_enabled_again(office: Office) -> None:
    hook = office.hook(1, GONE, FINE, events=PAID)
    subjects = [subject_of(office.paid(1))]
    until(lambda: status(hook) == ("disabled", "gone"), 5, "it is disabled")
    subjects.append(subject_of(office.paid(1)))
    answer = hook.post("enable")
    assert (answer.status_code, answer.json()["status"], answer.json()["disabled_reason"]) == (200, "enabled", None)
    for subject in subjects:
        hook.ends(subject, "payment.paid", "success")
    assert [call.attempt for call in hook.calls(subjects[0])] == [1, 2]


def test_the_others_are_told_that_an_endpoint_was_disabled(office: Office) -> None:
    gone, other, deaf = office.hook(1, GONE, events=PAID), office.hook(1, events=["endpoint.*"]), office.hook(1, events=["order.*"])
    office.paid(1)
    [call] = other.waits_for(1, f"endpoint:{gone.id}", "endpoint.disabled")
    is_envelope(call.body)
    [event] = told_of(office, gone)
    assert call.event_id == event["id"]
    assert event["sequence"] == call.sequence == 1
    assert deaf.calls() == []
    assert gone.calls(type_="endpoint.disabled") == []


def test_a_merchant_is_not_told_of_a_strangers_endpoint(office: Office) -> None:
    gone, stranger = office.hook(1, GONE, events=PAID), office.hook(2)
    office.paid(1)
    until(lambda: told_of(office, gone), 5, "it is told")
    assert stranger.calls(f"endpoint:{gone.id}") == []
    assert told_of(office, gone, 2) == []


def test_an_endpoint_that_fails_for_five_days_is_disabled(ageing: Office) -> None:
    hook = ageing.hook(1, BROKEN, events=PAID)
    subject = subject_of(ageing.paid(1))
    hook.waits_for(9, within=12)
    ageing.later(2 * DAY)
    hook.waits_for(10, within=12)
    assert status(hook) == ("enabled", None)
    ageing.later(4 * DAY)
    until(lambda: status(hook) == ("disabled", "failing"), 15, "it is disabled")
    hook.ends(subject, "payment.paid", "blocked")
    assert len(told_of(ageing, hook)) == 1
    before = len(hook.calls())
    ageing.later(3 * DAY)
    quiet_for(1, lambda: len(hook.calls()))
    assert len(hook.calls()) == before
    hook.will(FINE)
    assert hook.post("enable").status_code == 200
    hook.ends(subject, "payment.paid", "success")


def test_a_few_failures_over_five_days_disable_nothing(ageing: Office) -> None:
    """Fewer than ten attempts."""
    hook = ageing.hook(1, BROKEN, FINE, events=PAID, url="http://127.0.0.1:9/")
    ageing.paid(1)
    until(lambda: hook.listed()[0]["attempts_made"] >= 5, 12, "some attempts")
    assert hook.who.patch(hook.place, json={"url": hook.fake.url(hook.path)}).status_code == 200
    hook.will(FINE)
    ageing.later(6 * DAY)
    hook.waits_for(1, within=12)
    assert status(hook) == ("enabled", None)


def test_a_2xx_within_five_days_keeps_an_endpoint(ageing: Office) -> None:
    hook = ageing.hook(1, *[BROKEN] * 8, FINE, BROKEN, events=PAID)
    first = subject_of(ageing.paid(1))
    hook.ends(first, "payment.paid", "success", within=12)
    ageing.later(3 * DAY)
    ageing.paid(1)
    hook.waits_for(18, within=20)
    assert status(hook) == ("enabled", None)


def test_a_manual_disabling_is_shown(office: Office) -> None:
    hook = office.hook(1)
    assert hook.post("disable").status_code == 200
    assert status(hook) == ("disabled", "manual")
    assert hook.post("enable").status_code == 200
    assert status(hook) == ("enabled", None)


def test_a_disabled_endpoint_can_be_changed_and_its_secret_rotated(office: Office) -> None:
    hook = office.hook(1, GONE, events=PAID)
    office.paid(1)
    until(lambda: status(hook) == ("disabled", "gone"), 5, "it is disabled")
    path = f"{hook.path}/new"
    assert hook.who.patch(hook.place, json={"url": office.fake.url(path)}).status_code == 200
    assert hook.post("rotate-secret", {}).status_code == 200
    assert status(hook) == ("disabled", "gone")
    assert hook.post("enable").status_code == 200
    until(lambda: len(office.fake.calls(path)) == 1, 5, "it goes to the new address")


# test.ping


def test_a_test_is_sent_whatever_is_wanted(office: Office) -> None:
    hook = office.hook(1, events=["order.*"])
    asked = hook.ping()
    [call] = hook.waits_for(1)
    assert (call.type, call.subject, call.event_id) == ("test.ping", f"endpoint:{hook.id}", asked["event_id"])
    is_envelope(call.body)
    assert call.body["data"] == {"endpoint_id": hook.id, "message": "ping"}
    found = hook.becomes(asked["delivery_id"], "success")
    assert (found["event_id"], found["event_type"]) == (asked["event_id"], "test.ping")


def test_a_test_is_for_the_endpoint_that_asked_alone(office: Office) -> None:
    hook, other, stranger = office.hook(1), office.hook(1, events=["*", "test.ping", "test.*"]), office.hook(2)
    hook.ping()
    hook.waits_for(1, type_="test.ping")
    payment_id = office.paid(1)
    other.waits_for(3, subject_of(payment_id))
    assert other.calls(type_="test.ping") == []
    assert stranger.calls(type_="test.ping") == []


def test_tests_are_counted_like_any_event(office: Office) -> None:
    hook = office.hook(1)
    ids = [hook.ping()["event_id"] for _ in range(3)]
    calls = hook.waits_for(3, f"endpoint:{hook.id}")
    assert [(call.event_id, call.sequence) for call in calls] == list(zip(ids, (1, 2, 3), strict=True))
    assert [each["id"] for each in office.feed(1, subject=f"endpoint:{hook.id}")] == ids


def test_a_test_that_fails_is_retried_and_listed(office: Office) -> None:
    hook = office.hook(1, BROKEN, Reply(204, b""))
    found = hook.becomes(hook.ping()["delivery_id"], "success")
    assert [each["status_code"] for each in found["attempts"]] == [500, 204]
