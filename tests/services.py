"""Redis and RabbitMQ for tests. How to use them stands at the fixtures, at the foot of this file.

A *shared* service is found or started once per test run, for all its parallel workers: the one at `REDIS_URL` or `RABBITMQ_URL`, else at
its usual port on 127.0.0.1, else started from an installed program on a free port, else installed first, where that is allowed
(`CI=true` or `KASSA_TEST_INSTALL=1`). Whoever uses it uses names of his own there and stops nothing.

An *own* service belongs to one test: a private instance on free loopback ports, in a folder of its own, which may be stopped, killed,
frozen and started again. Nothing of it is left when the test run ends, however it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest
from tests import rig

START_TIMEOUT_S = 60
INSTALL_TIMEOUT_S = 600
T = TypeVar("T", bound="Instance")
_names = itertools.count()
_started_here: list[Instance] = []


@dataclass(frozen=True)
class Kind:
    """What is to be known of a service: its setting, its usual port, how to look at it and how to get it."""

    name: str
    setting: str
    scheme: str
    port: int
    greeting: bytes
    answer: bytes
    programs: tuple[str, ...]
    packages: dict[str, str]


REDIS = Kind(
    "Redis", "REDIS_URL", "redis", 6379, b"PING\r\n", b"", ("redis-server", "valkey-server"),
    {"apt-get": "redis-server", "dnf": "redis", "brew": "redis"},
)  # fmt: skip
RABBITMQ = Kind(
    "RabbitMQ", "RABBITMQ_URL", "amqp", 5672, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00", ("rabbitmq-server",),
    {"apt-get": "rabbitmq-server", "dnf": "rabbitmq-server", "brew": "rabbitmq"},
)  # fmt: skip
CHROMIUM = Kind(
    "Chromium", "CHROMIUM", "", 0, b"", b"", ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
    {"apt-get": "chromium", "dnf": "chromium", "brew": "chromium"},
)  # fmt: skip
"""No service: the browser of tests/browser. Here, because it is found and installed in the same way."""


# ── own instances ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Instance:
    """A private service. `url` is where it answers; it stays the same over all its starts."""

    kind: Kind
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers; fails with the end of its log if it does not."""
        assert not self.alive(), f"{self.kind.name} is running already"
        self.launch()
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.kind, self.url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.kind.name} did not come up:\n{self.log_text()[-4000:]}")
            time.sleep(0.02)

    def stop(self, timeout_s: float = 30) -> None:
        """End it with SIGTERM, as an administrator would. Does nothing when it is not running."""
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """`kill -9`, as a power cut would. Does nothing when it is not running."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing, until `thaw`."""
        assert self.process is not None, "it is not running"
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`. Does nothing when it is not running."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)

    def alive(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def revive(self) -> None:
        """Make it usable again, whatever a test has done to it."""
        self.thaw()
        if not self.alive():
            self.process = None
            self.start()

    def close(self) -> None:
        """Kill it, with all that belongs to it, and remove its folder. Safe to call twice."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def log_text(self) -> str:
        """What it printed and logged so far."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.home.glob("*.log")))

    def launch(self) -> None:
        """Start the processes, without waiting."""
        raise NotImplementedError

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.home / "output.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                cwd=self.home,  # by this the processes of a run are found again
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


class OwnRedis(Instance):
    """A private Redis that keeps nothing: it is empty after each start."""

    @property
    def url(self) -> str:
        """As for REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        """Start the process, without waiting."""
        self.process = self._spawn(
            [
                program(REDIS),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                str(self.home),
            ]
        )


@dataclass
class OwnRabbit(Instance):
    """A private RabbitMQ node (5 to 10 s to start): durable queues and persistent messages outlive `kill` and `stop`."""

    node: str = ""
    distribution: int = field(default_factory=rig.free_port)
    names_at: int = field(default_factory=rig.free_port)
    _names: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As for RABBITMQ_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def launch(self) -> None:
        """Start its own register of names and the node, without waiting."""
        environment = self._environment()
        if self._names is None:
            epmd = found("epmd", "/usr/lib/erlang/bin") or "epmd"
            self._names = self._spawn([epmd, "-address", "127.0.0.1", "-port", str(self.names_at)], environment)
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nvm_memory_high_watermark.absolute = 256MB\ndisk_free_limit.absolute = 50MB\n"
        )
        (self.home / "empty").touch()
        (self.home / "enabled_plugins").write_text("[].\n")
        self.process = self._spawn([program(RABBITMQ)], environment)

    def ctl(self, *args: str) -> str:
        """What `rabbitmqctl -q …` prints about this node. It takes a second."""
        tool = str(Path(program(RABBITMQ)).with_name("rabbitmqctl"))
        done = subprocess.run(
            [tool, "-q", *args],
            check=False,
            env={**os.environ, **self._environment()},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """Kill the node and its register of names, and remove the folder."""
        self.kill()
        if self._names is not None:
            self._names.kill()
            self._names.wait()
            self._names = None
        super().close()

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),  # the cookie of Erlang
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "ERL_EPMD_PORT": str(self.names_at),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "empty"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell stands between us and the node
        }


def make_redis() -> OwnRedis:
    """A private Redis that is not started yet; `close` it at the end."""
    return _kept(OwnRedis(REDIS, _folder("redis"), rig.free_port()))


def make_rabbitmq() -> OwnRabbit:
    """A private RabbitMQ node that is not started yet; `close` it at the end."""
    return _kept(OwnRabbit(RABBITMQ, _folder("rabbit"), rig.free_port(), node=f"kassa-{uuid.uuid4().hex[:10]}@localhost"))


def _kept(instance: T) -> T:
    program(instance.kind)
    _started_here.append(instance)
    return instance


def _folder(name: str) -> Path:
    base = run_folder() / "services"
    base.mkdir(exist_ok=True)
    folder = base / f"{name}-{os.getpid()}-{next(_names)}"
    folder.mkdir()
    return folder


def run_folder() -> Path:
    """The folder of this test run, which its workers share; one of this process alone when the run has none."""
    if "KASSA_TEST_RUN" not in os.environ:
        os.environ["KASSA_TEST_RUN"] = tempfile.mkdtemp(prefix=rig.run_prefix())
    return Path(os.environ["KASSA_TEST_RUN"])


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def program(kind: Kind) -> str:
    """The installed program of a service. Fails the test with one line when there is none."""
    for name in kind.programs:
        # Debian's own `rabbitmq-server` in the path changes user and folder; the one that it calls does neither.
        if path := found(name, "/usr/lib/rabbitmq/bin", first=True):
            return path
    wanted = " or ".join(kind.programs)
    pytest.fail(
        f"{kind.name} is needed and `{wanted}` is not installed: install it, or set KASSA_TEST_INSTALL=1 to have it installed",
        pytrace=False,
    )


def found(name: str, aside: str, *, first: bool = False) -> str | None:
    """The path of a program, in the path, in `aside` or where servers usually are."""
    usual = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin"]
    return shutil.which(name, path=os.pathsep.join([aside, *usual] if first else [*usual, aside]))


def install(kind: Kind) -> None:
    """Install a service with the system's package manager, where that is allowed and possible; else do nothing."""
    if os.environ.get("CI") != "true" and os.environ.get("KASSA_TEST_INSTALL") != "1":
        return
    manager = next((name for name in ("apt-get", "dnf", "brew") if shutil.which(name)), None)
    if manager is None or (manager != "brew" and os.geteuid() != 0):
        return
    quiet = {"apt-get": ["-y", "-q", "--no-install-recommends"], "dnf": ["-y", "-q"], "brew": ["-q"]}[manager]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "HOMEBREW_NO_AUTO_UPDATE": "1"}
    commands = [[manager, "install", *quiet, kind.packages[manager]]]
    if manager == "apt-get":
        commands.insert(0, [manager, "update", "-q"])
    for command in commands:
        subprocess.run(
            command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=INSTALL_TIMEOUT_S, check=False
        )


def missing(kind: Kind) -> bool:
    """Whether a service neither answers nor can be started from what is installed."""
    return running(kind) is None and not any(found(name, "/usr/lib/rabbitmq/bin") for name in kind.programs)


# ── shared services ──────────────────────────────────────────────────────────────────────────────────────────────────


def running(kind: Kind) -> str | None:
    """Where a service answers already, if it does."""
    usual = {"amqp": "amqp://guest:guest@127.0.0.1:5672/", "redis": "redis://127.0.0.1:6379"}[kind.scheme]
    return next((url for url in (os.environ.get(kind.setting, ""), usual) if url and answers(kind, url)), None)


def shared(kind: Kind) -> str:
    """Where the service of this test run answers; the first process that asks finds or starts it."""
    import fcntl

    with (run_folder() / f"{kind.scheme}.url").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.seek(0)
        url = held.read()
        if not url or not answers(kind, url):
            url = running(kind) or _started(kind)
            held.truncate(0)
            held.write(url)
    return url


def _started(kind: Kind) -> str:
    instance: Instance = make_redis() if kind is REDIS else make_rabbitmq()
    _started_here.remove(instance)  # it outlives this process: the run ends it
    instance.start()
    return instance.url


def answers(kind: Kind, url: str) -> bool:
    """Whether a service of this kind greets at `url`. Names and passwords are not tried."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or kind.port), timeout=2) as line:
            if parts.scheme in {"rediss", "amqps"}:
                return True
            line.sendall(kind.greeting)
            first = line.recv(64)
    except OSError:
        return False
    if kind is REDIS:
        return first.startswith((b"+PONG", b"-NOAUTH"))
    return first.startswith(kind.answer)


# ── the end of a run ─────────────────────────────────────────────────────────────────────────────────────────────────


def end_processes_in(folder: str) -> None:
    """Kill every process that was started in a folder whose path begins so."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(folder):
                process.kill()


def end_left_behind() -> None:
    """Kill what test runs on this machine had started that were killed themselves, and remove their folders."""
    begin = rig.run_prefix(0).removesuffix("0-")
    for folder in Path(tempfile.gettempdir()).glob(f"{begin}*"):
        pid = folder.name.removeprefix(begin).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            end_processes_in(f"{folder}{os.sep}")
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tidy up after runs that were killed, and install what is missing where that is allowed: neither belongs to a test's time."""
    if hasattr(config, "workerinput") or config.option.collectonly or os.environ.get("KASSA_TEST_DATABASE") == "none":
        return
    end_left_behind()
    for kind in (REDIS, RABBITMQ):
        if missing(kind):
            install(kind)
    if not any(shutil.which(name) for name in (os.environ.get("CHROMIUM", ""), *CHROMIUM.programs) if name):
        install(CHROMIUM)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this process started; the run itself also what its workers shared."""
    while _started_here:
        _started_here.pop().close()
    if not hasattr(config, "workerinput") and "KASSA_TEST_RUN" in os.environ:
        end_processes_in(f"{run_folder()}{os.sep}services{os.sep}")


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The shared Redis, in a database of this worker's own. Never flush it: others may use it, too."""
    parts = urlsplit(shared(REDIS))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"{parts.scheme}://{parts.netloc}/{1 + int(worker) % 15}"


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The shared RabbitMQ. Use exchanges and queues with names of your own, and delete them."""
    return shared(RABBITMQ)


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    """A Redis for this test alone: `url`, `stop`, `start`, `kill`, `freeze`, `thaw`. It takes some 30 ms to start."""
    redis = make_redis()
    redis.start()
    yield redis
    redis.close()


@pytest.fixture(scope="session")
def _rabbit_of_this_worker() -> Iterator[OwnRabbit]:
    rabbit = make_rabbitmq()
    yield rabbit
    rabbit.close()


@pytest.fixture
def own_rabbitmq(_rabbit_of_this_worker: OwnRabbit) -> OwnRabbit:
    """A RabbitMQ that this test may stop, kill and freeze. The worker's tests share the node, one after another: use names of your own."""
    _rabbit_of_this_worker.revive()
    return _rabbit_of_this_worker
