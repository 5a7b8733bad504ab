"""One Kassa with two sides in it, for all files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import rig

from .town import SETTINGS, Town, a_sink, build


@pytest.fixture(scope="session")
def _settled_town(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Town]:
    server = rig.make_server(_homes("nobody"), database_server.fresh(), {**SETTINGS, "TRUST_MERCHANT_HEADER": "false"})
    with a_sink() as sink, rig.stopping([server]):
        server.start()
        yield build(server, sink)


@pytest.fixture
def town(_settled_town: Town) -> Iterator[Town]:
    """A Kassa that trusts no header, with an owner and a stranger. Nobody may change what they have."""
    before = len(_settled_town.server.log_text())
    yield _settled_town
    assert _settled_town.server.alive()
    log = _settled_town.server.log_text()[before:]
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
