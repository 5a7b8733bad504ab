"""An event loop without a clock on the wall: when nobody has anything to do, it is the time at which somebody has.

Everything happens in the order of these times and of nothing else, so the same choices give the same history.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import types
import uuid
from collections.abc import Iterator
from typing import Any


class Stuck(Exception):
    """Everybody waits, and nobody for a time."""


class _NoSockets:
    """What the loop asks for news from outside: there is no outside, so the time to wait for it just passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """Its time begins at zero and passes only when nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = _NoSockets(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now_s

    def pass_time(self, seconds: float) -> None:
        """Be so much later."""
        self._now_s += seconds

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def close(self) -> None:
        self._selector.close()
        super().close()


class _Ids:
    """`uuid_utils` as `kit.ids` needs it: ids that ascend as real ones do, and are the same in every run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self._made = loop, 0

    def uuid7(self) -> uuid.UUID:
        self._made += 1
        millis = round(self._loop.time() * 1000) + 1_767_225_600_000
        return uuid.UUID(int=millis << 80 | 7 << 76 | 2 << 62 | self._made)


class _Words:
    """`secrets` as `kit.ids` needs it."""

    def __init__(self) -> None:
        self._made = 0

    def randbelow(self, limit: int) -> int:
        self._made += 1
        return self._made % limit


@contextlib.contextmanager
def instead_of_the_world(loop: VirtualLoop) -> Iterator[None]:
    """Kassa's modules see the loop's time and ids that can be foretold, and nothing of the machine's."""
    from kassa.kit import ids

    clock = types.SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})
    clock.monotonic = loop.time
    told: list[tuple[Any, str, Any]] = [
        (module, "time", time)
        for name, module in sorted(sys.modules.items())
        if name.startswith("kassa.") and getattr(module, "time", None) is time
    ]
    told += [(ids, "uuid_utils", ids.uuid_utils), (ids, "secrets", ids.secrets)]
    for module, name, _ in told:
        setattr(module, name, clock)
    ids.uuid_utils, ids.secrets = _Ids(loop), _Words()  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, name, real in told:
            setattr(module, name, real)
