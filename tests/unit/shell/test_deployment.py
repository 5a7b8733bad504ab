"""`kassa serve` and `kassa work` are production by default, and begin only when everything they need is there."""

from __future__ import annotations

import base64
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run


@pytest.fixture
def good(database_server: rig.DatabaseServer) -> dict[str, str]:
    """What production needs."""
    return {
        "DATABASE_URL": database_server.fresh(),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "KASSA_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
    }


@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize("missing", ["DATABASE_URL", "JWT_SECRET", "KASSA_SECRET"])
def test_what_is_missing_is_named(short_home: Path, good: dict[str, str], command: str, missing: str) -> None:
    del good[missing]
    assert refused(run(short_home, command, **good)).startswith(f"{missing} is not set")
    assert not short_home.exists(), "production makes no secrets of its own"


@pytest.mark.parametrize("command", ["serve", "work"])
def test_an_old_schema_is_named(short_home: Path, good: dict[str, str], database_server: rig.DatabaseServer, command: str) -> None:
    good["DATABASE_URL"] = database_server.empty()
    assert "run `kassa migrate`" in refused(run(short_home, command, **good))


def test_development_without_a_database_says_so(short_home: Path) -> None:
    assert refused(run(short_home, "serve", PRODUCTION="false")).startswith("DATABASE_URL is not set")


@pytest.mark.parametrize("command", ["serve", "work"])
def test_it_runs_and_ends_on_sigterm(short_home: Path, good: dict[str, str], command: str) -> None:
    port = rig.free_port()
    environment = rig.clean_environment(KASSA_HOME=str(short_home), HTTP_PORT=str(port), APP_HOST="127.0.0.1", **good)
    process = subprocess.Popen([sys.executable, "-m", "kassa", command], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert ("serving" if command == "serve" else "working") in line, line
    deadline = time.monotonic() + 10
    while command == "serve" and not rig.answers(f"http://127.0.0.1:{port}/ready"):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_demo_data_are_refused_in_production(short_home: Path, good: dict[str, str]) -> None:
    assert "PRODUCTION is true" in refused(run(short_home, "seed", PRODUCTION="true", **good))


def test_migrate_needs_a_database_and_nothing_else(short_home: Path, database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    assert "run `kassa migrate`" in refused(run(short_home, "migrate", "--check", PRODUCTION="true", DATABASE_URL=dsn))
    done = run(short_home, "migrate", "--json", PRODUCTION="true", DATABASE_URL=dsn)
    assert done.returncode == 0, done.stderr
    assert '"schema"' in done.stdout
    assert run(short_home, "migrate", "--check", PRODUCTION="true", DATABASE_URL=dsn).returncode == 0
