"""What an attempt's outcome means for its delivery and for its endpoint. Pure: no I/O, no clock, no dice here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from kassa.events import Recorded
from kassa.kit.egress import Outcome

MOST_IN_FLIGHT: Final = 8
"""Requests that one endpoint has to bear at the same time."""
BREAKS_AFTER: Final = 10
"""Failed attempts in a row that open the breaker of an endpoint."""
FIRST_PAUSE_S: Final = 2
LONGEST_PAUSE_S: Final = 60
GIVEN_UP_AFTER: Final = timedelta(days=5)
GIVEN_UP_ATTEMPTS: Final = 10
LEASE_BEYOND_S: Final = 5
"""Seconds that a lease outlives the longest possible attempt."""
KEPT: Final = timedelta(days=90)
GONE: Final = 410
MERCY: Final = frozenset({429, 502, 503, 504})
"""Answers after which an endpoint gets one request at a time until its next 2xx."""
_JITTER: Final = 0.2
_GOOD_FOR: Final = timedelta(seconds=1)
"""How exactly the last success of an endpoint is known: so a busy one is not written down anew with each of its answers."""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come."""

    merchant_id: str
    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    event_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process may attempt now, with all that the attempt needs. Only `lease_version` may write its outcome."""

    merchant_id: str
    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    attempts: int
    tries: int
    lease_version: int
    began_at: datetime
    url: str = field(repr=False)
    format: str
    operators: bool
    secret: bytes = field(repr=False)
    old_secret: bytes | None = field(repr=False)
    event: Recorded = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over."""

    claimed: Claimed
    outcome: Outcome

    @property
    def delivered(self) -> bool:
        """A 2xx was seen."""
        return self.outcome.error is None


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint has been answering. `reason` is why it is disabled, None while it is enabled."""

    failures: int
    throttled: bool
    paused_until: datetime | None
    pause_s: int
    attempts_since_success: int
    good_at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery: its next state and, for `retrying`, in how many seconds it is due."""

    status: str
    wait_s: float = 0.0


_DELIVERED: Final = Verdict("success")


def verdict(ended: Ended, plan: Sequence[int], *, enabled: bool, chance: float) -> Verdict:
    """What becomes of a delivery after an attempt at an endpoint that is `enabled` or not; `chance`, 0 to 1, spreads the wait."""
    if ended.delivered:
        return _DELIVERED
    tries = ended.claimed.tries
    if ended.outcome.status_code == GONE:
        return Verdict("blocked")
    if tries >= len(plan):
        return Verdict("failed")
    if not enabled:
        return Verdict("blocked")
    return Verdict("retrying", max(spread(plan[tries], chance), ended.outcome.retry_after_s or 0.0))


def spread(wait_s: float, chance: float) -> float:
    """A wait, 20 % shorter to 20 % longer as chance has it."""
    return wait_s * (1 - _JITTER + 2 * _JITTER * chance)


def after(health: Health, ended: Ended, now: datetime) -> Health:
    """How an endpoint is after an attempt that ended `now`."""
    if ended.delivered:
        return Health(0, throttled=False, paused_until=None, pause_s=0, attempts_since_success=0, good_at=now, reason=health.reason)
    worse = replace(
        health,
        failures=health.failures + 1,
        attempts_since_success=health.attempts_since_success + 1,
        throttled=health.throttled or ended.outcome.status_code in MERCY,
    )
    return _given_up(_paused(worse, ended, now), ended, now)


def changed(before: Health, now: Health) -> bool:
    """Whether an endpoint is to be written down anew. One that goes on being well is, once a second."""
    return now.good_at - before.good_at >= _GOOD_FOR or replace(now, good_at=before.good_at) != before


def _paused(health: Health, ended: Ended, now: datetime) -> Health:
    """The breaker: it opens at the tenth failure in a row, and each probe that fails doubles its pause.

    What was under way when it opened is no probe.
    """
    if health.failures == BREAKS_AFTER:
        pause_s = FIRST_PAUSE_S
    elif health.failures > BREAKS_AFTER and (health.paused_until is None or ended.claimed.began_at >= health.paused_until):
        pause_s = min(max(FIRST_PAUSE_S, 2 * health.pause_s), LONGEST_PAUSE_S)
    else:
        return health
    return replace(health, pause_s=pause_s, paused_until=now + timedelta(seconds=pause_s))


def _given_up(health: Health, ended: Ended, now: datetime) -> Health:
    if health.reason is not None:
        return health
    if ended.outcome.status_code == GONE:
        return replace(health, reason="gone")
    if health.attempts_since_success >= GIVEN_UP_ATTEMPTS and now - health.good_at >= GIVEN_UP_AFTER:
        return replace(health, reason="failing")
    return health
