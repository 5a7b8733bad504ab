"""The command line for people and for scripts: help that teaches, tokens, the books, the buyers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests import rig
from tests.conftest import StartKassa, StartSandbox
from tests.unit.shell.processes import refused, run

from kassa.cli.show import CommandError
from kassa.cli.token import seconds

COMMANDS = ["dev", "serve", "work", "migrate", "seed", "token", "sandbox", "verify", "simulate", "listen"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(short_home: Path, command: str) -> None:
    done = run(short_home, command, "--help")
    assert done.returncode == 0
    assert f"kassa {command}" in done.stdout


def test_the_list_of_commands_is_the_help(short_home: Path) -> None:
    done = run(short_home, "--help")
    assert all(command in done.stdout for command in COMMANDS)


def test_a_token_says_who_and_until_when(short_home: Path) -> None:
    done = run(short_home, "token", "--user", "900", "--role", "staff", "--ttl", "30m", "--json", JWT_SECRET=rig.JWT_SECRET)
    content = json.loads(done.stdout)
    claims = jwt.decode(content["token"], OctKey.import_key(rig.JWT_SECRET)).claims
    assert (claims["id"], claims["role"], claims["exp"] - claims["iat"]) == (900, "staff", 1800)


def test_a_user_that_is_no_number_stays_text(short_home: Path) -> None:
    done = run(short_home, "token", "--user", "007", JWT_SECRET=rig.JWT_SECRET)
    assert jwt.decode(done.stdout.strip(), OctKey.import_key(rig.JWT_SECRET)).claims["id"] == "007"


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)])
def test_times_are_read(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "1w", "9999999d", "1.5h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--ttl"):
        seconds(text)


def test_buyers_come_and_the_books_are_right(start_kassa: StartKassa, short_home: Path) -> None:
    server = start_kassa()
    done = run(
        server.home,
        "simulate",
        "--buyers",
        "40",
        "--url",
        server.url,
        "--json",
        DATABASE_URL=server.dsn,
        JWT_SECRET=rig.JWT_SECRET,
    )
    facts = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + server.log_text()[-3000:]
    assert facts["faults"] == {}
    assert facts["breaches"] == []
    assert facts["outcomes"]["paid"] > 5
    assert facts["latency_ms"]["order"]["calls"] > 5
    again = run(server.home, "verify", "--json", DATABASE_URL=server.dsn)
    assert (again.returncode, json.loads(again.stdout)["breaches"]) == (0, [])
    assert not short_home.exists()


def test_no_server_no_buyers(short_home: Path) -> None:
    assert "no Kassa answers at http://localhost:" in refused(run(short_home, "simulate", "--buyers", "1"))


def test_the_sandbox_runs_alone(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox()
    sandbox.script("payment", "process", "error", times=2)
    assert sandbox.book()["charges"] == []
    sandbox.clear()
    assert sandbox.stop() == 0
    assert "Traceback" not in sandbox.log_text()


def test_seeding_twice_changes_nothing(short_home: Path, database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    assert run(short_home, "seed", DATABASE_URL=dsn).returncode == 0
    before = rig.query(dsn, "SELECT * FROM products ORDER BY 1, 2, 3")
    rig.query(dsn, "UPDATE stock_levels SET available = available - 1 WHERE available > 0")
    stock = rig.query(dsn, "SELECT * FROM stock_levels ORDER BY 1, 2, 3")
    assert run(short_home, "seed", "--json", DATABASE_URL=dsn).returncode == 0
    assert rig.query(dsn, "SELECT * FROM products ORDER BY 1, 2, 3") == before
    assert rig.query(dsn, "SELECT * FROM stock_levels ORDER BY 1, 2, 3") == stock
