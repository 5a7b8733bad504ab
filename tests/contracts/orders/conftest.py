"""Buyers, staff, and a second Kassa whose stock nobody else touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest
from tests import rig
from tests.rig import Server

from .journeys import Fresh, SignIn, people, success, visitors


@pytest.fixture
def sign_in(server: Server) -> Iterator[SignIn]:
    with people(server) as sign_in:
        yield sign_in


@pytest.fixture
def visit(server: Server) -> Iterator[Callable[[str | None], httpx2.Client]]:
    with visitors(server) as visit:
        yield visit


@pytest.fixture
def buyer(sign_in: SignIn) -> httpx2.Client:
    return sign_in()


@pytest.fixture
def stranger(sign_in: SignIn) -> httpx2.Client:
    return sign_in()


@pytest.fixture
def staff(sign_in: SignIn) -> httpx2.Client:
    return sign_in(role="staff")


@pytest.fixture
def passer_by(visit: Callable[[str | None], httpx2.Client]) -> httpx2.Client:
    """Somebody without a token."""
    return visit(None)


@pytest.fixture(scope="session")
def fresh(database_server: rig.DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    server = rig.make_server(tmp_path_factory.mktemp("fresh"), database_server.fresh(), {})
    with rig.stopping([server]), visitors(server) as visit:
        server.start()
        opening = success(visit(None).get("/api/products", params={"limit": 100}))["products"]
        yield Fresh(server, opening)


@pytest.fixture
def fresh_sign_in(fresh: Fresh) -> Iterator[SignIn]:
    with people(fresh.server) as sign_in:
        yield sign_in
