"""A circuit breaker: after some unanswered calls in a row, spare the neighbour and the caller for a while.

Closed → (5 failures in a row) → open for 10 s → one probe: an answer closes it, silence opens it again.
Any answer counts as alive, also a refusal: a breaker is about silence, not about being told no.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakSet

_named: WeakSet[Breaker] = WeakSet()


def breakers() -> dict[str, bool]:
    """The breakers of this process by the names of their neighbours: whether one of that name is open."""
    found: dict[str, bool] = {}
    for breaker in tuple(_named):
        found[breaker.name] = breaker.is_open or found.get(breaker.name, False)
    return found


class Breaker:
    """One per neighbour and process. Times are seconds of a clock that never jumps; one with a `name` is shown to the operator."""

    def __init__(
        self, name: str = "", *, failures: int = 5, pause_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._limit = failures
        self._pause = pause_s
        self._clock = clock
        self._failed = 0
        self._opened_at: float | None = None
        self._probing = False
        self._reopened = False
        self.was_open = True
        """Whether it was open since somebody made up for what was missed; a process that has just begun says yes."""
        if name:
            _named.add(self)

    def allows(self) -> bool:
        """Whether a call may be made now. When the pause is over exactly one caller is let through, as the probe."""
        if self._opened_at is None:
            return True
        if self._probing or self._clock() - self._opened_at < self._pause:
            return False
        self._probing = True
        return True

    @property
    def is_open(self) -> bool:
        """Whether calls are being refused, without asking for the probe."""
        return self._opened_at is not None

    @property
    def rests(self) -> bool:
        """Whether whoever makes up for what was missed leaves the probe to others still.

        After a probe that failed it waits for two pauses: if it is only questions that fail, somebody who buys is the next probe.
        """
        pause = self._pause * (2 if self._reopened else 1)
        return self._opened_at is not None and (self._probing or self._clock() - self._opened_at < pause)

    def retry_after(self) -> int:
        """Whole seconds, at least 1, until a call may be tried."""
        if self._opened_at is None:
            return 1
        return max(1, round(self._pause - (self._clock() - self._opened_at) + 0.5))

    def answered(self) -> None:
        """The neighbour answered, whatever it said."""
        self._failed, self._opened_at, self._probing, self._reopened = 0, None, False, False

    def silent(self) -> None:
        """The neighbour did not answer."""
        self._failed += 1
        self._reopened = self._reopened or self._probing
        if self._probing or self._failed >= self._limit:
            self._opened_at, self._probing, self.was_open = self._clock(), False, True

    def released(self) -> None:
        """The call was given up before anything could be learnt (cancelled): the probe is free again."""
        self._probing = False
