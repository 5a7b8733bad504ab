"""One process that loads Kassa's code once and forks whenever another one is asked for. See `nursery.py`.

It obeys one JSON line at a time, and ends its children when nobody speaks to it any more. Until it forks it has no thread, no
connection and no event loop, and makes no id: a child inherits nothing but code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def serve() -> None:
    """Obey until standard input ends."""
    load()
    children: dict[int, int | None] = {}
    for line in sys.stdin.buffer:
        wish = json.loads(line)
        answer: Any = True
        if "words" in wish:
            answer = os.fork()
            if answer == 0:
                become(wish)
            children[answer] = None
        elif "poll" in wish:
            answer = look(children, wish["poll"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        if look(children, pid) is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def load() -> None:
    """Load what every child needs. Nothing here may start a thread, open a connection or make an id."""
    import gc

    import uvicorn.protocols.http.httptools_impl
    import uvloop

    import kassa.bootstrap
    import kassa.cli.app
    import kassa.kit.logs

    del kassa, uvicorn, uvloop
    gc.collect()
    gc.freeze()


def look(children: dict[int, int | None], pid: int) -> int | None:
    """The exit code of a child, negative for a signal as `subprocess` has it; None while it lives."""
    if children[pid] is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children[pid] = os.waitstatus_to_exitcode(status)
    return children[pid]


def become(wish: dict[str, Any]) -> None:
    """Turn this fork into the process that was asked for. Does not return."""
    os.setsid()
    die_with_parent()
    os.chdir(wish["home"])
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    os.environ.clear()
    os.environ.update(wish["environment"])
    sys.argv = ["kassa", *wish["words"]]
    code = 1
    try:
        from kassa.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def die_with_parent() -> None:
    """Whoever was forked ends with this process, also when it is killed itself. Only Linux can do that; elsewhere it outlives it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    serve()
