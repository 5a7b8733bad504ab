"""The commands of containers and units, run as plain processes: as a cluster or an init system would start, ask and end them.

They are forked from one process that has loaded the code (`crash/nursery.py`), because loading it is most of what a start costs.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main
from tests import rig
from tests.crash.nursery import Nursery, bear

from kassa.cli.app import app

START_S = 60


@dataclass
class Program:
    """`kassa` with these words and this environment, in a folder of its own."""

    nursery: Nursery
    words: list[str]
    environment: dict[str, str]
    folder: Path
    process: Any = None

    def start(self) -> None:
        """Start it, without waiting."""
        self.process = bear(self.nursery, self.folder, self.folder / "log", rig.clean_environment(**self.environment), self.words)

    def wait_until(self, says_yes: Callable[[], bool]) -> None:
        """Ask until the answer is yes; fails with its log when it ends before, or takes too long."""
        until = time.monotonic() + START_S
        while not says_yes():
            assert self.process.poll() is None, f"{self.words} ended with {self.process.returncode}:\n{self.log()}"
            assert time.monotonic() < until, f"{self.words} is not ready:\n{self.log()}"
            time.sleep(0.05)

    def ask_to_end(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def code(self, within_s: float) -> int:
        """The exit code; fails with its log when it has not ended within that time."""
        try:
            return int(self.process.wait(within_s))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.words} has not ended within {within_s} s:\n{self.log()}") from None

    def log(self) -> str:
        """The end of what it printed."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]


@contextlib.contextmanager
def opened() -> Iterator[Nursery]:
    """Where programs are born, as long as the block lasts; whoever still runs at its end is killed."""
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


def understood(words: list[str]) -> str:
    """The command that `kassa` takes these words for. Raises a usage error for words that it does not know."""
    group = typer.main.get_group(app)
    root = typer.Context(group, info_name="kassa")
    name, command, rest = group.resolve_command(root, list(words))
    assert command is not None
    command.make_context(name, rest, parent=root)
    return str(name)
