"""Row 8: what an idle process with everything on takes of the memory, and how soon it answers after its start."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.report import Row
from bench.town import Town

MEMORY_MB = 200.0
FIRST_ANSWER_S = 3.0
PATIENCE_S = 60
STARTS_AT_MOST = 5
_DEVELOPMENT = ("PATH", "HOME", "LANG", "PYTHONPATH")


def idle_and_started(place: Town, pairs: int, seconds: int, say: Callable[[str], None]) -> list[Row]:
    """`kassa dev`, with its APIs, gRPC, workers, sandbox and a PostgreSQL of its own: memory when idle, and the first answer."""
    home = place.home / "idle"
    first, _ = _one(place, home, 0)
    used, started = [], []
    for turn in range(min(pairs, STARTS_AT_MOST)):
        answered_s, memory_mb = _one(place, home, max(5, seconds))
        used.append(memory_mb)
        started.append(answered_s)
        say(f"  start {turn + 1}: first answer after {answered_s:.2f} s, then {memory_mb:.0f} MB")
    checks = {"/ready and the catalogue are answered with 200 each time": True}
    idle = [f"resident, after {max(5, seconds)} s without work; PostgreSQL's processes not counted, neither broker nor Redis set"]
    soon = [f"from the start of the command, PostgreSQL's start included; on an empty folder, with its making: {first:.1f} s"]
    return [
        Row(8, "memory of idle `kassa dev`, everything on,", f"{MEMORY_MB:.0f} MB", 1, used, [MEMORY_MB] * len(used), checks, idle,
            unit="MB", at_most=True),
        Row(8, "first answer of `kassa dev`", f"{FIRST_ANSWER_S:.0f} s", 1, started, [FIRST_ANSWER_S] * len(started), checks, soon,
            unit="s", at_most=True),
    ]  # fmt: skip


def _one(place: Town, home: Path, rest_s: float) -> tuple[float, float]:
    """Seconds until the first answer, and megabytes after some rest."""
    port, rpc = place.free_port(), place.free_port()
    environment = {name: value for name, value in place.environment.items() if name in _DEVELOPMENT}
    environment |= {"KASSA_HOME": str(home), "HTTP_PORT": str(port), "GRPC_PORT": str(rpc), "LOG_LEVEL": "warning"}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "kassa", "dev"], env=environment, stdout=subprocess.DEVNULL, cwd=place.home)
    try:
        for path in ("/ready", "/api/products?limit=1"):
            _wait_for(process, f"http://127.0.0.1:{port}{path}", began)
        answered_s = time.monotonic() - began
        time.sleep(rest_s)
        return answered_s, _resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(process: subprocess.Popen[bytes], url: str, began: float) -> None:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() - began > PATIENCE_S:
            raise RuntimeError("`kassa dev` does not answer")
        time.sleep(0.01)


def _resident_mb(pid: int) -> float:
    """Of the process and all that it started, but for PostgreSQL and the shell that watches over it."""
    top = psutil.Process(pid)
    others = [each for each in top.children(recursive=True) if each.name() not in {"postgres", "sh"}]
    return float(sum(each.memory_info().rss for each in (top, *others))) / 1e6
