"""Named kill points: where a test may end the process as a power cut would.

Every named transaction has the points `<name>:before_commit` and `<name>:after_commit`; every outside call has
`<name>:before_call` and `<name>:after_call`. `KASSA_CRASH_AT=checkout.start:after_commit` (with `#2` for
the second time) makes this process `kill -9` itself there. Production refuses to start with it.
"""

from __future__ import annotations

import os
import signal

_armed: str | None = None
_left = 0


def arm(point: str | None) -> None:
    """Arm one kill point (`name` or `name#n`), or none."""
    global _armed, _left  # noqa: PLW0603 - one process, one kill point
    if point is None:
        _armed = None
        return
    name, _, times = point.partition("#")
    _armed, _left = name, int(times or 1)


def reach(name: str, moment: str) -> None:
    """Say that the process has come to `name:moment`; it ends here if that point is armed."""
    if _armed is None:
        return
    global _left  # noqa: PLW0603 - see arm
    if f"{name}:{moment}" == _armed:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
