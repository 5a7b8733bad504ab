"""The switch of Payme's Subscribe API and its address: where it is on, and over what a cashbox's key may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests import rig
from tests.unit.shell.test_settings_payme import CASHBOX, GOOD, complaint, loaded


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_it_is_on_with_the_cashbox_that_development_makes() -> None:
    assert loaded().payme_subscribe is True
    assert loaded(PAYME_SUBSCRIBE="false").payme_subscribe is False


@pytest.mark.parametrize("development", [True, False])
def test_it_is_off_with_any_other_until_it_is_asked_for(development: bool) -> None:
    assert loaded(development, **GOOD, **CASHBOX).payme_subscribe is False
    assert loaded(development, **GOOD, **CASHBOX, PAYME_SUBSCRIBE="true").payme_subscribe is True


def test_production_sends_the_key_over_https_alone() -> None:
    said = complaint(development=False, **GOOD, **CASHBOX, PAYME_SUBSCRIBE="true", PAYME_API_URL="http://payme.example/api")
    assert said.startswith("PAYME_API_URL is not https")


@pytest.mark.parametrize("url", ["https://checkout.paycom.uz/api", "http://localhost:8010/sandbox/payme-api", "http://[::1]:1/a"])
def test_production_may_reach_this_machine_or_the_world_by_https(url: str) -> None:
    assert loaded(development=False, **GOOD, **CASHBOX, PAYME_API_URL=url).payme_api_url == url


def test_development_may_reach_anybody() -> None:
    assert loaded(PAYME_API_URL="http://payme.example/api").payme_api_url == "http://payme.example/api"


@pytest.mark.parametrize("wrong", ["perhaps", "2"])
def test_the_switch_is_on_or_off(wrong: str) -> None:
    assert complaint(PAYME_SUBSCRIBE=wrong).startswith("PAYME_SUBSCRIBE ")
