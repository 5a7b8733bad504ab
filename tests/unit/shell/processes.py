"""Running `kassa` to its end, and finding the processes that it should not leave behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from tests import rig


def run(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `kassa <words>` to its end, with these settings and no others."""
    command = [sys.executable, "-m", "kassa", *words]
    environment = rig.clean_environment(**{"KASSA_HOME": str(home), "HTTP_PORT": str(rig.free_port()), **settings})
    return subprocess.run(
        command,
        env=environment,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command declined to begin."""
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("kassa: ")
    return lines[0].removeprefix("kassa: ")


def servers(home: Path) -> list[psutil.Process]:
    """The embedded server's processes on this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(home / "postgres"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def shells(home: Path) -> list[psutil.Process]:
    """The small shells between an owner and its server."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "kassa-postgres" in words and str(home / "postgres") in words:
            found.append(process)
    return found


def until_gone(home: Path) -> None:
    """Wait until no server runs on this home; fails after 10 s."""
    deadline = time.monotonic() + 10
    while servers(home):
        assert time.monotonic() < deadline, "a server was left behind"
        time.sleep(0.02)
