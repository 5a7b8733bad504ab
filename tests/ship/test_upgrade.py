"""A release comes and goes under buyers, by the steps of docs/upgrade.md: the schema first, then process after process, then back again.

The new release is a copy of this code with one more revision. Processes stand behind a balancer that asks `/ready`, as in a cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests import rig
from tests.crash import judging
from tests.crash.asking import Ask, speak
from tests.crash.balancer import Balancer, http_says_yes
from tests.crash.crowd import PLENTY, Crowd
from tests.crash.nursery import Born, Nursery
from tests.crash.playing import Town
from tests.crash.till import SECRET, wait_until

from kassa import migrate

DRAIN_S = 1.0
PLACES = ("serve1", "serve2", "work1")
_REVISION = '''"""One more: a column, an index beside buyers, a check of what is written from now on."""

from alembic import op

revision = "9000"
down_revision = "{head}"


def upgrade():
    op.execute("ALTER TABLE orders ADD COLUMN gift text")
    op.execute("ALTER TABLE orders ADD CONSTRAINT gift_is_short CHECK (length(gift) <= 100) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_with_gift ON orders (merchant_id, order_id) WHERE gift IS NOT NULL")
'''


class Released(Born):
    """A process of another release: really started, from its own folder of code."""

    def launch(self) -> None:
        """Start the program, without waiting."""
        assert self.process is None, "it is running already"
        self._said = self._working()
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip


@dataclass
class Installation:
    """Two processes that serve behind a balancer, and one that works."""

    town: Town
    front: Balancer
    newer: Path
    running: dict[str, Born] = field(default_factory=dict)

    def put(self, place: str, *, newer: bool) -> None:
        """Start a process of one release at this place; when it is ready, tell the one that was there to stop."""
        word = place.rstrip("0123456789")
        made = self.town.made(word, self.town.home / f"{place}-{time.monotonic_ns()}")
        if newer:
            made = self._released(made, word)
        made.start()
        assert made.alive(), made.log_text()[-2000:]
        old = self.running.get(place)
        self.running[place] = made
        if word == "serve":
            self.front.add(_port(made))
            wait_until(lambda: self.front.is_ready(_port(made)), None, "the balancer sends it buyers", 20)
        if old is not None:
            assert old.stop(40) == 0, old.log_text()[-2000:]
            self.front.remove(_port(old))

    def roll(self, *, newer: bool) -> None:
        """Replace all processes, each when its new one is ready."""
        with ThreadPoolExecutor(len(PLACES)) as pool:
            list(pool.map(lambda place: self.put(place, newer=newer), PLACES))

    def _released(self, made: Born, word: str) -> Released:
        fields = {each.name: getattr(made, each.name) for each in dataclasses.fields(made) if each.init}
        environment = {**made.environment, "PYTHONPATH": f"{self.newer}:{made.environment['PYTHONPATH']}"}
        released = Released(**{**fields, "command": [*made.command[:-1], word], "environment": environment})
        self.town.started[self.town.started.index(made)] = released
        return released


def _port(born: Born) -> int:
    return int(born.url.rpartition(":")[2])


def release(folder: Path) -> Path:
    """A copy of the code with one more revision; where it is."""
    shutil.copytree(rig.ROOT / "src" / "kassa", folder / "kassa")
    text = _REVISION.format(head=migrate.revisions()[1])
    (folder / "kassa" / "migrations" / "versions" / "9000_gifts.py").write_text(text)
    return folder


@pytest.fixture
def installation(database_server: rig.DatabaseServer) -> Iterator[Installation]:
    home = Path(tempfile.mkdtemp(prefix="kassa-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        nursery = Nursery()
        stack.callback(nursery.close)
        town = Town(nursery, home, database_server.fresh(), ("payment",))
        stack.callback(town.close)
        town.settings |= {"KASSA_SECRET": SECRET, "DRAIN_S": DRAIN_S, "DATABASE_POOL_SIZE": 3}
        town.open()
        yield Installation(town, stack.enter_context(Balancer(http_says_yes)), release(home / "newer"))


def test_a_release_comes_and_goes_and_no_request_fails(installation: Installation) -> None:
    town = installation.town
    installation.roll(newer=False)
    first = installation.running["serve1"]
    front = dataclasses.replace(first, url=f"http://127.0.0.1:{installation.front.port}", process=None)
    with Crowd([front], size=3, basket=PLENTY, pause_s=0.1) as crowd:

        def sold() -> None:
            before = crowd.bought
            wait_until(lambda: crowd.bought > before + 2, None, "buyers buy", 30)

        sold()
        migrates(installation)
        assert town.ask("SELECT version_num FROM alembic_version") == [{"version_num": "9000"}]
        sold()  # the release before, on the newer schema
        installation.roll(newer=True)
        sold()
        installation.roll(newer=False)  # taken back: it starts on the newer schema, as a machine does that dies in the middle
        sold()
        crowd.go_home()
    broken = {status: times for status, times in crowd.heard.items() if status == 0 or status >= 500}
    assert not broken, f"requests that failed, by status: {broken} of {crowd.heard}"
    assert not crowd.trouble
    wait_until(lambda: judging.is_at_rest(installation.running["serve1"]), None, "nothing moves any more", 30)
    assert not judging.breaches(town.dsn, town.sandbox)
    assert not crowd.history.judge(installation.running["serve1"])


def test_a_release_that_takes_away_what_we_need_is_not_served(installation: Installation) -> None:
    """The newer schema says from which code on it may be worked on; ours is older, so it says so and stops."""
    town = installation.town
    installation.put("serve1", newer=False)
    code = installation.newer / "kassa" / "migrate.py"
    code.write_text(code.read_text().replace(f'OLDEST_CODE = "{migrate.OLDEST_CODE}"', 'OLDEST_CODE = "9000"'))
    migrates(installation)
    served = speak(installation.running["serve1"], Ask("GET", "/ready"))
    assert served.status == 200, "what runs is left alone"
    refused = town.made("serve", town.home / "refused")
    refused.start()
    assert refused.wait(20) == 2
    assert "the schema is at 9000, which this Kassa does not know" in refused.log_text()


def migrates(installation: Installation) -> None:
    """`kassa migrate` of the new release, beside whoever buys."""
    home = installation.town.home / f"migrate-{time.monotonic_ns()}"
    home.mkdir()
    environment = rig.clean_environment(DATABASE_URL=installation.town.dsn, KASSA_HOME=str(home))
    environment["PYTHONPATH"] = f"{installation.newer}:{environment['PYTHONPATH']}"
    command = [sys.executable, "-m", "kassa", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home, timeout=100)
    assert done.returncode == 0, done.stderr
