"""The rig: databases, servers and sandboxes that black-box tests are played on.

Every `Server` is a real process (`python -m kassa dev`) with a database, a port and a folder of its own; nothing of
Kassa is imported into the test's process to serve a request. A database is a copy of a template that is migrated once per
test run, so a fresh one costs a few hundredths of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import asyncpg
import httpx2
import psutil  # type: ignore[import-untyped]
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
JWT_SECRET = "a-secret-that-only-tests-know-0123456789"
WEBHOOK_SECRET = "what-only-the-provider-and-tests-know"
START_TIMEOUT_S = 60
ROOM = 600
"""Connections that the tests' PostgreSQL takes: thirty servers at once, each with a pool, and races with larger ones."""
_NEIGHBOURS = {
    "payment": "PAYMENT_SERVICE_URL",
    "inventory": "INVENTORY_SERVICE_URL",
    "order": "ORDER_SERVICE_URL",
    "product": "PRODUCT_SERVICE_URL",
    "user": "USER_SERVICE_URL",
    "notification": "NOTIFICATION_SERVICE_URL",
    "link": "PROVIDER_URL",
}


def _ports_of_this_process() -> Iterator[int]:
    """From 20000 on. Processes of one run have ports of their own: what is free for one, no other takes before it is bound."""
    many = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = (os.getppid() if many > 1 else os.getpid()) * 37
    return (20000 + (first + mine + many * n) % (12000 // many * many) for n in itertools.count())


_ports = _ports_of_this_process()


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_alone(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on an event loop of its own thread: also inside a test that has a loop already."""
    box: list[T] = []
    trouble: list[BaseException] = []

    def target() -> None:
        try:
            box.append(asyncio.run(work()))
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return box[0]


def query(dsn: str, sql: str, *args: Any) -> list[dict[str, Any]]:
    """All rows of one statement, asked over a connection of its own. `jsonb` comes as Python values."""

    async def ask() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            for kind in ("json", "jsonb"):
                await connection.set_type_codec(kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
            return [dict(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    return run_alone(ask)


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(dsn)
    tail = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{quote(name)}{tail}"


@dataclass
class DatabaseServer:
    """A PostgreSQL server on which tests may create databases; `prefix` marks those of this test run."""

    dsn: str
    prefix: str
    lock: Path
    made: list[str] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self) -> str:
        """The DSN of a new database with the present schema and no rows."""
        template = self.template()
        name = f"{self.prefix}_{os.getpid()}_{next(self._count)}"
        query(self.dsn, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self.made.append(name)
        return with_database(self.dsn, name)

    def empty(self) -> str:
        """The DSN of a new database without any schema."""
        name = f"{self.prefix}_{os.getpid()}_{next(self._count)}"
        query(self.dsn, f'CREATE DATABASE "{name}" TEMPLATE template0')
        self.made.append(name)
        return with_database(self.dsn, name)

    def template(self) -> str:
        """The name of the migrated template; the first process of the run that asks makes it."""
        import fcntl

        name = f"{self.prefix}_template"
        with self.lock.open("a+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.seek(0)
            if held.read() != name:
                self._make_template(name)
                held.truncate(0)
                held.write(name)
        return name

    def _make_template(self, name: str) -> None:
        from kassa import migrate

        query(self.dsn, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        query(self.dsn, f'CREATE DATABASE "{name}" TEMPLATE template0')
        migrate.upgrade(with_database(self.dsn, name))

    def drop_mine(self) -> None:
        """Drop what this process made. Safe to call twice."""
        while self.made:
            query(self.dsn, f'DROP DATABASE IF EXISTS "{self.made.pop()}" WITH (FORCE)')

    def drop_all(self) -> None:
        """Drop every database of this test run."""
        found = query(self.dsn, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", self.prefix + "_")
        for row in found:
            query(self.dsn, f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')


def this_run() -> DatabaseServer:
    """The server that the test run found or started; its name and lock come through the environment."""
    dsn, run = os.environ.get("KASSA_TEST_SERVER", ""), os.environ.get("KASSA_TEST_RUN", "")
    if not dsn or not run:
        pytest.fail("this run has no PostgreSQL (KASSA_TEST_DATABASE=none)", pytrace=False)
    if not dsn.startswith("postgresql://"):
        pytest.fail(dsn, pytrace=False)
    return DatabaseServer(dsn, Path(run).name.replace("-", "_").lower(), Path(run) / "template")


@contextlib.contextmanager
def postgres_for(run: Path) -> Iterator[str]:
    """The DSN of a PostgreSQL that lets us create databases: a running one, else an embedded one until the block ends.

    When neither can be had the reason is given instead: tests that need no database still run.
    """
    from kassa.kit import embedded

    given = os.environ.get("DATABASE_URL", "")
    for dsn in (
        re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", given),
        "postgresql://postgres@127.0.0.1:5432/postgres",
    ):
        if dsn and usable(dsn):
            yield dsn
            return
    try:
        started = embedded.start(run / "embedded", connections=ROOM)
    except embedded.EmbeddedError as error:
        yield f"no PostgreSQL for the tests: {error}"
        return
    try:
        yield started.ready()
    finally:
        started.stop()


def run_prefix(pid: int | None = None) -> str:
    """How the folder and the databases of a test run begin: this machine, and the process that runs it."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
    return f"kassa-test-{machine}-{os.getpid() if pid is None else pid}-"


def drop_left_behind(dsn: str) -> None:
    """Drop the databases of test runs on this machine that were killed before they could do it themselves."""
    if not dsn.startswith("postgresql://"):
        return
    begin = run_prefix(0).removesuffix("0-").replace("-", "_")
    for row in query(dsn, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", begin):
        pid = int(row["datname"].removeprefix(begin).split("_")[0])
        if not psutil.pid_exists(pid):
            query(dsn, f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')


def usable(dsn: str) -> bool:
    """Whether a PostgreSQL of at least version 15 answers there, lets us create databases and has room for many servers.

    A run of the tests has thirty servers at once, each with a pool; the usual hundred connections are too few for that.
    """
    question = """
        SELECT current_setting('server_version_num')::int >= 150000 AND current_setting('max_connections')::int >= $1
               AND (rolsuper OR rolcreatedb) AS yes
        FROM pg_roles WHERE rolname = current_user"""
    try:
        return bool(query(dsn, question, ROOM)[0]["yes"])
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, IndexError):
        return False


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    """A loopback port that nobody listens on, below the range from which the system lends ports."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("no free port")


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without any setting of Kassa, and `extra` on top."""
    keep = {k: v for k, v in os.environ.items() if not _SETTING.match(k)}
    path = [os.environ.get("CRASH_SOURCE", str(ROOT / "src")), *filter(None, [keep.get("PYTHONPATH")])]  # see crash/mutants.py
    return {**keep, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", "TERM": "dumb", **extra}


_SETTING = re.compile(
    r"^(KASSA_.*|JWT_.*|(.*_)?(HTTP|GRPC|APP|REDIS)_(HOST|PORT)|PORT|.*_SERVICE_URL|PROVIDER_.*|PUBLIC_URL|DATABASE_.*|REDIS_URL|RABBITMQ_URL"
    r"|(PAYMENTS|LOGS)_DB_URL|PAYMENT_LINK_TTL_S|TRUST_MERCHANT_HEADER|GRPC_.*|MAX_WORKERS|MERCHANT_CALLBACK_.*|EXCHANGE_NAME|QUEUE_NAME"
    r"|ALLOW_PRIVATE_CALLBACKS|EGRESS_PROXY|WEBHOOK_.*|EMAIL_.*|SMTP_.*|MAILGUN_.*"
    r"|PRODUCTION|SURFACES|RATE_LIMIT|CARD_LIMITS|LAN|API_DOCS|CORS_ORIGINS|TRUSTED_PROXIES|METRICS_(PORT|TOKEN)|SIMULATED_PAYMENTS|LOG_LEVEL|DRAIN_S|OFFICE_.*|PAGES|MAX_WAITING_ORDERS|VERIFY_EVERY_S"
    r"|PAYME_.*|AMBASSADOR_.*|PAYTECH_API_KEY|APP_NAME|DEBUG|OTEL_.*)(_FILE)?$"
)


def answers(url: str) -> bool:
    """Whether GET `url` answers 200 now."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Running:
    """One process of ours with its log; `ready` is the URL that answers 200 when it can be used."""

    command: list[str]
    environment: dict[str, str]
    home: Path
    ready: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises AssertionError while nothing runs."""
        assert self.process is not None, "it is not running"
        return self.process.pid

    @property
    def log_file(self) -> Path:
        """Everything that the process printed, over all its starts."""
        return self.home / "output.log"

    def start(self) -> None:
        """Start the process and wait until it is ready; fails with the end of its log if it does not come up."""
        assert self.process is None, "it is running already"
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.ready):
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{' '.join(self.command[1:])} did not come up (exit code {code}):\n{self.log_text()[-4000:]}")
            time.sleep(0.02)

    def stop(self, timeout_s: float = 20) -> int:
        """End it with SIGTERM and return the exit code. Does nothing, and returns 0, when it is not running."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not stop within {timeout_s} s:\n{self.log_text()[-4000:]}") from None
        self.process = None
        return code

    def kill(self) -> None:
        """`kill -9`, as a power cut would. Does nothing when it is not running."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait(self, timeout_s: float = 30) -> int:
        """Wait until the process ends by itself (at a kill point, say) and return its exit code."""
        assert self.process is not None, "it is not running"
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process is not None and self.process.poll() is None

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same data and port."""
        if self.alive():
            self.stop()
        self.process = None
        self.start()

    def log_text(self) -> str:
        """What it printed and what it wrote to its log folder so far."""
        files = [self.log_file, *sorted((self.home / "logs").glob("*"))]
        return "\n".join(f.read_text(errors="replace") for f in files if f.is_file())


@dataclass
class Server(Running):
    """A running Kassa: HTTP surfaces, workers and sandbox in one process, with the demo data."""

    url: str = ""
    dsn: str = ""
    secret: str = JWT_SECRET
    grpc: str = ""
    """Where gRPC answers, as `host:port`."""
    webhook_secret: str = WEBHOOK_SECRET
    _clients: list[httpx2.Client] = field(default_factory=list)

    @property
    def kassa_secret(self) -> str:
        """Its `KASSA_SECRET`: the one that it was given, else the one that it made."""
        return self.environment.get("KASSA_SECRET") or (self.home / "secrets" / "kassa_secret").read_text().strip()

    @property
    def sandbox_url(self) -> str:
        """Where the built-in sandbox answers."""
        return f"{self.url}/sandbox"

    def token(self, user: int | str = 1, role: str | None = None, **claims: Any) -> str:
        """A JWT of this buyer (or staff, with `role`), good for an hour; `claims` add or replace, None removes."""
        content: dict[str, Any] = {"id": user, "exp": int(time.time()) + 3600, "role": role, **claims}
        content = {name: value for name, value in content.items() if value is not None}
        return jwt.encode({"alg": "HS256"}, content, OctKey.import_key(self.secret))

    def client(self, user: int | str | None = None, role: str | None = None, **options: Any) -> httpx2.Client:
        """An HTTP client of this server, signed in when `user` is given; closed with the server at the latest."""
        client = httpx2.Client(**self._options(user, role, options))
        self._clients.append(client)
        return client

    def async_client(self, user: int | str | None = None, role: str | None = None, **options: Any) -> httpx2.AsyncClient:
        """The same, asynchronous; close it yourself (`async with`)."""
        return httpx2.AsyncClient(**self._options(user, role, options))

    def _options(self, user: int | str | None, role: str | None, options: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token(user, role)}"} if user is not None else {}
        headers.update(options.pop("headers", {}))
        return {"base_url": self.url, "headers": headers, "timeout": 30, "trust_env": False, **options}

    def sql(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """All rows of one statement, asked of this server's database over a connection of its own."""
        return query(self.dsn, sql, *args)

    def stop(self, timeout_s: float = 20) -> int:
        """As `Running.stop`; the clients are closed first."""
        while self._clients:
            self._clients.pop().close()
        return super().stop(timeout_s)


@dataclass
class Sandbox(Running):
    """`kassa sandbox` running alone: the stand-ins for every neighbour, and their book."""

    url: str = ""

    def settings(self, *services: str) -> dict[str, str]:
        """The settings with which a server uses these stand-ins: `start_kassa(**sandbox.settings("payment", "order"))`."""
        return {_NEIGHBOURS[service]: f"{self.url}/sandbox/{service}" for service in services}

    def script(self, service: str, act: str | None, behaviour: str, **options: Any) -> None:
        """The next call of `act` (of any, for None) meets this behaviour; options: times, seconds, status, match, error, message, form."""
        body = {"service": service, "act": act, "behaviour": behaviour, **options}
        self.desk("POST", "/scripts", json=body)

    def default(self, service: str, act: str | None, behaviour: str, **options: Any) -> None:
        """How the service behaves whenever no script is left."""
        self.desk("PUT", f"/defaults/{service}", json={"act": act, "behaviour": behaviour, **options})

    def book(self, **narrow: str) -> Any:
        """What the stand-ins have booked so far; `service`, `since` and `only` narrow it."""
        return self.desk("GET", "/book", params=narrow)

    def summary(self) -> Any:
        """Per key: how often it was charged and what is left of it. `double` names keys that were charged twice."""
        return self.desk("GET", "/summary")

    def clear(self) -> None:
        """Forget all scripts and bookings."""
        self.desk("DELETE", "/scripts")
        self.desk("DELETE", "/book")

    def desk(self, method: str, path: str, **options: Any) -> Any:
        """Ask the tester's desk (`/sandbox/control`); fails unless it answers 2xx."""
        answer = httpx2.request(method, f"{self.url}/sandbox/control{path}", trust_env=False, timeout=10, **options)
        assert answer.is_success, answer.text
        return answer.json()


def make_server(home: Path, dsn: str, settings: dict[str, Any]) -> Server:
    """A server that is not started yet. `settings` are environment variables by their own names."""
    port, grpc_port = int(settings.pop("HTTP_PORT", 0)) or free_port(), int(settings.pop("GRPC_PORT", 0)) or free_port()
    given = {name: str(value) for name, value in settings.items()}
    own = {
        "DATABASE_URL": dsn,
        "HTTP_PORT": str(port),
        "GRPC_PORT": str(grpc_port),
        "PRODUCTION": "false",
        "JWT_SECRET": JWT_SECRET,
        "PROVIDER_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "DATABASE_POOL_SIZE": "6",  # many servers share one PostgreSQL here
        "KASSA_HOME": str(home),
        **given,
    }
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "kassa", "dev"]
    return Server(
        command,
        clean_environment(**own),
        home,
        f"{url}/ready",
        url=url,
        dsn=dsn,
        secret=own["JWT_SECRET"],
        grpc=f"127.0.0.1:{grpc_port}",
        webhook_secret=own["PROVIDER_WEBHOOK_SECRET"],
    )


def make_sandbox(home: Path) -> Sandbox:
    """A sandbox that is not started yet."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "kassa", "sandbox", "--port", str(port), "--book", str(home / "book.db")]
    return Sandbox(command, clean_environment(KASSA_HOME=str(home)), home, f"{url}/sandbox/control", url=url)


@contextlib.contextmanager
def stopping(started: list[Running]) -> Iterator[list[Running]]:
    """Whatever stands in `started` at the end is stopped, the last first."""
    try:
        yield started
    finally:
        stop_from(started, 0)


def stop_from(started: list[Running], first: int) -> None:
    """Stop everything from position `first` on, the last first; one that will not stop is killed."""
    while len(started) > first:
        started.pop().stop()
