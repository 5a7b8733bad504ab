"""The embedded PostgreSQL: it keeps what was committed, dies with its owner, and starts again after anything."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests import rig
from tests.unit.shell.processes import servers, shells, until_gone

from kassa.kit import embedded

OWNER = """
import sys, time
from pathlib import Path
from kassa.kit import embedded
server = embedded.start(Path(sys.argv[1]))
print(server.ready(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(short_home: Path) -> Path:
    return short_home


@pytest.fixture
def owner(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a running server and waits to be killed."""
    process = start_owner(home)
    yield process
    process.kill()
    process.communicate()
    until_gone(home)


def start_owner(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)], env=rig.clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def test_what_was_committed_is_there_at_the_next_start(home: Path) -> None:
    with embedded.running(home) as dsn:
        rig.query(dsn, "CREATE TABLE kept AS SELECT 1 AS one")
    with embedded.running(home) as dsn:
        assert rig.query(dsn, "SELECT one FROM kept") == [{"one": 1}]
        assert int(rig.query(dsn, "SHOW server_version_num")[0]["server_version_num"]) >= 180000
    until_gone(home)


def test_it_is_safe_rather_than_fast_and_logs_nothing_private(home: Path) -> None:
    with embedded.running(home) as dsn:
        rows = rig.query(dsn, "SELECT name, setting FROM pg_settings")
        found = {row["name"]: row["setting"] for row in rows}
        with pytest.raises(Exception, match="does not exist"):
            rig.query(dsn, "SELECT '4111111111111111' FROM no_such_table")
    assert (found["fsync"], found["synchronous_commit"], found["full_page_writes"]) == ("on", "on", "on")
    assert found["listen_addresses"] == ""
    assert "4111111111111111" not in (home / "logs" / "postgres.log").read_text()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no batch scheduling")
def test_it_does_not_push_aside_who_asks_it_and_leaves_its_owner_as_it_was(home: Path) -> None:
    with embedded.running(home) as dsn:
        rig.query(dsn, "SELECT 1")
        policies = {os.sched_getscheduler(process.pid) for process in servers(home)}
        assert policies == {os.SCHED_BATCH}
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_it_starts_where_nobody_may_choose_how_turns_are_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getscheduler", forbidden, raising=False)
    with embedded.running(home) as dsn:
        assert rig.query(dsn, "SELECT 1 AS one") == [{"one": 1}]
    monkeypatch.delattr(os, "sched_getscheduler")
    with embedded.running(home) as dsn:
        assert rig.query(dsn, "SELECT 1 AS one") == [{"one": 1}]


def test_nobody_enters_without_the_password(home: Path) -> None:
    with embedded.running(home) as dsn:
        password = dsn.split(":")[2].split("@")[0]
        assert stat.S_IMODE((home / "secrets" / "postgres").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "database_url").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "run").stat().st_mode) == 0o700
        with pytest.raises(Exception, match="password"):
            rig.query(dsn.replace(password, "guess"), "SELECT 1")
    assert not (home / "database_url").exists()


def test_kill_9_of_the_owner_stops_the_server(home: Path, owner: subprocess.Popen[str]) -> None:
    assert servers(home)
    owner.kill()
    until_gone(home)
    with embedded.running(home) as dsn:
        rig.query(dsn, "SELECT 1")


def test_kill_9_of_the_owners_whole_group_stops_the_server(home: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(home)]
    process = subprocess.Popen(command, env=rig.clean_environment(), stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until_gone(home)


def test_a_server_that_outlived_everything_is_stopped_at_the_next_start(home: Path, owner: subprocess.Popen[str]) -> None:
    dsn = embedded.dsn_of_running(home) or ""
    rig.query(dsn, "CREATE TABLE kept AS SELECT 1 AS one")
    for shell in shells(home):
        shell.kill()
    owner.kill()
    owner.wait()
    assert servers(home), "this test needs a survivor"
    with embedded.running(home) as dsn:
        assert rig.query(dsn, "SELECT one FROM kept") == [{"one": 1}]
    until_gone(home)


def test_a_power_cut_loses_nothing(home: Path, owner: subprocess.Popen[str]) -> None:
    rig.query(embedded.dsn_of_running(home) or "", "CREATE TABLE kept AS SELECT 1 AS one")
    for process in [owner, *shells(home), *servers(home)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one may have ended with the one before it
            process.kill()
    owner.wait()
    until_gone(home)
    assert (home / "postgres" / "postmaster.pid").exists()
    with embedded.running(home) as dsn:
        assert rig.query(dsn, "SELECT one FROM kept") == [{"one": 1}]


def test_a_pid_file_whose_number_is_another_programs_is_no_hindrance(home: Path) -> None:
    with embedded.running(home):
        lines = (home / "postgres" / "postmaster.pid").read_text().splitlines()
    (home / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with embedded.running(home) as dsn:
        rig.query(dsn, "SELECT 1")


def test_a_start_that_died_half_way_is_begun_anew(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "postgresql.conf").write_text("")
    with embedded.running(home) as dsn:
        rig.query(dsn, "SELECT 1")


def test_two_owners_cannot_have_one_home(home: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(embedded.EmbeddedInUse, match=f"process {owner.pid}"):
        embedded.start(home)
    assert rig.query(embedded.dsn_of_running(home) or "", "SELECT 1 AS one") == [{"one": 1}]


def test_nothing_runs_where_nothing_was_started(home: Path) -> None:
    assert embedded.dsn_of_running(home) is None
    with embedded.running(home):
        pass
    assert embedded.dsn_of_running(home) is None


def test_data_of_another_postgresql_are_refused_and_kept(home: Path) -> None:
    with embedded.running(home):
        pass
    (home / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(embedded.EmbeddedError, match="made by PostgreSQL 17"):
        embedded.start(home)


def test_a_file_where_the_home_should_be_is_named(home: Path) -> None:
    home.write_text("")
    with pytest.raises(embedded.EmbeddedError, match="is not a folder"):
        embedded.start(home)


def test_a_path_too_long_for_a_socket_works_too(home: Path) -> None:
    with embedded.running(home / ("deep" * 12) / ("deeper" * 10)) as dsn:
        rig.query(dsn, "SELECT 1")


def test_a_folder_closed_to_others_works_too(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    with embedded.running(closed / "home") as dsn:
        rig.query(dsn, "SELECT 1")
