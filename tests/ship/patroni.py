"""Two database hosts as deploy/patroni describes them, on loopback ports of this machine: its own config.yml, and values by environment.

One etcd is enough here: who may be primary when a part of etcd is away is etcd's promise, and not what is tried. What is tried needs
one that answers. As root everything runs under an unprivileged account, as PostgreSQL wants it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests import rig, services
from tests.crash import clusters, judging
from tests.crash.crowd import Crowd
from tests.crash.history import BUYS, History, Op
from tests.crash.nursery import Nursery
from tests.crash.playing import Town

from kassa import migrate

log = logging.getLogger("tests.ship")
"""What was measured: `--log-cli-level=info` shows it."""
TTL_S, LOOP_S = 20, 5
"""As in deploy/patroni/config.yml."""
FAILOVER_S = TTL_S + LOOP_S + 5
REST_S = 40
ANSWERS = {0, 200, 201, 202, 409, 503}
"""What a buyer may hear, 0 for nothing; 409 is `still running`."""
NOT_KNOWN_OR_NOT_DONE = (b"broke while committing", b"payment_not_executed")
"""And these two: whether it was done is asked with the same key; nothing was charged, and the order is cancelled."""
DEPLOY = rig.ROOT / "deploy" / "patroni"
START_S = 60
PACKAGES = ["patroni", "python3-etcd", "etcd-server"]
NAMES = ("db1", "db2")


def programs() -> None:
    """Skip the test, with one line, where Patroni or etcd is not installed and may not be."""
    wanted = ("patroni", "patronictl", "etcd")
    if not all(map(shutil.which, wanted)):
        _install()
    for name in wanted:
        if shutil.which(name) is None:
            pytest.skip(
                f"`{name}` is not installed: install Debian's {' '.join(PACKAGES)}, or set KASSA_TEST_INSTALL=1 to have it done"
            )


def _install() -> None:
    if os.environ.get("KASSA_TEST_INSTALL") != "1" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=600, check=False
        )


@dataclass
class Process:
    """One program in a folder of its own; it may be killed together with all that it began."""

    home: Path
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting."""
        assert self.process is None, "it is running already"
        with (self.home / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **_account(),
            )  # fmt: skip

    def kill(self) -> None:
        """`kill -9` of everything in its folder, as a power cut would. Safe to call twice."""
        services.end_processes_in(f"{self.home}")
        if self.process is not None:
            self.process.wait(20)
            self.process = None

    def log_text(self) -> str:
        """What it said so far."""
        return (self.home / "output.log").read_text(errors="replace")


@dataclass
class Node(Process):
    """A database host: Patroni, and the PostgreSQL that it starts."""

    name: str = ""
    port: int = field(default_factory=rig.free_port)
    api: int = field(default_factory=rig.free_port)

    def says(self, path: str = "patroni") -> dict[str, Any]:
        """What its Patroni says of itself; nothing where it does not answer."""
        with contextlib.suppress(httpx2.HTTPError, ValueError):
            found: dict[str, Any] = httpx2.get(f"http://127.0.0.1:{self.api}/{path}", trust_env=False, timeout=3).json()
            return found
        return {}

    def is_primary(self) -> bool:
        """Whether it is the one that takes writes."""
        said = self.says()
        return said.get("role") in {"master", "primary"} and said.get("state") == "running"


