"""Callers, a strict house, and a house that a test may stop, slow down and cut off from its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import grpc
import pytest
from tests import rig
from tests.contracts.grpc.callers import Caller


class Meet(Protocol):
    """What the fixture `meet` gives."""

    def __call__(self, address: str, *, credentials: grpc.ChannelCredentials | None = None, **said: str) -> Caller:
        """A caller at this address who says this: `meet(server.grpc, x_api_key="sk_demo_2")`."""


@pytest.fixture
def meet() -> Iterator[Meet]:
    """Make callers; all are sent away at the end of the test."""
    with ExitStack() as leaving:

        def meet(address: str, *, credentials: grpc.ChannelCredentials | None = None, **said: str) -> Caller:
            words = [(name.replace("_", "-"), value) for name, value in said.items()]
            caller = Caller(address, words, credentials)
            leaving.callback(caller.close)
            return caller

        yield meet


@pytest.fixture
def nobody(server: rig.Server, meet: Meet) -> Caller:
    """Somebody without credentials, whom the house takes for its own merchant."""
    return meet(server.grpc)


@pytest.fixture
def shop(server: rig.Server, meet: Meet) -> Caller:
    """Merchant 2, by its key."""
    return meet(server.grpc, x_api_key="sk_demo_2")


def _lasting(database_server: rig.DatabaseServer, factory: pytest.TempPathFactory, **settings: str) -> Iterator[rig.Server]:
    server = rig.make_server(factory.mktemp("grpc"), database_server.fresh(), dict(settings))
    with rig.stopping([server]):
        server.start()
        yield server


@pytest.fixture(scope="session")
def strict(database_server: rig.DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Server]:
    """A Kassa that trusts no header, explains nothing, takes other currencies and does not wait long for a payment."""
    yield from _lasting(
        database_server,
        tmp_path_factory,
        TRUST_MERCHANT_HEADER="false",
        GRPC_REFLECTION="false",
        GRPC_CURRENCIES="KWD,USD,UZS",
        PAYMENT_LINK_TTL_S="2",
    )


@pytest.fixture(scope="session")
def own(database_server: rig.DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Server]:
    """A Kassa for tests that stop it, slow it down or cut it off. Leave it running and whole."""
    yield from _lasting(database_server, tmp_path_factory)
