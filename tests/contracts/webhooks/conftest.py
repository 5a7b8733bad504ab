"""Offices: a Kassa, a merchants' server and a provider that can be told what to do; one shared, others for one file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests import rig
from tests.contracts.payments.provider import Provider
from tests.contracts.payments.till import Mall, is_well
from tests.contracts.webhooks.desk import Office
from tests.contracts.webhooks.merchants import FakeMerchant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartKassa

SHORT = "0,1,1,1"


class OpenOffice(Protocol):
    """What the fixture `open_office` gives."""

    def __call__(self, **settings: Any) -> Office:
        """A Kassa of these settings, with a merchants' server and a provider of its own, for this file alone.

        A setting may be a function of the merchants' server; None is a setting that is not there.
        """


@contextlib.contextmanager
def _strangers() -> Iterator[tuple[FakeMerchant, Provider]]:
    fake, provider = FakeMerchant(), Provider()
    try:
        yield fake, provider
    finally:
        fake.stop()
        provider.stop()


def _settings(provider: Provider, **more: Any) -> dict[str, Any]:
    settings = {
        "PROVIDER_URL": provider.url,
        "TRUST_MERCHANT_HEADER": "true",
        "ALLOW_PRIVATE_CALLBACKS": "true",
        "WEBHOOK_RETRY_SECONDS": SHORT,
        "WEBHOOK_TIMEOUT_S": "2",
        **more,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _ended_well(server: rig.Server) -> None:
    """Neither surprised nor dead; one that a test had stopped was not surprised before."""
    if server.process is not None:
        is_well(server)
    assert "Traceback" not in server.log_text(), server.log_text()[-4000:]


@pytest.fixture(scope="session")
def _common_office(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Office]:
    with _strangers() as (fake, provider):
        server = rig.make_server(_homes("hook"), database_server.fresh(), _settings(provider))
        with rig.stopping([server]):
            server.start()
            yield Office(Mall(server, provider), fake)


@pytest.fixture
def office(_common_office: Office) -> Iterator[Office]:
    """The shared office: four attempts a second apart, two seconds each. Endpoints that a test makes end with it."""
    before = len(_common_office.server.log_text())
    yield _common_office
    _common_office.clear()
    is_well(_common_office.server, before)


@pytest.fixture(scope="module")
def open_office(start_kassa: StartKassa) -> Iterator[OpenOffice]:
    """Open offices with settings of their own; they end with the file."""
    with contextlib.ExitStack() as closing:

        def open_(**settings: Any) -> Office:
            fake, provider = closing.enter_context(_strangers())
            given = {name: value(fake) if callable(value) else value for name, value in settings.items()}
            server = start_kassa(**_settings(provider, **given))
            closing.callback(_ended_well, server)
            return Office(Mall(server, provider), fake)

        yield open_
