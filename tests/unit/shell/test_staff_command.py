"""`kassa staff`: who may sign in at the back office. Passwords come from the terminal or standard input, and go nowhere else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run

from kassa.staff.passwords import is_password

SECRET = "c2l4dHktZm91ciBiaXRzIHRpbWVzIGZvdXIgYXJlIHQ="
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


def told(home: Path, dsn: str, *words: str, typed: str = "", code: int = 0) -> Any:
    """Give a command with `typed` at its standard input, and read what it says; the line on standard error when it declines."""
    environment = rig.clean_environment(KASSA_HOME=str(home), DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=SECRET)
    command = [sys.executable, "-m", "kassa", "staff", *words, *([] if code else ["--json"])]
    done = subprocess.run(
        command, env=environment, cwd=home.parent, capture_output=True, text=True, timeout=100, check=False, input=typed
    )
    assert done.returncode == code, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return json.loads(done.stdout) if not code else refused(done)


def kept(dsn: str, name: str) -> dict[str, Any]:
    [row] = rig.query(dsn, "SELECT merchant_id, email, role, password_hash, disabled_at FROM staff_accounts WHERE name = $1", name)
    return row


def test_an_account_is_made_closed_and_opened_again(short_home: Path, dsn: str) -> None:
    made = told(
        short_home, dsn, "add", "Ana", "--email", "ana@example.com", "--role", "admin", "--password-stdin", typed=PASSWORD + "\n"
    )
    assert (made["before"], made["after"]["name"], made["after"]["role"]) == (None, "ana", "admin")
    row = kept(dsn, "ana")
    assert row["merchant_id"] == "1"
    assert asyncio.run(is_password(row["password_hash"], PASSWORD))
    told(short_home, dsn, "add", "bea", "--email", "bea@example.com", "--password-stdin", typed=PASSWORD + "\n")
    assert "only admin" in told(short_home, dsn, "disable", "ana", code=2)
    for word, disabled in (("disable", True), ("disable", True), ("enable", False)):
        told(short_home, dsn, word, "bea", "--why", "a year abroad")
        assert (kept(dsn, "bea")["disabled_at"] is not None) == disabled
    listed = told(short_home, dsn, "list")["accounts"]
    assert [(each["name"], each["role"]) for each in listed] == [("ana", "admin"), ("bea", "staff")]
    assert "scrypt" not in json.dumps(listed)
    acts = rig.query(dsn, "SELECT who_kind, act, why FROM audit_log WHERE merchant_id = '1' ORDER BY place")
    assert [row["act"] for row in acts] == ["staff.add", "staff.add", "staff.disable", "staff.enable"]
    assert {row["who_kind"] for row in acts} == {"operator"}
    assert acts[2]["why"] == "a year abroad"
    assert "correct horse" not in str(acts)


def test_another_password_ends_the_sessions(short_home: Path, dsn: str) -> None:
    told(short_home, dsn, "add", "cyd", "--email", "cyd@example.com", "--password-stdin", typed="a first password")
    rig.query(
        dsn,
        """
        INSERT INTO staff_sessions (merchant_id, session_id, account_id, token_hash, address, created_at, seen_at)
        SELECT merchant_id, gen_random_uuid(), account_id, sha256('x'), 'here', kassa_now(), kassa_now() FROM staff_accounts WHERE name = 'cyd'
        """,
    )
    told(short_home, dsn, "password", "cyd", "--password-stdin", typed=PASSWORD)
    assert asyncio.run(is_password(kept(dsn, "cyd")["password_hash"], PASSWORD))
    assert rig.query(dsn, "SELECT ended_at IS NOT NULL AS ended FROM staff_sessions") == [{"ended": True}]


@pytest.mark.parametrize(
    ("words", "typed", "why"),
    [
        (("add", "dan", "--email", "dan@example.com", "--password-stdin"), "short\n", "12 to 200 characters"),
        (("add", "dan", "--email", "dan@example.com", "--password-stdin"), "", "12 to 200 characters"),
        (("add", "D", "--email", "dan@example.com", "--password-stdin"), PASSWORD, "2 to 64 small letters"),
        (("add", "dan", "--email", "nowhere", "--password-stdin"), PASSWORD, "an e-mail address"),
        (("add", "dan", "--email", "dan@example.com"), PASSWORD, "give --password-stdin"),
        (("password", "nobody", "--password-stdin"), PASSWORD, "no such account"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(short_home: Path, dsn: str, words: tuple[str, ...], typed: str, why: str) -> None:
    assert why in told(short_home, dsn, *words, typed=typed, code=2)


def test_a_password_is_no_argument(short_home: Path, dsn: str) -> None:
    done = run(short_home, "staff", "add", "eva", "--email", "eva@example.com", "--password", PASSWORD, DATABASE_URL=dsn)
    assert done.returncode == 2
    assert "No such option" in done.stderr
