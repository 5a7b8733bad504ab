"""One shop on ten hosts, in production, as an operator would put it up: its processes share addresses and secrets, and nothing else.

    client ── api1, api2, grpc ── db, redis
              work1, work2 ────── neighbours (payment, inventory and order services, a link provider), merchant

Every process is started from its front door (`kassa serve`, `rpc`, `work`) with a folder of its own. The client's host is also the
load balancer before the APIs: it says in `X-Forwarded-For` whom it speaks for. Where libfaketime is installed the clock of `work2` is
an hour ahead of everybody's.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import rig, services
from tests.crash import clusters, hooks
from tests.crash.asking import Ask, Said
from tests.crash.crowd import PLENTY, Crowd
from tests.crash.nursery import Born
from tests.ship.hosts import Host, Network

from kassa import demo
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.secrets import Keys

NEIGHBOURS = ("payment", "inventory", "order", "link")
HITS_A_MINUTE = 600
AHEAD_S = 3600
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def wrong_clock() -> dict[str, str] | None:
    """The environment in which a process takes it to be an hour later than it is; None where libfaketime is not installed."""
    found = next((path for root in _LIBRARIES if (path := Path(root, "faketime", "libfaketime.so.1")).exists()), None)
    return {"LD_PRELOAD": str(found), "FAKETIME": f"+{AHEAD_S}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if found else None


class FarCluster(clusters.Cluster):
    """PostgreSQL on a host of its own; whoever is on the network is trusted there."""

    def __init__(self, host: Host, home: Path) -> None:
        self.host = host
        super().__init__(home, {"listen_addresses": host.address})
        self.port = 5432

    @property
    def dsn(self) -> str:
        """As the network sees it."""
        return f"postgresql://{clusters.ACCOUNT}@{self.host.address}:{self.port}/postgres"

    def create(self) -> None:
        """Make an empty cluster that lets the network in; once."""
        super().create()
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {self.host.address}/24 trust\n")

    def _inside(self, command: list[str]) -> list[str]:
        assert self._account is not None, "hosts need root, and so there is an account for the server"
        me = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"]
        return self.host.command(["setpriv", *me, *command])

    def _as(self) -> dict[str, Any]:
        return {"start_new_session": True, "cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C"}}


@dataclasses.dataclass
class FarRedis(services.OwnRedis):
    """Redis on a host of its own."""

    host: Host = dataclasses.field(kw_only=True)

    @property
    def url(self) -> str:
        """As the network sees it."""
        return f"redis://{self.host.address}:{self.port}/0"

    def launch(self) -> None:
        """Start the process, without waiting."""
        own = ["--port", str(self.port), "--bind", self.host.address, "--protected-mode", "no", "--dir", str(self.home)]
        self.process = self._spawn(self.host.command([services.program(services.REDIS), *own, "--save", "", "--appendonly", "no"]))


class _Merchant(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever called has died meanwhile: that is what is played here."""


@dataclasses.dataclass
class FarHooks(hooks.Hooks):
    """The server of a merchant on a host of its own."""

    host: Host = dataclasses.field(kw_only=True)

    @property
    def url(self) -> str:
        """As the network sees it."""
        return f"http://{self.host.address}:9000"

    def open(self) -> None:
        """Listen there."""
        with self.host.inside():
            self._server = _Merchant((self.host.address, 9000), hooks._handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()


@dataclasses.dataclass
class Far(Born):
    """A process of Kassa on a host of its own, started from its front door."""

    host: Host = dataclasses.field(kw_only=True)

    def launch(self) -> None:
        """Start it, without waiting."""
        assert self.process is None, "it is running already"
        self._said = self._working()
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(self.command),
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, within_s: float = rig.START_TIMEOUT_S) -> float:
        """Wait until it does its work; the seconds that it took. Fails with the end of its log."""
        began = time.monotonic()
        while not self.is_ready():
            assert self.alive(), self.log_text()[-4000:]
            assert time.monotonic() - began < within_s, self.log_text()[-4000:]
            time.sleep(0.02)
        return time.monotonic() - began


@dataclasses.dataclass
class FarSandbox(rig.Sandbox):
    """The neighbours on a host of their own."""

    host: Host = dataclasses.field(kw_only=True)


class Guests(Crowd):
    """A crowd of which everybody comes from an address of his own, as the balancer says."""

    def _until_told(self, ask: Ask) -> Said:
        number = int((ask.key or "0")[-5:])
        there = f"198.18.{number // 250 % 250}.{number % 250 + 1}"
        return super()._until_told(dataclasses.replace(ask, headers=(("X-Forwarded-For", there),)))