class Pair:
    """etcd and two database hosts. Use `pair()`."""

    def __init__(self) -> None:
        base = services.run_folder()
        base.chmod(base.stat().st_mode | 0o755)
        (base / "services").mkdir(exist_ok=True)
        clusters._let_pass()
        self.home = base / "services" / f"patroni-{os.getpid()}-{secrets.token_hex(3)}"
        self.passwords = {name: secrets.token_hex(24) for name in ("SUPERUSER", "REPLICATION", "REWIND", "RESTAPI", "KASSA")}
        self.etcd = self._etcd(rig.free_port(), rig.free_port())
        self.nodes = [self._node(name) for name in NAMES]

    @property
    def dsn(self) -> str:
        """`DATABASE_URL`: both addresses, and Kassa's own role."""
        places = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://kassa:{self.passwords['KASSA']}@{places}/kassa"

    def dsn_of(self, node: Node) -> str:
        """The same database, at one host alone."""
        return f"postgresql://kassa:{self.passwords['KASSA']}@127.0.0.1:{node.port}/kassa"

    def open(self) -> None:
        """Start all; the first host makes the cluster, the second one copies it. Kassa's database is there at the end, and empty."""
        self.etcd.start()
        first, second = self.nodes
        first.start()
        self.wait(first.is_primary, "the first host makes no cluster")
        second.start()
        self._make_database(first)
        self.wait_for_pair()

    def wait_for_pair(self, within_s: float = START_S) -> float:
        """Wait until there is a primary, and a standby that has all that was acknowledged; the seconds that it took."""
        return self.wait(lambda: self.standby() is not None, "there is no synchronous standby", within_s)

    def primary(self) -> Node:
        """The host that takes writes now."""
        (found,) = [node for node in self.nodes if node.is_primary()]
        return found

    def standby(self) -> Node | None:
        """The host whose copy every commit waits for, if there is one now."""
        for node in self.nodes:
            for member in node.says("cluster").get("members", []):
                if member["role"] == "sync_standby" and member["state"] in {"running", "streaming"}:
                    return next(each for each in self.nodes if each.name == member["name"])
        return None

    def wait(self, holds: Any, what: str, within_s: float = START_S) -> float:
        """Wait until something is true; the seconds that it took. Fails with the ends of the logs."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                logs = "\n".join(each.log_text()[-3000:] for each in (self.etcd, *self.nodes) if each.process)
                raise AssertionError(f"{what}, after {within_s} s:\n{logs}")
            time.sleep(0.1)
        return time.monotonic() - began

    def ctl(self, *words: str) -> str:
        """Run `patronictl` as an operator would, to its end; what it printed. Fails when it does."""
        command = ["patronictl", "-c", str(DEPLOY / "config.yml"), *words]
        done = subprocess.run(command, env=self.nodes[0].environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """Kill everything and remove the folder. Safe to call twice."""
        for each in (*self.nodes, self.etcd):
            each.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _make_database(self, first: Node) -> None:
        where = f"host=127.0.0.1 port={first.port} user=postgres dbname=postgres target_session_attrs=read-write"
        known = {"KASSA_DATABASE_PASSWORD": self.passwords["KASSA"], "PGPASSWORD": self.passwords["SUPERUSER"]}
        subprocess.run(
            [str(clusters.programs() / "psql"), where, "-q", "-f", str(DEPLOY / "create-kassa.sql")],
            env={"PATH": os.defpath, **known}, check=True, timeout=60,
        )  # fmt: skip

    def _etcd(self, clients: int, peers: int) -> Process:
        home = _folder(self.home / "etcd")
        mine, theirs = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
        values = {
            **_example(DEPLOY / "etcd.example"),
            "ETCD_NAME": NAMES[0],
            "ETCD_DATA_DIR": str(home / "data"),
            "ETCD_LISTEN_CLIENT_URLS": mine,
            "ETCD_ADVERTISE_CLIENT_URLS": mine,
            "ETCD_LISTEN_PEER_URLS": theirs,
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": theirs,
            "ETCD_INITIAL_CLUSTER": f"{NAMES[0]}={theirs}",
        }
        self._hosts = f"127.0.0.1:{clients}"
        return Process(home, [str(shutil.which("etcd"))], {"PATH": os.defpath, **values})

    def _node(self, name: str) -> Node:
        home = _folder(self.home / name)
        node = Node(home, [str(shutil.which("patroni")), str(DEPLOY / "config.yml")], {}, name=name)
        place, api = f"127.0.0.1:{node.port}", f"127.0.0.1:{node.api}"
        values = {
            **_example(DEPLOY / "patroni_env.conf.example"),
            "PATRONI_NAME": name,
            "PATRONI_RESTAPI_LISTEN": api,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": api,
            "PATRONI_POSTGRESQL_LISTEN": place,
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": place,
            "PATRONI_POSTGRESQL_DATA_DIR": str(home / "data"),
            "PATRONI_POSTGRESQL_BIN_DIR": str(clusters.programs()),
            "PATRONI_POSTGRESQL_PGPASS": str(home / "pgpass"),
            "PATRONI_ETCD_HOSTS": self._hosts,
            **{f"PATRONI_{who}_PASSWORD": self.passwords[who] for who in ("RESTAPI", "SUPERUSER", "REPLICATION", "REWIND")},
        }
        node.environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(home), **values}
        return node


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Two database hosts that are a primary and its synchronous standby."""
    made = Pair()
    try:
        made.open()
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def shop(pair: Pair) -> Iterator[Town]:
    """The demo shop in Kassa's database on both hosts, and a payment service beside it; its processes are still to be started."""
    migrate.upgrade(pair.dsn)
    home, nursery = Path(tempfile.mkdtemp(prefix="kassa-")), Nursery()
    made = Town(nursery, home, f"{pair.dsn}?target_session_attrs=read-write", ("payment",))
    made.settings |= {"DATABASE_URL": pair.dsn, "KASSA_LEASE_S": 5}
    try:
        made.open()
        yield made
    finally:
        made.close()
        nursery.close()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def nobody_buys(while_: str, crowd: Crowd, at_most_s: float) -> Iterator[None]:
    """Whatever happens in the block, people buy again soon after it. Logs for how long nobody could, and what was said meanwhile."""
    before, began = crowd.heard.copy(), time.monotonic()
    yield
    over = time.monotonic()
    while (pause_s := _longest_pause(crowd.history, began)) is None or time.monotonic() - over < LOOP_S:
        assert time.monotonic() - began < at_most_s, f"{while_}, and nobody could buy for {at_most_s} s"
        time.sleep(0.2)
    log.info("%s: nobody bought for %.1f s; answers %s", while_, pause_s, dict(crowd.heard - before))


