"""What a scenario plays on: towns and proxies that end with it, runs that are counted, and the judgement at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests import rig, services

from . import judging
from .fault import Fault, Result
from .history import History
from .hooks import Hooks
from .lines import Lines
from .nursery import Nursery
from .playing import WITHIN_S, Town
from .proxy import Proxy
from .rooms import close_rooms, make_rooms
from .stories import VISA, Buyer

SHOWN = 20
"""So many violations are told in full."""
_PASSED = re.compile(r"(\d+) passed")


class Skipped(Exception):
    """A scenario cannot be played on this machine."""


@dataclass
class Run:
    """One playing of the fault: its number, chance of its own, and what became of it."""

    number: int
    chance: random.Random
    wrong: list[str] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)

    def check(self, holds: object, text: str) -> None:
        """Note a violation unless `holds`."""
        if not holds:
            self.wrong.append(text)

    def recovered(self, seconds: float) -> None:
        """Note how long it took until all was well again."""
        self.recovered_s.append(seconds)


class Field:
    """Everything that one scenario may use. `runs` is how often it is to play; `seed` makes all chance repeatable."""

    def __init__(self, fault: Fault, runs: int, seed: int, nursery: Nursery, database: rig.DatabaseServer) -> None:
        self.fault, self.runs, self.seed = fault, runs, seed
        self.result = Result(fault.number, seed=seed)
        self.chance = random.Random(f"{seed}:{fault.number}")
        self.home = Path(tempfile.mkdtemp(prefix="kassa-"))
        self.home.chmod(0o755)
        self.nursery, self.database = nursery, database
        self.timed = True
        self.buyers = 0
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self._turn = threading.Lock()
        self._towns = 0

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────

    def town(self, *neighbours: str, dsn: str | None = None, **settings: Any) -> Town:
        """A database with the demo shop, and a sandbox for these neighbours; `settings` count for every Kassa born there."""
        self._towns += 1
        town = Town(self.nursery, self.home / f"t{self._towns}", dsn or self.database.fresh(), neighbours)
        town.settings |= {name: str(value) for name, value in settings.items()}
        self._stack.callback(town.close)
        town.open()
        return town

    def proxy(self, url: str, *, seed: int | None = None) -> Proxy:
        """A proxy before what listens at `url`; `proxy.url` is that address seen through it."""
        return self._stack.enter_context(Proxy(url, seed=self.seed if seed is None else seed))

    def redis(self) -> services.OwnRedis:
        """A Redis of its own, running."""
        made = services.make_redis()
        self._stack.callback(made.close)
        made.start()
        return made

    def rabbit(self) -> services.OwnRabbit:
        """A RabbitMQ node of its own, running (5 to 10 s)."""
        made = services.make_rabbitmq()
        self._stack.callback(made.close)
        made.start()
        return made

    def rooms(self, url: str | None = None) -> dict[str, str]:
        """Settings for an exchange and a queue that nobody else uses, at the shared broker or at `url`."""
        made = make_rooms(url or services.shared(services.RABBITMQ))
        self._stack.callback(close_rooms, made)
        return made

    def hooks(self) -> Hooks:
        """Servers of merchants that keep a book of what they heard."""
        made = Hooks()
        self._stack.callback(made.close)
        made.open()
        return made

    def keep(self, manager: Any) -> Any:
        """Enter a context manager that ends with the scenario."""
        return self._stack.enter_context(manager)

    def at_end(self, act: Callable[..., Any], *args: Any) -> None:
        """Do this when the scenario is over."""
        self._stack.callback(act, *args)

    def buyer(self, hooks: str = "") -> Buyer:
        """A buyer who was never here before."""
        with self._turn:
            self.buyers += 1
            return Buyer(self.buyers, hooks)

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def each(self, play: Callable[[Run], None], *, at_once: int = 1, runs: int | None = None) -> None:
        """Play so many runs (as many as the field wants), `at_once` side by side. What a run raises is its violation."""
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda run: self._play(play, run), self._made(runs)))

    def each_of_a_crowd(
        self, play: Callable[[Run, Lines], Awaitable[None]], history: History, *, at_once: int, runs: int | None = None
    ) -> None:
        """The same for runs that are played on one event loop: for races of many callers."""

        async def all_of_them() -> None:
            turns = asyncio.Semaphore(at_once)
            async with Lines(history) as lines:

                async def one(run: Run) -> None:
                    async with turns:
                        try:
                            await play(run, lines)
                        except Exception as error:  # as above
                            _blame(run, error)
                    self._count(run)

                await asyncio.gather(*(one(run) for run in self._made(runs)))

        asyncio.run(all_of_them())

    def _made(self, runs: int | None) -> list[Run]:
        first, wanted = self.result.runs, self.runs if runs is None else runs
        return [Run(number, random.Random(f"{self.seed}:{self.fault.number}:{number}")) for number in range(first, first + wanted)]

    def _play(self, play: Callable[[Run], None], run: Run) -> None:
        try:
            play(run)
        except Exception as error:  # whatever went wrong in a run is a violation of it
            _blame(run, error)
        self._count(run)

    def _count(self, run: Run) -> None:
        with self._turn:
            self.result.runs += 1
            self.result.wrong += [f"run {run.number}: {each}" for each in run.wrong]
            self.result.recovered_s += run.recovered_s

    def check(self, holds: object, text: str) -> None:
        """Note a violation of the whole scenario unless `holds`."""
        if not holds:
            self.result.wrong.append(text)

    def measure(self, name: str, value: object) -> None:
        """Note a figure for the table."""
        self.result.measured[name] = str(value)

    def skip(self, because: str) -> NoReturn:
        """End the scenario: this machine does not give what it needs. The page says so."""
        raise Skipped(because)

    def tests(self, *what: str, times: int = 1, timeout_s: float = 900) -> None:
        """Play tests that hold this fault already, so many times: each test that passes is a run, each that fails a violation."""
        for _ in range(times):
            self._tests(what, timeout_s)

    def _tests(self, what: Sequence[str], timeout_s: float) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *what]
        done = subprocess.run(command, cwd=rig.ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
        passed = _PASSED.search(done.stdout)
        self.result.runs += int(passed[1]) if passed else 0
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        self.result.wrong += failed
        self.check(
            failed or (done.returncode == 0 and passed), f"{' '.join(what)}: exit code {done.returncode}\n{done.stdout[-2000:]}"
        )

    # ── judgement ────────────────────────────────────────────────────────────────────────────────────────────────────

    def rest(self, server: rig.Server, within_s: float = 3 * WITHIN_S) -> float:
        """Wait until nothing moves any more; the seconds that it took. A violation when it takes too long."""
        began = time.monotonic()
        while not judging.is_at_rest(server):
            if time.monotonic() - began > within_s:
                self.check(False, f"still moving after {within_s:.0f} s: {server.sql(judging.MOVING)}")
                break
            time.sleep(0.05)
        return time.monotonic() - began

    def judge(self, town: Town, server: rig.Server, history: History | None = None, *, within_s: float = 3 * WITHIN_S) -> None:
        """Wait for rest, then hold tables, neighbours' books, logs and what callers were told against every invariant."""
        self.rest(server, within_s)
        books = judging.Books(town.sandbox)
        wrong = [*books.faults, *judging.levels(server), *judging.collected(server, books)]
        for rows in judging.checkouts_of(server).values():
            wrong += [f"{row['checkout_id']}: {each}" for row in rows for each in books.judge(row)]
        wrong += judging.breaches(town.dsn, town.sandbox)
        if history is not None:
            wrong += history.judge(server)
        logs = "\n".join(each.log_text() for each in town.started)
        if VISA in logs:
            wrong.append("a card number stands in a log")
        if "Traceback" in logs:
            wrong.append(f"a traceback in a log:\n{logs[logs.rindex('Traceback') :][:3000]}")
        self.result.wrong += list(dict.fromkeys(wrong))

    def close(self) -> Result:
        """End everything that was opened. Says whether recoveries kept their time."""
        self._stack.close()
        late, most = self.result.percentile(0.95), self.fault.p95_s if self.timed else None
        if most is not None and late is not None and late > most:
            self.result.wrong.append(f"recovery p95 is {late:.1f} s, at most {most:g} s is allowed")
        if self.result.runs < 1 and not self.result.skipped:
            self.result.wrong.append("it was never played")
        return self.result


def _blame(run: Run, error: Exception) -> None:
    place = traceback.extract_tb(error.__traceback__)[-1]
    run.wrong.append(f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")


def play(fault: Fault, runs: int, seed: int, nursery: Nursery, database: rig.DatabaseServer, *, timed: bool = True) -> Result:
    """Play one fault. Never raises: what goes wrong is in the result. Not `timed`: how long recoveries take is not judged."""
    began = time.monotonic()
    field = Field(fault, runs, seed, nursery, database)
    field.timed = timed
    try:
        fault.play(field)
    except Skipped as error:
        field.result.skipped = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        field.result.wrong.append(f"the scenario broke off: {''.join(traceback.format_exception(error, limit=-4))[-3000:]}")
    finally:
        result = field.close()
    result.took_s = time.monotonic() - began
    return result
