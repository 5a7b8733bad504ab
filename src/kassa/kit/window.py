"""Rate limits: so many hits of one caller in any second, minute, hour or day, over all processes where they share a Redis."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from typing import Final

from kassa.kit.redis import Redis, Script

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_SWEEP_EVERY = 1024
_MICRO: Final = 1_000_000


class Window:
    """A moving window in memory. `rate` is `100/second`, `/minute`, `/hour` or `/day`.

    The library `limits` keeps such windows too, but looks through all callers after every hit, each in a thread: with ten thousand
    callers one such look took 0.7 s of processor time. Here a hit looks at one caller, and a sweep comes every so many hits.
    """

    def __init__(self, rate: str) -> None:
        amount, _, unit = rate.partition("/")
        self.amount = int(amount)
        self.seconds = _SECONDS[unit]
        self._hits: dict[str, deque[float]] = {}
        self._until_sweep = _SWEEP_EVERY

    def hit(self, who: str, now: float) -> float:
        """Count a request of `who` at `now` (seconds); returns 0, or for how many seconds it is one too many."""
        wait_s = self.wait(who, now)
        if not wait_s:
            self.count(who, now)
        return wait_s

    def wait(self, who: str, now: float) -> float:
        """For how many seconds a request of `who` would be one too many; nothing is counted."""
        hits = self._hits.get(who)
        if hits is None or len(hits) < self.amount:
            return 0
        return max(0.0, hits[0] + self.seconds - now)

    def count(self, who: str, now: float) -> None:
        """Count a request of `who` that was let through."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep(now)
        hits = self._hits.get(who)
        if hits is None:
            hits = self._hits[who] = deque(maxlen=self.amount)
        hits.append(now)

    def _sweep(self, now: float) -> None:
        self._until_sweep = max(_SWEEP_EVERY, len(self._hits))
        for who in [who for who, hits in self._hits.items() if hits[-1] + self.seconds <= now]:
            del self._hits[who]


# The same window in Redis, by its clock: the newest hit first, never more than the rate allows. The library `limits` would take its
# time from each process and ask a second time for how long to wait.
_HIT = Script("""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local amount, span = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('LLEN', KEYS[1]) >= amount then
    local free_at = redis.call('LINDEX', KEYS[1], amount - 1) + span
    if free_at > now then
        return free_at - now
    end
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, amount - 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(span / 1000))
return 0
""")


class Limiter:
    """One rate for each caller, over all processes that share `redis`; without it, and while it does not answer, over this process.

    `name` sets these callers apart from those of other limits. What this process lets through is counted here, too: so it goes on
    from there when Redis is away, and need not ask about a caller who alone is too many for it.
    """

    def __init__(self, name: str, rate: str, redis: Redis | None = None) -> None:
        self._prefix = f"kassa:rate:{name}:{rate}:"
        self._window = Window(rate)
        self._redis = redis

    async def hit(self, who: str) -> float:
        """Count a request of `who`; returns 0, or for how many seconds it is one too many."""
        if self._redis is None:
            return self._window.hit(who, time.monotonic())
        if alone_s := self._window.wait(who, time.monotonic()):
            return alone_s
        shared_s = await self._shared(self._redis, who)
        if shared_s is None:
            return self._window.hit(who, time.monotonic())
        if not shared_s:
            self._window.count(who, time.monotonic())
        return shared_s

    async def _shared(self, redis: Redis, who: str) -> float | None:
        # Neither an address nor a user's id is to lie in Redis, and a key is to be short.
        key = self._prefix + hashlib.blake2b(who.encode(), digest_size=16).hexdigest()
        wait = await redis.run(_HIT, [key], self._window.amount, round(self._window.seconds * _MICRO))
        return wait / _MICRO if isinstance(wait, int) else None
