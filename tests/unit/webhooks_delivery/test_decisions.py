"""What an outcome means for its delivery and its endpoint: one table each."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.events import Recorded
from kassa.kit.egress import Outcome
from kassa.webhooks.delivery.attempt import body_of
from kassa.webhooks.delivery.model import Claimed, Ended, Health, Verdict, after, changed, spread, verdict
from kassa.webhooks.delivery.note import judge
from kassa.webhooks.delivery.store import Locked

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = (0, 5, 300)
WELL = Health(0, throttled=False, paused_until=None, pause_s=0, attempts_since_success=0, good_at=NOON)
EVENT = Recorded(
    "7",
    uuid.UUID(int=1),
    "payment:x",
    3,
    "payment.paid",
    1,
    NOON,
    '{"payment_id":"x","order_id":1,"status":2,"amount":"2","price":"3.00","n":0}',
)


def ended(
    status: int | None = 200, error: str | None = None, *, tries: int = 1, wait_s: float | None = None, began_at: datetime = NOON
) -> Ended:
    if error is None and status is not None and not 200 <= status < 300:
        error = "status"
    claimed = Claimed(
        "7", uuid.UUID(int=2), uuid.UUID(int=3), tries, tries, 1, began_at, "https://x.example", "event", False, b"", None, EVENT
    )
    return Ended(claimed, Outcome(status, error, retry_after_s=wait_s))


@pytest.mark.parametrize(
    ("outcome", "enabled", "said"),
    [
        (ended(200), True, Verdict("success")),
        (ended(204, tries=3), True, Verdict("success")),
        (ended(200), False, Verdict("success")),
        (ended(500), True, Verdict("retrying", 5)),
        (ended(500, tries=2), True, Verdict("retrying", 300)),
        (ended(500, tries=3), True, Verdict("failed")),
        (ended(500, tries=4), True, Verdict("failed")),
        (ended(500), False, Verdict("blocked")),
        (ended(500, tries=3), False, Verdict("failed")),
        (ended(410), True, Verdict("blocked")),
        (ended(410, tries=3), True, Verdict("blocked")),
        (ended(None, "timeout"), True, Verdict("retrying", 5)),
        (ended(302, "redirect"), True, Verdict("retrying", 5)),
        (ended(None, "refused_address", tries=3), True, Verdict("failed")),
        (ended(503, wait_s=4), True, Verdict("retrying", 5)),
        (ended(503, wait_s=77), True, Verdict("retrying", 77)),
        (ended(503, wait_s=77, tries=3), True, Verdict("failed")),
    ],
)
def test_what_becomes_of_a_delivery(outcome: Ended, said: Verdict, *, enabled: bool) -> None:
    assert verdict(outcome, PLAN, enabled=enabled, chance=0.5) == said


@given(wait=st.integers(0, 86400), chance=st.floats(0, 1))
def test_a_wait_is_spread_by_a_fifth(wait: int, chance: float) -> None:
    assert wait * 0.8 - 1e-6 <= spread(wait, chance) <= wait * 1.2 + 1e-6
    assert spread(0, chance) == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_asks_for_mercy_is_throttled_until_a_2xx(status: int) -> None:
    tired = after(WELL, ended(status), NOON)
    assert tired.throttled
    assert after(tired, ended(500), NOON).throttled
    assert after(tired, ended(None, "cut"), NOON).throttled
    assert not after(tired, ended(200), NOON).throttled


@pytest.mark.parametrize("status", [400, 404, 410, 500, 501, 505])
def test_others_are_not(status: int) -> None:
    assert not after(WELL, ended(status), NOON).throttled


def test_the_tenth_failure_in_a_row_opens_the_breaker() -> None:
    health = WELL
    for failed in range(1, 10):
        health = after(health, ended(500), NOON)
        assert (health.failures, health.paused_until) == (failed, None)
    health = after(health, ended(500), NOON)
    assert (health.failures, health.pause_s, health.paused_until) == (10, 2, NOON + timedelta(seconds=2))


def test_what_was_under_way_is_no_probe_and_each_failed_probe_doubles_the_pause() -> None:
    health = replace(WELL, failures=10, pause_s=2, paused_until=NOON + timedelta(seconds=2))
    assert after(health, ended(500, began_at=NOON), NOON + timedelta(seconds=1)).paused_until == health.paused_until
    pauses = []
    for _ in range(7):
        assert health.paused_until is not None
        now = health.paused_until + timedelta(seconds=1)
        health = after(health, ended(500, began_at=health.paused_until), now)
        assert health.paused_until == now + timedelta(seconds=health.pause_s)
        pauses.append(health.pause_s)
    assert pauses == [4, 8, 16, 32, 60, 60, 60]


def test_a_2xx_makes_an_endpoint_well() -> None:
    ill = Health(30, throttled=True, paused_until=NOON, pause_s=60, attempts_since_success=30, good_at=NOON - timedelta(days=4))
    assert after(ill, ended(200), NOON) == WELL
    assert after(replace(ill, reason="manual"), ended(200), NOON).reason == "manual", "that is for its merchant to say"


@pytest.mark.parametrize(
    ("now", "written"),
    [
        (WELL, False),
        (replace(WELL, good_at=NOON + timedelta(seconds=0.99)), False),
        (replace(WELL, good_at=NOON + timedelta(seconds=1)), True),
        (replace(WELL, failures=1), True),
        (replace(WELL, throttled=True), True),
        (replace(WELL, paused_until=NOON), True),
        (replace(WELL, pause_s=2), True),
        (replace(WELL, attempts_since_success=1), True),
        (replace(WELL, reason="gone"), True),
    ],
)
def test_an_endpoint_that_goes_on_being_well_is_written_once_a_second(now: Health, *, written: bool) -> None:
    assert changed(WELL, now) is written
    assert changed(now, WELL) is (written and now.good_at == WELL.good_at), "the time of a success never goes back"


@pytest.mark.parametrize(
    ("attempts", "days", "status", "reason"),
    [
        (9, 5, 500, "failing"),
        (8, 5, 500, None),
        (20, 4.99, 500, None),
        (20, 6, 200, None),
        (0, 0, 410, "gone"),
        (20, 6, 410, "gone"),
    ],
)
def test_when_an_endpoint_is_disabled(attempts: int, days: float, status: int, reason: str | None) -> None:
    health = replace(WELL, attempts_since_success=attempts, good_at=NOON - timedelta(days=days))
    assert after(health, ended(status), NOON).reason == reason
    assert after(replace(health, reason="manual"), ended(status), NOON).reason == "manual"


def test_outcomes_of_one_batch_are_judged_one_after_another() -> None:
    """The first one disables the endpoint: the others wait until it is enabled."""
    locked = {uuid.UUID(int=2): Locked(uuid.UUID(int=2), WELL, deleted=False, now=NOON)}
    judged, healths = judge([ended(410), ended(500), ended(200)], locked, PLAN)
    assert [said.status for _, said, _ in judged] == ["blocked", "blocked", "success"]
    assert healths[uuid.UUID(int=2)].reason == "gone"


def test_at_a_deleted_endpoint_only_a_2xx_counts() -> None:
    locked = {uuid.UUID(int=2): Locked(uuid.UUID(int=2), WELL, deleted=True, now=NOON)}
    judged, _ = judge([ended(500), ended(410), ended(200)], locked, PLAN)
    assert [(said.status, error) for _, said, error in judged] == [("failed", "endpoint_deleted")] * 2 + [("success", None)]


@pytest.mark.parametrize(
    ("format_", "type_", "is_payment"),
    [("payment", "payment.paid", True), ("payment", "refund.created", False), ("event", "payment.paid", False)],
)
def test_the_body_is_the_payment_where_the_endpoint_wants_it(format_: str, type_: str, *, is_payment: bool) -> None:
    claimed = replace(ended().claimed, format=format_, event=replace(EVENT, type=type_))
    assert body_of(claimed) == (claimed.event.payment() if is_payment else claimed.event.envelope())


def test_a_claim_shows_neither_address_nor_secret() -> None:
    claimed = replace(ended().claimed, url="https://x.example/?key=canary", secret=b"canary", old_secret=b"canary")
    assert "canary" not in repr(claimed)
