"""Where it is measured: one PostgreSQL for both sides, a Kassa process as it is deployed, and one database for each side."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from joserfc import jwt
from joserfc.jwk import OctKey

from bench.bare import TABLE
from kassa import migrate
from kassa.cli.process import stoppable
from kassa.kit import embedded

HOT = "hot"
SPREAD = 10_000
PLENTY = 100_000_000


@dataclass(frozen=True, slots=True)
class Town:
    """A running Kassa at `port` on database `dsn`, and the database `yard` with the same schema for the yardstick."""

    home: Path
    port: int
    dsn: str
    yard: str
    version: str
    token: str
    environment: dict[str, str]

    def ask(self, dsn: str, sql: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of one statement."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(dsn)
            try:
                found: list[asyncpg.Record] = await connection.fetch(sql, *args)
                return found
            finally:
                await connection.close()

        return asyncio.run(run())

    @contextlib.contextmanager
    def rpc(self) -> Iterator[int]:
        """`kassa rpc` beside the shop; the port where it answers."""
        port = _free_port()
        settings = {"SURFACES": "grpc", "GRPC_PORT": str(port), "GRPC_REQUIRE_API_KEY": "false"}
        with _running([sys.executable, "-m", "kassa", "rpc"], self.environment | settings, port):
            yield port

    @contextlib.contextmanager
    def bare(self) -> Iterator[int]:
        """The bare handler of row 6 on the yardstick's database; the port where it answers."""
        self.ask(self.yard, TABLE)
        port = _free_port()
        with _running([sys.executable, "-m", "bench.bare", str(port), self.yard], self.environment, port):
            yield port

    @contextlib.contextmanager
    def serving(self, settings: dict[str, str]) -> Iterator[int]:
        """One more `kassa serve`, with these settings; the port where it answers."""
        port = _free_port()
        with _running([sys.executable, "-m", "kassa", "serve"], self.environment | settings | {"HTTP_PORT": str(port)}, port):
            yield port

    @contextlib.contextmanager
    def stubs(self) -> Iterator[int]:
        """The neighbours of row 2; the port where they answer."""
        port = _free_port()
        with _running([sys.executable, "-m", "bench.stubs", str(port)], self.environment, port):
            yield port

    @contextlib.contextmanager
    def plain(self, stubs: int) -> Iterator[int]:
        """The plain service of row 2 on the yardstick's database, with neighbours at `stubs`; the port where it answers."""
        port, url = _free_port(), f"http://127.0.0.1:{stubs}"
        with _running([sys.executable, "-m", "bench.plain.app", str(port), self.yard, url], self.environment, port):
            yield port

    @contextlib.contextmanager
    def simple(self) -> Iterator[int]:
        """The bare HTTP handler of `bench.payme` on the yardstick's database; the port where it answers."""
        from bench.simple import TABLE as SIMPLE

        self.ask(self.yard, SIMPLE)
        port = _free_port()
        with _running([sys.executable, "-m", "bench.simple", str(port), self.yard], self.environment, port):
            yield port

    def token_of(self, user: int | str) -> str:
        """A token of another buyer."""
        return _token(self.environment["JWT_SECRET"], user)

    def free_port(self) -> int:
        """A port of this machine that nobody listens on."""
        return _free_port()

    def another(self, name: str) -> str:
        """One more database with the schema of Kassa, empty."""
        dsn = _database(self.dsn, name)
        migrate.upgrade(dsn)
        return dsn

    def drop(self, dsn: str) -> None:
        """Give back the room of a database that is not needed any more."""
        self.ask(self.dsn, f"DROP DATABASE {urlsplit(dsn).path.lstrip('/')} WITH (FORCE)")

    def stocked(self, name: str) -> str:
        """One more database, with a shop as in `dsn`."""
        dsn = self.another(name)
        asyncio.run(_stock(dsn))
        return dsn

    @contextlib.contextmanager
    def working(self, settings: dict[str, str]) -> Iterator[None]:
        """`kassa work` with these settings, as it is deployed."""
        process = subprocess.Popen([sys.executable, "-m", "kassa", "work"], env=self.environment | settings)
        try:
            yield
        finally:
            _end(process)

    def verify(self, settings: dict[str, str] | None = None, *, patience_s: float = 600) -> bool:
        """Whether `kassa verify` finds every invariant of the books in order."""
        command = [sys.executable, "-m", "kassa", "verify", "--json"]
        environment = self.environment | (settings or {})
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=patience_s)
        return done.returncode == 0


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment)
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{command[2]} does not answer")
            time.sleep(0.05)
        yield
    finally:
        _end(process)


@contextlib.contextmanager
def town() -> Iterator[Town]:
    """Build it in a folder of its own and take it down again."""
    with tempfile.TemporaryDirectory(prefix="kassa-bench-") as folder, contextlib.ExitStack() as stack:
        stack.enter_context(stoppable())
        home = Path(folder)
        home.chmod(0o755)
        server = embedded.start(home)
        stack.callback(server.stop)
        base = server.ready()
        dsn, yard = _database(base, "kassa_bench"), _database(base, "kassa_yard")
        for each in (dsn, yard):
            migrate.upgrade(each)
            asyncio.run(_stock(each))
        port, secret = _free_port(), secrets.token_urlsafe(48)
        environment = _environment(home, dsn, port, secret)
        process = subprocess.Popen([sys.executable, "-m", "kassa", "serve"], env=environment)
        stack.callback(_end, process)
        _wait(port)
        version = asyncio.run(_version(dsn))
        yield Town(home, port, dsn, yard, version, _token(secret), environment)


def _environment(home: Path, dsn: str, port: int, secret: str) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **keep,
        "DATABASE_URL": dsn,
        "HTTP_PORT": str(port),
        "APP_HOST": "127.0.0.1",
        "JWT_SECRET": secret,
        "KASSA_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
        "KASSA_HOME": str(home / "kassa"),
        "SIMULATED_PAYMENTS": "true",
        "SURFACES": "orders,checkout",
        "LOG_LEVEL": "warning",
        "PRODUCTION": "true",
    }


def _database(base: str, name: str) -> str:
    async def make() -> None:
        connection = await asyncpg.connect(base)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(make())
    return urlunsplit(urlsplit(base)._replace(path=f"/{name}"))


async def _stock(dsn: str) -> None:
    """A shop with one hot product and ten thousand others, each with plenty."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO merchants (merchant_id, name) VALUES ('1', 'Bench')")
    await connection.execute(
        "INSERT INTO channels (merchant_id, channel, currency, methods) VALUES ('1', 'shop', 'INR', '{credit_card}')"
    )
    await connection.execute(
        f"""
        INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency)
        SELECT '1', 'shop', p, p, p, 100, 'INR'
          FROM (SELECT 'p' || n AS p FROM generate_series(1, {SPREAD}) n UNION SELECT '{HOT}') all_of_them
        """
    )
    await connection.execute(
        f"""
        INSERT INTO stock_levels (merchant_id, channel, product_id, available)
        SELECT '1', 'shop', product_id, {PLENTY} FROM products
        """
    )
    await connection.execute(
        f"""
        INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
        SELECT '1', 'shop', product_id, 'initial', 'bench', {PLENTY}, now() FROM products
        """
    )
    await connection.execute("ANALYZE products, stock_levels, stock_journal")
    await connection.close()


async def _version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    found: str = await connection.fetchval("SHOW server_version")
    await connection.close()
    return found


def _token(secret: str, user: int | str = 1) -> str:
    claims = {"id": user, "role": "user", "exp": int(time.time()) + 86400}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