class Spread:
    """All of it, running. Open it with `spread`, and be on the client's host (`net.host("client").inside()`) to speak with it."""

    def __init__(self, net: Network, home: Path) -> None:
        self.net, self.home = net, home
        self.client, self.db = net.host("client"), net.host("db")
        self.cluster = FarCluster(self.db, _cluster_home())
        self.redis = FarRedis(services.REDIS, _folder(home, "redis"), 6379, host=net.host("redis"))
        self.hooks = FarHooks(host=net.host("merchant"))
        self.sandbox = self._sandbox(net.host("neighbours"))
        self.dsn = ""
        self.apis: list[Far] = []
        self.workers: list[Far] = []
        self.rpc: list[Far] = []
        self._secrets = {
            "JWT_SECRET": secrets.token_urlsafe(48),
            "KASSA_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
            "PROVIDER_WEBHOOK_SECRET": secrets.token_urlsafe(24),
        }

    @property
    def everybody(self) -> list[Far]:
        """Every process of Kassa."""
        return [*self.apis, *self.rpc, *self.workers]

    def open(self) -> None:
        """Start everything, and wait until it can be used."""
        self.cluster.create()
        with self.client.inside():
            self.cluster.start()
            self.redis.start()
            self.hooks.open()
            self.sandbox.environment["PROVIDER_WEBHOOK_SECRET"] = self._secrets["PROVIDER_WEBHOOK_SECRET"]
            self.sandbox.start()
            self.dsn = self.cluster.fresh()
            rig.run_alone(self._load)
            for word, made, names in (
                ("serve", self.apis, ("api1", "api2")),
                ("rpc", self.rpc, ("grpc",)),
                ("work", self.workers, ("work1", "work2")),
            ):
                made += [self._kassa(word, name) for name in names]
            if ahead := wrong_clock():
                self.workers[1].environment |= ahead
            for each in self.everybody:
                each.launch()
            for each in self.everybody:
                each.wait_until_ready()

    def close(self) -> None:
        """Kill everything. Safe to call twice."""
        for each in self.everybody:
            while each._clients:
                each._clients.pop().close()
        for one in (*self.everybody, self.sandbox):
            one.kill()
        self.hooks.close()
        self.redis.close()
        self.cluster.close()

    def runs(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command of an operator at the client's host, to its end."""
        made = self._kassa("operator", "client")
        command = self.client.command([sys.executable, "-m", "kassa", *words])
        return subprocess.run(
            command, env=made.environment, cwd=_folder(self.home), capture_output=True, text=True, timeout=60, check=False
        )

    def crowd(self, size: int) -> Guests:
        """Buyers who come through both APIs in turn: guests, carts, cancels, and a merchant whose buyers pay by link."""
        return Guests(self.apis, size=size, mixed=True, basket=PLENTY)

    async def _load(self) -> None:
        db = await Database.connect(self.dsn, size=2)
        try:
            await demo.load(Context(db, Keys(b"x" * 32)))
        finally:
            await db.close()

    def _kassa(self, word: str, name: str) -> Far:
        host = self.net.host(name)
        settings = {
            **self._secrets,
            **self.sandbox.settings(*NEIGHBOURS),
            "PRODUCTION": "true",
            "HTTP_PORT": 8000,
            "GRPC_PORT": 7000,
            "REDIS_URL": self.redis.url,
            "RATE_LIMIT": f"{HITS_A_MINUTE}/minute",
            "TRUSTED_PROXIES": self.client.address,
            "ALLOW_PRIVATE_CALLBACKS": "true",  # the merchant is in our own network
            "GRPC_PAYMENT_PROVIDER": "simulated",
            "SIMULATED_PAYMENTS": "true",  # carts are paid by a card that nobody charges
            "WEBHOOK_TIMEOUT_S": 2,
            "WEBHOOK_RETRY_SECONDS": "0,1,1,2,2,5",
            "DRAIN_S": 0,
        }
        made = rig.make_server(self.home / name / word, self.dsn, settings)
        made.command = [sys.executable, "-m", "kassa", word]
        made.url, made.grpc = f"http://{host.address}:8000", f"{host.address}:7000"
        made.ready = f"{made.url}/ready"
        return Far(**_fields(made), word=word, host=host)

    def _sandbox(self, host: Host) -> FarSandbox:
        made = rig.make_sandbox(self.home / host.name)
        url = f"http://{host.address}:8010"
        reports = f"http://{self.net.host('api1').address}:8000/api/v1/payments/webhook"
        own = ["sandbox", "--host", host.address, "--port", "8010", "--book", str(made.home / "book.db"), "--webhook-url", reports]
        made.command = host.command([sys.executable, "-m", "kassa", *own])
        made.url, made.ready = url, f"{url}/sandbox/control"
        return FarSandbox(**_fields(made), host=host)


@contextlib.contextmanager
def spread(net: Network) -> Iterator[Spread]:
    """A shop on many hosts, running."""
    home = Path(tempfile.mkdtemp(prefix="kassa-"))
    made = Spread(net, home)
    try:
        made.open()
        yield made
    finally:
        made.close()
        shutil.rmtree(home, ignore_errors=True)


def wait_for(holds: Callable[[], object], within_s: float, what: str) -> float:
    """Wait until something is true; the seconds that it took. Fails with `what`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, what
        time.sleep(0.02)
    return time.monotonic() - began


def _fields(made: rig.Running) -> dict[str, Any]:
    return {each.name: getattr(made, each.name) for each in dataclasses.fields(made) if each.init}


def _folder(home: Path, name: str = "operator") -> Path:
    (home / name).mkdir(parents=True, exist_ok=True)
    return home / name


def _cluster_home() -> Path:
    base = services.run_folder()
    base.chmod(base.stat().st_mode | 0o755)
    (base / "services").mkdir(exist_ok=True)
    clusters._let_pass()
    return base / "services" / f"postgres-{os.getpid()}-far-{secrets.token_hex(3)}"
