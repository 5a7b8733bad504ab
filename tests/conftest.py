"""Fixtures for everybody. What they give is described in `rig.py`.

The test run (not one of its parallel workers) decides which PostgreSQL is used: the one at `DATABASE_URL` or at 127.0.0.1:5432 if it has room and
answers and lets us create databases, else an embedded one that lives as long as the run.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests import rig

from kassa.kit.context import about

pytest_plugins = ["tests.services"]

_RUN = "KASSA_TEST_RUN"
_SERVER = "KASSA_TEST_SERVER"
_open = contextlib.ExitStack()


class StartKassa(Protocol):
    """What the fixture `start_kassa` gives."""

    def __call__(self, *, database: str | None = None, **settings: Any) -> rig.Server:
        """Start a server with these settings (by their environment names) and wait until it is ready."""


StartSandbox = Callable[[], rig.Sandbox]


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder and a PostgreSQL; its workers inherit both through the environment."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background: programs that are tried would inherit it
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or config.option.collectonly or os.environ.get("KASSA_TEST_DATABASE") == "none":
        return
    run = Path(tempfile.mkdtemp(prefix=rig.run_prefix()))
    run.chmod(0o755)
    _open.callback(shutil.rmtree, run, ignore_errors=True)
    os.environ[_RUN] = str(run)
    os.environ[_SERVER] = _open.enter_context(rig.postgres_for(run))
    _open.callback(lambda: rig.this_run().drop_all())
    rig.drop_left_behind(os.environ[_SERVER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the databases of this run and stop the embedded server, if one was started."""
    if not hasattr(config, "workerinput"):
        _open.close()


@pytest.fixture(scope="session")
def database_server() -> Iterator[rig.DatabaseServer]:
    """The PostgreSQL of this run: gives `fresh()` (migrated) and `empty()` databases."""
    server = rig.this_run()
    yield server
    server.drop_mine()


@pytest.fixture(scope="session")
def kassa_dsn(database_server: rig.DatabaseServer) -> str:
    """A migrated database without rows, one per test process."""
    return database_server.fresh()


@pytest.fixture(scope="session")
def _homes() -> Iterator[Callable[[str], Path]]:
    # Short paths: a Unix socket's may have 100 characters.
    base = Path(tempfile.mkdtemp(prefix="kassa-"))
    base.chmod(0o755)
    numbers = itertools.count()
    yield lambda name: base / f"{name}{next(numbers)}"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def _started() -> Iterator[list[rig.Running]]:
    with rig.stopping([]) as started:
        yield started


@pytest.fixture(autouse=True)
def _about_nothing() -> None:
    """An asynchronous fixture's context variables stay in its process: what tests before this one were about."""
    about.set({})


@pytest.fixture(autouse=True)
def _stop_what_this_test_started(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module's fixture started lives as long as the module; what a test started ends with the test."""
    if not {"start_kassa", "start_sandbox"} & set(request.fixturenames):
        yield
        return
    started = request.getfixturevalue("_started")
    before = len(started)
    yield
    rig.stop_from(started, before)


@pytest.fixture(scope="module")
def start_kassa(database_server: rig.DatabaseServer, _homes: Callable[[str], Path], _started: list[rig.Running]) -> StartKassa:
    """Start servers: `start_kassa(RATE_LIMIT="1/second")`, `start_kassa(database=dsn)`. A fresh database by default.

    One that comes to the database of another has its `KASSA_SECRET`, too, unless it is given one.
    """

    def start(*, database: str | None = None, **settings: Any) -> rig.Server:
        first = next((each for each in _started if isinstance(each, rig.Server) and each.dsn == database), None)
        if first is not None and "KASSA_SECRET" not in settings:
            settings["KASSA_SECRET"] = first.kassa_secret
        server = rig.make_server(_homes("k"), database or database_server.fresh(), settings)
        _started.append(server)
        server.start()
        return server

    return start


@pytest.fixture(scope="module")
def start_sandbox(_homes: Callable[[str], Path], _started: list[rig.Running]) -> StartSandbox:
    """Start sandboxes that run alone: stand-ins for every neighbour, scripted by the test."""

    def start() -> rig.Sandbox:
        sandbox = rig.make_sandbox(_homes("s"))
        _started.append(sandbox)
        sandbox.start()
        return sandbox

    return start


@pytest.fixture(scope="session")
def server(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[rig.Server]:
    """One server with default settings and no neighbours, shared by all tests of a process: leave it as you found it."""
    started = rig.make_server(_homes("shared"), database_server.fresh(), {})
    with rig.stopping([started]):
        started.start()
        yield started
