"""F80: what lacks a secret, or meets another schema, does not start; it says in one line which, and shows nothing of the value."""

from __future__ import annotations

import base64
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from tests import rig

from kassa.settings import Settings, SettingsError

from .processes import refused, run

JWT, KASSA = "pX3vN8qLw2mZr7Tc5kYd9HsBf4GjQa6UeVnM1xRo", base64.b64encode(bytes(range(32))).decode()
GOOD: Final = {"JWT_SECRET": JWT, "KASSA_SECRET": KASSA, "SIMULATED_PAYMENTS": "true", "SURFACES": "orders,checkout"}
COMMANDS: Final = ("serve", "rpc", "work")
GUESSED: Final = "changeme-secret-changeme-secret-changeme"

Case = tuple[str, dict[str, str | None], str]
"""A word for it, what is set otherwise (None: not at all), and how the line begins."""
OF_ALL: Final[list[Case]] = [("no key of keys", {"KASSA_SECRET": None}, "KASSA_SECRET is not set")]
OF_SERVE: Final[list[Case]] = [
    ("no database", {"DATABASE_URL": None}, "DATABASE_URL is not set"),
    ("an empty secret of tokens", {"JWT_SECRET": ""}, "JWT_SECRET is not set"),
    ("a short secret of tokens", {"JWT_SECRET": JWT[:31]}, "JWT_SECRET is shorter"),
    ("a kill point", {"KASSA_CRASH_AT": "checkout.settle:before_commit"}, "KASSA_CRASH_AT is set"),
]
OF_SECRETS_MADE_HERE: Final = {"jwt_secret": "JWT_SECRET", "kassa_secret": "KASSA_SECRET"}
CASES: Final = [*((command, *case) for command in COMMANDS for case in OF_ALL), *(("serve", *case) for case in OF_SERVE)]
READ: Final[list[Case]] = [
    *OF_ALL,
    *OF_SERVE,
    ("no secret of tokens", {"JWT_SECRET": None}, "JWT_SECRET is not set"),
    ("a secret of tokens that can be guessed", {"JWT_SECRET": GUESSED}, "JWT_SECRET is too easy"),
    ("a secret of tokens that is one letter", {"JWT_SECRET": "x" * 64}, "JWT_SECRET is too easy"),
    ("tokens without a signature", {"JWT_ALGORITHM": "none"}, "JWT_ALGORITHM"),
    ("tokens with somebody else's key", {"JWT_ALGORITHM": "RS256"}, "JWT_ALGORITHM"),
    ("a short key of keys", {"KASSA_SECRET": base64.b64encode(b"short" * 3).decode()}, "KASSA_SECRET"),
    ("a key of keys that is one letter", {"KASSA_SECRET": base64.b64encode(b"a" * 32).decode()}, "KASSA_SECRET is too easy"),
    ("a key of keys that is no base64", {"KASSA_SECRET": "*" * 44}, "KASSA_SECRET"),
    ("a short old key of keys", {"KASSA_SECRET_OLD": base64.b64encode(b"short").decode()}, "KASSA_SECRET_OLD"),
    ("another kind of database", {"DATABASE_URL": "mysql://kassa:topsecret@db/kassa"}, "DATABASE_URL must begin"),
]
"""What reading the settings alone refuses, without a process for each."""


@pytest.mark.parametrize(("changes", "says"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_the_settings_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, str | None], says: str
) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    wanted = {"DATABASE_URL": "postgresql://kassa@db/kassa", "KASSA_HOME": str(tmp_path / "home"), **GOOD, **changes}
    for name, value in wanted.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as found:
        Settings.load(False)
    assert str(found.value).startswith(says)
    assert "\n" not in str(found.value)
    for value in (*changes.values(), JWT, KASSA, "topsecret"):
        assert not value or len(value) < 6 or value.startswith("checkout.") or value not in str(found.value)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refusing")


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    """A database with the present schema, so that nothing but the settings can be wrong."""
    return database_server.fresh()


def begun(home: Path, name: str, command: str, dsn: str, changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    own = home / f"{command}-{name.replace(' ', '-')}"
    own.mkdir(exist_ok=True)
    wanted = {"DATABASE_URL": dsn, "GRPC_PORT": str(rig.free_port()), **GOOD, **changes}
    return run(own, command, **{name: value for name, value in wanted.items() if value is not None})


@pytest.fixture(scope="module")
def outcomes(home: Path, dsn: str) -> dict[tuple[str, str], subprocess.CompletedProcess[str]]:
    """How all of them ended, a few at a time."""
    with ThreadPoolExecutor(3) as hands:
        ended = hands.map(lambda case: begun(home, case[1], case[0], dsn, case[2]), CASES)
        return {(case[0], case[1]): done for case, done in zip(CASES, ended, strict=True)}


@pytest.mark.parametrize(("command", "name", "changes", "says"), CASES, ids=[f"{case[0]}, {case[1]}" for case in CASES])
def test_it_names_what_is_wrong(
    outcomes: dict[tuple[str, str], subprocess.CompletedProcess[str]],
    command: str,
    name: str,
    changes: dict[str, str | None],
    says: str,
) -> None:
    done = outcomes[command, name]
    assert refused(done).startswith(says)
    for value in (*changes.values(), JWT, KASSA, "topsecret"):
        assert not value or len(value) < 6 or value.startswith("checkout.") or value not in done.stdout + done.stderr


@pytest.mark.parametrize("kept", OF_SECRETS_MADE_HERE)
def test_a_secret_that_was_made_for_development_is_refused(home: Path, dsn: str, kept: str) -> None:
    name = OF_SECRETS_MADE_HERE[kept]
    own = home / f"serve-{kept}" / "secrets"
    own.mkdir(parents=True)
    (own / kept).write_text(GOOD[name] + "\n")
    done = begun(home, kept, "serve", dsn, {})
    assert refused(done).startswith(f"{name} is the development secret")
    assert GOOD[name] not in done.stderr


def another_schema(database_server: rig.DatabaseServer, kind: str) -> str:
    if kind == "none":
        return database_server.empty()
    dsn = database_server.fresh()
    known = rig.query(dsn, "SELECT version_num FROM alembic_version")[0]["version_num"]
    other = f"{int(known[:4]) - 1:04}" if kind == "older" else "9999"
    names = sorted(path.stem for path in (rig.ROOT / "src" / "kassa" / "migrations" / "versions").glob(f"{other}*.py"))
    ids = [line.split('"')[1] for name in names for line in _lines_of(name) if line.startswith("revision")]
    rig.query(dsn, "UPDATE alembic_version SET version_num = $1", ids[0] if ids else other)
    if kind == "newer":  # and it takes away what this code needs
        rig.query(dsn, "COMMENT ON TABLE alembic_version IS 'kassa: code of 9999 or later'")
    return dsn


def _lines_of(name: str) -> list[str]:
    return (rig.ROOT / "src" / "kassa" / "migrations" / "versions" / f"{name}.py").read_text().splitlines()


@pytest.mark.parametrize(("kind", "commands"), [("none", ("serve",)), ("older", COMMANDS), ("newer", ("serve",))])
def test_another_schema_is_not_served(
    database_server: rig.DatabaseServer, home: Path, kind: str, commands: tuple[str, ...]
) -> None:
    """Neither one that this code has outgrown nor one that it does not know yet; all three kinds of process look."""
    dsn = another_schema(database_server, kind)
    with ThreadPoolExecutor(3) as hands:
        ended = list(hands.map(lambda command: begun(home, f"schema {kind}", command, dsn, {}), commands))
    for done in ended:
        assert done.returncode == 2, done.stderr
        assert "schema" in refused(done)
