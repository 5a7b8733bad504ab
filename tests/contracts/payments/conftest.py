"""One Kassa with a provider that can be told what to do, for all files; and others that a file starts for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests import rig

from .provider import Provider
from .till import Mall, is_well

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@pytest.fixture(scope="session")
def _common_mall(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Mall]:
    provider = Provider()
    settings = {"PROVIDER_URL": provider.url, "TRUST_MERCHANT_HEADER": "true"}
    server = rig.make_server(_homes("pay"), database_server.fresh(), settings)
    try:
        with rig.stopping([server]):
            server.start()
            yield Mall(server, provider)
    finally:
        provider.stop()


@pytest.fixture(scope="module")
def mall(_common_mall: Mall) -> Iterator[Mall]:
    """A Kassa with a scripted provider, shared: no test may count on what it holds, or use up merchants 4 and 8."""
    before = len(_common_mall.server.log_text())
    yield _common_mall
    is_well(_common_mall.server, before)


@pytest.fixture(scope="module")
def own_mall(start_kassa: StartKassa) -> Iterator[Mall]:
    """The same, for this file alone."""
    provider = Provider()
    try:
        server = start_kassa(PROVIDER_URL=provider.url, TRUST_MERCHANT_HEADER="true")
        yield Mall(server, provider)
        is_well(server)
    finally:
        provider.stop()


@pytest.fixture(scope="module")
def sandbox(start_kassa: StartKassa) -> Iterator[Mall]:
    """A Kassa without a provider: its sandbox plays one. As `make run` starts it."""
    server = start_kassa()
    yield Mall(server)
    is_well(server)


@pytest.fixture
def merchant(mall: Mall) -> httpx2.Client:
    """Merchant 1, with the key that may do everything."""
    return mall.merchant(1)


@pytest.fixture
def stranger(mall: Mall) -> httpx2.Client:
    return mall.merchant(2)
