"""Where processes of Kassa are born quickly: one process loads the code once, then forks for each `kassa …` that is asked for.

What is born is a process like any other: its own pid, environment, log and event loop, running `kassa dev`, `serve` or
`sandbox` from their front door. Only loading the code, a second of work, is not done again for each of a hundred of them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import rig


class Nursery:
    """Asks the forking process for children."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("forker.py"))
        self._process = subprocess.Popen(
            [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=rig.clean_environment()
        )
        self._turn = threading.Lock()

    def ask(self, wish: dict[str, Any]) -> Any:
        """One question, one answer. Threads may ask at the same time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return json.loads(line)

    def close(self) -> None:
        """End it, and with it every child that still lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Child:
    """A forked process, as `subprocess.Popen` would show it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """The exit code, or None while it lives."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        end = time.monotonic() + (3600 if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a child of the nursery", timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when it is dead already."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)


@dataclass
class Born(rig.Server):
    """A Kassa that is forked instead of started anew; `word` is its command (`dev`, `serve`), `more` what is said behind it."""

    nursery: Nursery | None = None
    word: str = "dev"
    more: tuple[str, ...] = ()
    _said: int = 0

    def start(self) -> None:
        """Fork it and wait until it answers; one that dies on the way there stays dead, for its test to judge."""
        self.launch()
        deadline = time.monotonic() + rig.START_TIMEOUT_S
        while self.process.poll() is None and not self.is_ready():  # type: ignore[union-attr]
            assert time.monotonic() < deadline, self.log_text()[-4000:]
            time.sleep(0.01)

    def launch(self) -> None:
        """Fork it, without waiting."""
        assert self.process is None, "it is running already"
        self._said = self._working()
        self.process = bear(self.nursery, self.home, self.log_file, self.environment, [self.word, *self.more])

    def is_ready(self) -> bool:
        """Whether it does its work: an API says so, gRPC listens, and workers write a line (with LOG_LEVEL=info)."""
        if self.word == "work":
            return self._working() > self._said
        if self.word == "rpc":
            host, _, port = self.grpc.rpartition(":")
            with socket.socket() as line:
                line.settimeout(1)
                return line.connect_ex((host, int(port))) == 0
        return rig.answers(self.ready)

    def _working(self) -> int:
        return self.log_text().count("working") if self.word == "work" else 0


@dataclass
class BornSandbox(rig.Sandbox):
    """A sandbox that is forked instead of started anew."""

    nursery: Nursery | None = None

    def start(self) -> None:
        """Fork it and wait until it answers."""
        words = self.command[self.command.index("sandbox") :]
        self.process = bear(self.nursery, self.home, self.log_file, self.environment, words)
        while not rig.answers(self.ready):
            assert self.process.poll() is None, self.log_text()[-4000:]
            time.sleep(0.01)


def bear(nursery: Nursery | None, home: Path, log: Path, environment: dict[str, str], words: list[str]) -> Any:
    """A new child that runs `kassa` with these words."""
    assert nursery is not None
    home.mkdir(parents=True, exist_ok=True)
    pid = nursery.ask({"words": words, "environment": environment, "home": str(home), "log": str(log)})
    return Child(nursery, pid)
