"""Play a chapter: every story once for each of its points, then one process that takes up everything, then the judgement.

The processes that die are `kassa serve`, which has no workers: so each dies of its own story, and not of a former one that it would
have taken up. (Where only a worker reaches the point, it is `kassa dev`.) What they leave is taken up by one `kassa dev`.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import rig

from kassa import demo, merchants
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.secrets import Keys
from kassa.merchants.model import SCOPES

from . import aside, heard, judging
from .asking import Broken, Caller
from .hooks import Hooks
from .nursery import Born, BornSandbox, Nursery, bear
from .stories import Buyer, Story, merchant_of

LEASE_S = 2
WITHIN_S = LEASE_S + 5
"""The promise: so long after the start of the next process everything has come to its end."""
WEBHOOK_SECRET = "a-secret-between-the-link-provider-and-us"
NOTICES_WITHIN_S = 15
PATIENCE_S = 15


@dataclass
class Town:
    """One database, one folder, and a sandbox beside it where the chapter has neighbours."""

    nursery: Nursery
    home: Path
    dsn: str
    neighbours: tuple[str, ...] = ()
    sandbox: BornSandbox | None = None
    started: list[rig.Running] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """What every Kassa of this town is told beside."""
    port: int = 0
    """Where every Kassa of this town listens, one after the other; 0 for a new port each time."""
    hooks: Hooks | None = None
    """The servers of merchants, where this town has them."""

    @property
    def through_broker(self) -> bool:
        """Whether merchants are told through a broker."""
        return "RABBITMQ_URL" in self.settings

    def open(self) -> None:
        """Load the demo shop and start the sandbox."""

        async def load() -> None:
            db = await Database.connect(self.dsn, size=2)
            try:
                await demo.load(Context(db, Keys(b"x" * 32)))
            finally:
                await db.close()

        rig.run_alone(load)
        if self.neighbours:
            made = rig.make_sandbox(self.home / "sandbox")
            if "link" in self.neighbours:
                self.port = rig.free_port()
                made.command += ["--webhook-url", f"http://127.0.0.1:{self.port}/api/v1/payments/webhook"]
                made.environment["PROVIDER_WEBHOOK_SECRET"] = WEBHOOK_SECRET
            self.sandbox = BornSandbox(**_fields(made), nursery=self.nursery)
            self.started.append(self.sandbox)
            self.sandbox.start()

    def listen(self, accounts: int) -> Hooks:
        """Open the servers of merchants, and so many accounts for them."""
        self.hooks = Hooks()
        self.hooks.open()

        async def register() -> None:
            db = await Database.connect(self.dsn, size=2)
            try:
                async with db.transaction("accounts") as tx:
                    for merchant_id, secret in map(merchant_of, range(accounts)):
                        await merchants.add_merchant(tx, merchant_id, "A Merchant", None, "USD")
                        await merchants.subscribe(tx, merchant_id, "1")
                        await merchants.issue_key(tx, merchant_id, "all", SCOPES, secret=secret)
            finally:
                await db.close()

        rig.run_alone(register)
        return self.hooks

    def born(self, word: str, crash_at: str = "") -> Born:
        """A new process on this database, armed or not, that is ready."""
        server = self.made(word, self.home, crash_at)
        server.start()
        return server

    def made(self, word: str, home: Path, crash_at: str = "", **others: Any) -> Born:
        """The same, not started yet, with a folder of its own and settings that count for it alone."""
        level = "info" if word == "work" else "warning"  # a worker says in its log that it works
        settings: dict[str, Any] = {"KASSA_LEASE_S": LEASE_S, "DATABASE_POOL_SIZE": 4, "LOG_LEVEL": level, **self.settings}
        if self.sandbox:
            settings |= self.sandbox.settings(*self.neighbours)
        settings |= others
        if crash_at:
            settings["KASSA_CRASH_AT"] = crash_at
        if self.port:
            settings = {"HTTP_PORT": self.port, **settings, "PROVIDER_WEBHOOK_SECRET": WEBHOOK_SECRET}
        server = Born(**_fields(rig.make_server(home, self.dsn, settings)), nursery=self.nursery, word=word)
        self.started.append(server)
        return server

    def runs(self, *words: str, crash_at: str = "") -> int:
        """Run one command of an operator, armed or not, to its end; its exit code."""
        made = rig.make_server(self.home / "operator", self.dsn, {"DATABASE_POOL_SIZE": 4, **self.settings})
        environment = {**made.environment, **({"KASSA_CRASH_AT": crash_at} if crash_at else {})}
        return bear(self.nursery, made.home, made.log_file, environment, list(words)).wait(30)  # type: ignore[no-any-return]

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """All rows of one statement."""
        return rig.query(self.dsn, sql)

    def close(self) -> None:
        """End whatever still runs."""
        while self.started:
            self.started.pop().kill()
        if self.hooks:
            self.hooks.close()


def _fields(made: rig.Running) -> dict[str, Any]:
    return {each.name: getattr(made, each.name) for each in dataclasses.fields(made) if each.init}


@dataclass
class Played:
    """One playing of one story: who, at which point the process died, and how far the story came."""

    story: Story
    point: str
    buyer: Buyer
    caller: Caller

    @property
    def name(self) -> str:
        return f"{self.story.name} | {self.point}"


@dataclass
class Chapter:
    """Stories in one town. `again`: points at which the process that takes everything up dies too, before the last one."""

    town: Town
    shift_s: float = 0
    again: Sequence[str] = ()
    within_s: float = WITHIN_S
    played: list[Played] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    """Merchants whose deliveries wait for the last life."""
    took_s: float = 0

    def play(self, stories: Sequence[Story]) -> None:
        """The first lives: every story dies at each of its points."""
        for story in stories:
            for point in story.points:
                self._die(story, point)
        if self.shift_s:
            rig.query(self.town.dsn, "SELECT kassa_move_clock(make_interval(secs => $1))", self.shift_s)
        aside.give_back(self.town.dsn, self.aside, self.town.through_broker)
        for point in self.again:
            self._take_up_and_die(point)
        self._take_up()

    def _die(self, story: Story, point: str) -> None:
        hooks = self.town.hooks
        buyer = Buyer(len(self.played), hooks.url if hooks else "")
        played = Played(story, point, buyer, Caller(story.tell(buyer)))
        self.played.append(played)
        if self.town.sandbox:
            self.town.sandbox.desk("DELETE", "/scripts")
            if story.plan:
                story.plan(self.town.sandbox)
        server = self.town.born(story.word, point)
        try:
            played.caller.live(server, PATIENCE_S)
        except (Broken, TimeoutError):
            pass
        except AssertionError as error:
            self.wrong.append(f"{played.name}: {error}")
        self._is_dead(server, played.name)
        if hooks and story.word == "dev":
            aside.put(self.town.dsn, buyer.merchant, self.town.through_broker)
            self.aside.append(buyer.merchant)

    def _is_dead(self, server: Born, name: str) -> None:
        try:
            code = server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            code = None
        if code != -signal.SIGKILL:
            self.wrong.append(f"{name}: the point was not reached (exit code {code})\n{server.log_text()[-1500:]}")

    def _take_up_and_die(self, point: str) -> None:
        if self.town.sandbox:
            self.town.sandbox.desk("DELETE", "/scripts")
        server = self.town.born("dev", point)
        try:
            server.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            self.wrong.append(f"taking up | {point}: the point was not reached")

    def _take_up(self) -> None:
        """The last life: callers ask again, workers take up the rest, and within the promised time all is quiet."""
        if self.town.sandbox:
            self.town.sandbox.desk("DELETE", "/scripts")
        server = self.town.born("dev")
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda played: self._tell_on(server, played), self.played))
        while not judging.is_at_rest(server):
            if time.monotonic() - began > 3 * WITHIN_S:
                break
            time.sleep(0.05)
        self.took_s = time.monotonic() - began
        if self.took_s > self.within_s:
            self.wrong.append(f"it took {self.took_s:.1f} s, promised are {self.within_s} s")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda played: self._ask_again(server, played), self.played))
        if "notification" in self.town.neighbours:
            self._wait_for_notices(server)
        self._judge(server)
        server.kill()

    def _wait_for_notices(self, server: Born) -> None:
        """Notices have a lease of their own, of ten seconds: no purchase waits for them."""
        until = time.monotonic() + NOTICES_WITHIN_S
        while server.sql("SELECT 1 FROM notices WHERE status <> 'sent'"):
            if time.monotonic() > until:
                self.wrong.append("a notice was not sent")
                return
            time.sleep(0.1)

    def _tell_on(self, server: Born, played: Played) -> None:
        try:
            played.caller.live(server, 3 * WITHIN_S)
        except (Broken, TimeoutError, AssertionError) as error:
            self.wrong.append(f"{played.name}: asked again: {error!r}")

    def _ask_again(self, server: Born, played: Played) -> None:
        try:
            wrong = played.caller.check_replays(server, time.monotonic() + 5)
        except (Broken, TimeoutError, AssertionError) as error:
            wrong = [f"asked once more: {error!r}"]
        self.wrong += [f"{played.name}: {each}" for each in wrong]

    def _judge(self, server: Born) -> None:
        books, found = judging.Books(self.town.sandbox), judging.checkouts_of(server)
        self.wrong += [*books.faults, *judging.levels(server), *judging.collected(server, books)]
        for played in self.played:
            if played.story.after:
                self.wrong += [f"{played.name}: {each}" for each in played.story.after(server, played.buyer)]
            mine = found.get(played.buyer.key("checkout"), []) or found.get(str(played.buyer.user), [])
            if len(mine) != int(played.story.buys):
                self.wrong.append(f"{played.name}: {len(mine)} checkouts")
            for row in mine:
                if row["status"] not in played.story.ends:
                    self.wrong.append(f"{played.name}: ended {row['status']}")
                self.wrong += [f"{played.name}: {each}" for each in books.judge(row)]
        if self.town.hooks:
            self.wrong += [*heard.judge(server, self.town.hooks), *heard.letters(server, self.town.hooks)]
        self.wrong += judging.breaches(self.town.dsn, self.town.sandbox)
        trouble = [line for line in server.log_text().splitlines() if "Traceback" in line]
        if trouble:
            self.wrong.append(f"{len(trouble)} tracebacks in the log; the last:\n{server.log_text()[-3000:]}")
