"""The merchant's clock on the tester's desk: `/sandbox/control/clock` shows it and moves it forward.

The sandbox has no part in that clock. Whoever runs it beside a merchant hands in a hand that turns it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kassa.sandbox.model import Call, Reply, say
from kassa.sandbox.payme.player import Errand

Turn = Callable[[str | None], Awaitable[dict[str, object]]]
"""Moves the clock by a step (`+12h`), or only reads it, and says `now` and `ahead_s`; or `detail`, why it was not moved."""

_PATH = "/control/clock"
_ALONE = "This sandbox runs alone, without a database whose clock it could move; type `kassa sandbox clock +12h` beside Kassa."


class Clock:
    """The clock as the desk shows it; made without a hand it says that there is none."""

    def __init__(self, turn: Turn | None) -> None:
        self._turn = turn
        self.errands = (Errand("GET", _PATH, self._show), Errand("POST", _PATH, self._move))

    async def _show(self, _call: Call) -> Reply:
        return say(409, {"detail": _ALONE}) if self._turn is None else _told(await self._turn(None))

    async def _move(self, call: Call) -> Reply:
        if self._turn is None:
            return say(409, {"detail": _ALONE})
        step = call.fields.get("step")
        if not isinstance(step, str):
            return say(422, {"detail": 'Say how far: {"step": "+12h"}'})
        return _told(await self._turn(step))


def _told(said: dict[str, object]) -> Reply:
    return say(422 if "detail" in said else 200, said)
