"""PostgreSQL servers of one's own, which a scenario may kill, freeze, cut off, fill up and promote.

The programs are those of the embedded package. Nothing trades safety for speed: `fsync` and `full_page_writes` are on. As root the server runs as
an unprivileged account, because it refuses to run as root. Its data stand in a folder of the test run: whatever happens to the scenario, the run's end
finds its processes by that folder and ends them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]
from tests import rig, services

from kassa.kit import embedded

START_S = 60
ACCOUNT = "kassa"
"""Who owns everything in these servers; anybody on loopback is trusted."""
_names = itertools.count()
_SAFE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "hot_standby": "on",
    "max_connections": "150",
    "shared_buffers": "64MB",
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "wal_keep_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "io_method": "sync",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # As the embedded server: statements and values may hold what a buyer typed.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class Cluster:
    """One server with its data. Made by `make`; `close` it at the end, which may be said twice.

    `port` and `dsn` stay the same over all its starts.
    """

    def __init__(self, home: Path, settings: dict[str, str] | None = None, *, room_mb: int | None = None) -> None:
        self.home = home
        self.data = home / "disk" / "data"
        self.port = rig.free_port()
        self.settings = {**_SAFE, **(settings or {})}
        self.log_file = home / "postgres.log"
        self._account = pwd.getpwnam(_account()) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._room: subprocess.Popen[bytes] | None = None
        self._databases: rig.DatabaseServer | None = None
        home.mkdir(parents=True)
        (home / "disk").mkdir()
        self._own(home, home / "disk")
        if room_mb is not None:
            self._open_room(room_mb)

    @property
    def dsn(self) -> str:
        """The database `postgres` of this server."""
        return f"postgresql://{ACCOUNT}@127.0.0.1:{self.port}/postgres"

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Make an empty cluster; once."""
        options = ["--encoding=UTF8", "--locale=C", "--no-instructions", "--auth=trust", f"--username={ACCOUNT}"]
        self._run("initdb", "-D", str(self.data), "--no-sync", *options)

    def start(self) -> None:
        """Start it and wait until it answers. A server whose shared memory is still held by dying processes is started again."""
        deadline = time.monotonic() + START_S
        while not self._comes_up(deadline):
            assert time.monotonic() < deadline, self.log_text()[-4000:]
            time.sleep(0.05)

    def launch(self) -> None:
        """Start its first process without waiting."""
        words = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), *words]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self._inside(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as())

    def stop(self, timeout_s: float = 30) -> None:
        """End it as an administrator would who does not wait for clients. Does nothing when it is not running."""
        if self._process is None:
            return
        self.thaw()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self, *, only_first: bool = False) -> None:
        """`kill -9` of all its processes at once, or `only_first`: of the postmaster, whose children then notice and end."""
        if self._process is None:
            return
        victims = self.processes()
        if only_first:
            victims = victims[:1]
        for each in victims:
            with contextlib.suppress(psutil.Error):
                each.kill()
        self._process.wait(30)
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP to all its processes: connections stand, nothing is answered, new ones are taken by the system and hang."""
        stopped: set[int] = set()
        while fresh := [each for each in self.processes() if each.pid not in stopped]:
            for each in fresh:
                with contextlib.suppress(psutil.Error):
                    each.send_signal(signal.SIGSTOP)
                stopped.add(each.pid)

    def thaw(self) -> None:
        """SIGCONT to all. Does nothing when it is not running or not frozen."""
        for each in self.processes():
            with contextlib.suppress(psutil.Error):
                each.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill everything and remove the folder."""
        self.thaw()
        self.kill()
        services.end_processes_in(f"{self.data}")
        if self._room is not None:
            self._room.kill()
            self._room.wait()
            self._room = None
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self.processes()[0].pid

    def alive(self) -> bool:
        """Whether its first process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[Any]:
        """The postmaster first, then its children."""
        if self._process is None or self._process.poll() is not None:
            return []
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self._process.pid)
            while first.name() in {"nsenter", "setpriv"}:
                first = first.children()[0]
            return [first, *first.children(recursive=True)]
        return []

    def log_text(self) -> str:
        """What it said so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # ── its databases ────────────────────────────────────────────────────────────────────────────────────────────────

    def fresh(self) -> str:
        """The DSN of a new database with the present schema and no rows."""
        return self._server().fresh()

    def empty(self) -> str:
        """The DSN of a new database without any schema."""
        return self._server().empty()

    def ask(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """All rows of one statement in the database `postgres`."""
        return rig.query(self.dsn, sql, *args)

    def here(self, dsn: str) -> str:
        """The same database of another server, on this one."""
        return rig.with_database(self.dsn, dsn.rpartition("/")[2].partition("?")[0])

    def answers(self) -> bool:
        """Whether it takes connections and answers."""
        try:
            return bool(self.ask("SELECT true AS yes"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False

    # ── a second server ──────────────────────────────────────────────────────────────────────────────────────────────

    def standby(self, *, synchronous: str = "off", **settings: str) -> Cluster:
        """A running server that follows this one. `synchronous`: commits here wait until it has done so (`remote_write`, `on`), or not (`off`)."""
        other = Cluster(self.home.with_name(f"{self.home.name}-s{next(_names)}"), {**self.settings, **settings})
        other.follow(self, synchronous=synchronous)
        return other

    def follow(self, primary: Cluster, *, synchronous: str = "off") -> None:
        """Forget everything, copy `primary` and follow it: as `standby`, for a server that was killed."""
        assert not self.alive()
        shutil.rmtree(self.data, ignore_errors=True)
        line = f"host=127.0.0.1 port={primary.port} user={ACCOUNT} application_name=standby"
        primary.backup(self.data)
        self.settings["primary_conninfo"] = line
        (self.data / "standby.signal").touch()
        self._own(self.data / "standby.signal")
        self.start()
        primary._wait_for("state = 'streaming'", self)
        if synchronous != "off":
            # On the server, so that it holds for every client, whatever it asks for less.
            primary.ask(f"ALTER SYSTEM SET synchronous_commit = '{synchronous}'")
            primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            primary.ask("SELECT pg_reload_conf()")
            primary._wait_for("sync_state = 'sync'", self)

    def _wait_for(self, state: str, standby: Cluster) -> None:
        deadline = time.monotonic() + START_S
        while not self.ask(f"SELECT 1 FROM pg_stat_replication WHERE {state}"):
            assert time.monotonic() < deadline, standby.log_text()[-4000:]
            time.sleep(0.05)

    def promote(self) -> None:
        """Make this standby the primary, and wait until it takes writes. It waits for nobody's copy then."""
        self._run("pg_ctl", "-D", str(self.data), "promote", "-w", "-t", "30")
        self.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.ask("SELECT pg_reload_conf()")

    def is_standby(self) -> bool:
        """Whether it follows another server."""
        return bool(self.ask("SELECT pg_is_in_recovery() AS yes")[0]["yes"])

    def backup(self, where: Path) -> None:
        """Copy it while it runs: `where` becomes the data of another cluster."""
        line = f"host=127.0.0.1 port={self.port} user={ACCOUNT}"
        self._run("pg_basebackup", "-D", str(where), "-d", line, "--checkpoint=fast", "--no-sync", "-X", "stream")

    # ── a small disk ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fill(self, leave_kb: int = 0) -> None:
        """Fill its disk but for so much. Only for a cluster with `room_mb`."""
        free = shutil.disk_usage(self._seen(self.home / "disk")).free
        with (self._seen(self.home / "disk") / "ballast").open("ab") as ballast, contextlib.suppress(OSError):
            for _ in range(max(0, free - leave_kb * 1024) // 65536 + 1):
                ballast.write(b"x" * 65536)
                ballast.flush()

    def unfill(self) -> None:
        """Give the room back."""
        (self._seen(self.home / "disk") / "ballast").unlink(missing_ok=True)

    def _open_room(self, mb: int) -> None:
        """A file system of its own that only its processes see: it is gone with the last of them."""
        uid = self._account.pw_uid if self._account else os.getuid()
        mount = f"mount -t tmpfs -o size={mb}m,mode=700,uid={uid} none {self.home / 'disk'} && exec sleep 100000"
        self._room = subprocess.Popen(["unshare", "--mount", "sh", "-c", mount], cwd=self.home, start_new_session=True)
        deadline = time.monotonic() + 10
        while not os.path.ismount(self._seen(self.home / "disk")):
            assert self._room.poll() is None, "no file system of its own"
            assert time.monotonic() < deadline, "no file system of its own in time"
            time.sleep(0.01)

    def _seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._room.pid}/root{path}") if self._room else path

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _comes_up(self, deadline: float) -> bool:
        self.launch()
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def _server(self) -> rig.DatabaseServer:
        if self._databases is None:
            self._databases = rig.DatabaseServer(self.dsn, "kassa", self.home / "template")
        return self._databases

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            self._inside([str(programs() / program), *words]), capture_output=True, check=False, timeout=120, **self._as()
        )
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')}"

    def _inside(self, command: list[str]) -> list[str]:
        if self._room is None or self._account is None:
            return command
        me = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"]
        return ["nsenter", f"--mount=/proc/{self._room.pid}/ns/mnt", "--", "setpriv", *me, *command]

    def _as(self) -> dict[str, Any]:
        given: dict[str, Any] = {"start_new_session": True, "cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        if self._account is None or self._room is not None:
            return given
        return {**given, "user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _own(self, *paths: Path) -> None:
        if self._account:
            for each in paths:
                os.chown(each, self._account.pw_uid, self._account.pw_gid)


@contextlib.contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A running server of its own for the length of the block."""
    made = make(**settings)
    try:
        made.start()
        yield made
    finally:
        made.close()


def make(*, room_mb: int | None = None, **settings: str) -> Cluster:
    """A server that is not started yet. `room_mb`: on a disk of that size (needs root; see `has_rooms`)."""
    base = services.run_folder()
    base.chmod(base.stat().st_mode | 0o755)
    (base / "services").mkdir(exist_ok=True)
    _let_pass()
    made = Cluster(base / "services" / f"postgres-{os.getpid()}-{next(_names)}", settings, room_mb=room_mb)
    try:
        made.create()
    except BaseException:
        made.close()
        raise
    return made


def has_rooms() -> str | None:
    """None where a small disk can be had; else why not."""
    if os.geteuid() != 0:
        return "a file system of its own needs root"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "mount") if shutil.which(name) is None]
    if missing:
        return f"{missing[0]} is not installed"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "this machine lets nobody have a file system of his own"


def programs() -> Path:
    """Where the programs of the embedded PostgreSQL are."""
    return embedded.programs()


def _account() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise AssertionError("PostgreSQL does not run as root and there is no account `nobody`")


def _let_pass() -> None:
    """Let the unprivileged account run the programs, as the embedded server does for itself."""
    if os.geteuid() == 0:
        embedded.let_pass(pwd.getpwnam(_account()), services.run_folder() / "services", programs())