def _longest_pause(history: History, since: float) -> float | None:
    """The longest time between two purchases since then; None while none that was begun later is over."""
    bought = [op for op in list(history.ops) if op.ended and op.ended > since - 1 and _is_bought(op)]
    if not any(op.began > since for op in bought):
        return None
    ends = [since, *sorted(op.ended for op in bought if op.ended and op.ended > since), time.monotonic()]
    return max(after - before for before, after in pairwise(ends))


def _is_bought(op: Op) -> bool:
    return (op.ask.method, op.ask.path) in BUYS and op.said is not None and op.said.status in {200, 201}


def judge(town: Town, server: rig.Server, crowd: Crowd) -> list[str]:
    """What is wrong once all is at rest: what buyers heard, and the books against what they were told."""
    log.info("bought %d, heard %s", crowd.bought, dict(crowd.heard))
    until = time.monotonic() + REST_S
    while not judging.is_at_rest(server):
        assert time.monotonic() < until, server.sql(judging.MOVING)
        time.sleep(0.1)
    odd = [op.said.raw for op in crowd.history.ops if op.said and op.said.status not in ANSWERS]
    wrong = [f"heard {each!r}" for each in odd if not any(word in each for word in NOT_KNOWN_OR_NOT_DONE)]
    wrong += [each for each in crowd.trouble if "payment_not_executed" not in each]
    books = judging.Books(town.sandbox)
    wrong += [*books.faults, *judging.levels(server), *crowd.history.judge(server)]
    for rows in judging.checkouts_of(server).values():
        wrong += [f"{row['checkout_id']}: {each}" for row in rows for each in books.judge(row)]
    return wrong + judging.breaches(town.dsn, town.sandbox)


def _example(path: Path) -> dict[str, str]:
    """The values of an example of an environment file: every name that a host sets."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    found = pwd.getpwnam(clusters._account())
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    path.chmod(0o700)
    if mine := _account():
        os.chown(path, mine["user"], mine["group"])
    return path
