"""`kassa channels`: production opens its shop by a command; the same words again change nothing, others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests import rig
from tests.unit.shell.processes import refused, run
from typer.testing import CliRunner, Result

from kassa.cli.app import app
from kassa.cli.show import CommandError

SECRET = "c2l4dHktZm91ciBiaXRzIHRpbWVzIGZvdXIgYXJlIHQ="
OPEN = ("open", "shop", "--currency", "eur", "--method", "credit_card", "--method", "link:stripe", "--delivery-days", "3")
SHOP = {"channel": "shop", "currency": "EUR", "delivery_days": 3, "methods": ["credit_card", "link:stripe"]}


@pytest.fixture
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


def given(home: Path, dsn: str, *words: str) -> Result:
    """A command's end, given in this process."""
    environment = rig.clean_environment(KASSA_HOME=str(home), DATABASE_URL=dsn, PRODUCTION="true", KASSA_SECRET=SECRET)
    done = CliRunner().invoke(app, ["channels", *words], env=environment)
    assert not home.exists(), "production makes no folder of its own"
    return done


def no(home: Path, dsn: str, *words: str) -> str:
    """The line with which a command is refused."""
    done = given(home, dsn, *words)
    assert isinstance(done.exception, CommandError), done.output
    return str(done.exception)


def test_a_channel_is_opened_once_and_keeps_its_words(short_home: Path, dsn: str) -> None:
    def typed(*words: str) -> Any:
        done = given(short_home, dsn, *words, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    assert typed("list") == {"channels": []}
    assert no(short_home, dsn, *OPEN).startswith("--name is missing")
    assert typed(*OPEN, "--name", "Corner Shop", "--why", "we begin") == {"before": None, "after": SHOP}
    assert typed(*OPEN) == {"before": SHOP, "after": SHOP}
    assert typed("list") == {"channels": [SHOP]}
    assert no(short_home, dsn, *OPEN[:-1], "4") == "channel shop is open already, with other words; see `kassa channels list`"
    assert no(short_home, dsn, *OPEN, "--name", "Another").startswith("the house is called Corner Shop already")
    assert rig.query(dsn, "SELECT merchant_id, name FROM merchants") == [{"merchant_id": "1", "name": "Corner Shop"}]
    assert rig.query(dsn, "SELECT merchant_id, act, subject, why FROM audit_log") == [
        {"merchant_id": "1", "act": "channel.open", "subject": "channel:shop", "why": "we begin"}
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("open", "market", *OPEN[2:]), "CHANNEL must be one of shop, ambassadors"),
        (("open", "shop", "--currency", "XXY", "--method", "credit_card"), "--currency must be"),
        (("open", "shop", "--currency", "EUR", "--method", "cheque"), "--method must be"),
        (("open", "shop", "--currency", "EUR", "--method", "link:"), "--method must be"),
        (("open", "shop", "--currency", "EUR", "--method", "payme"), "--method payme needs --currency UZS"),
        ((*OPEN, "--name", " "), "--name must be"),
    ],
)
def test_what_cannot_be_opened_is_one_kind_line(short_home: Path, kassa_dsn: str, words: tuple[str, ...], says: str) -> None:
    assert no(short_home, kassa_dsn, *words).startswith(says)


def test_production_needs_a_database(short_home: Path) -> None:
    assert refused(run(short_home, "channels", "list", PRODUCTION="true")).startswith("DATABASE_URL is not set")
