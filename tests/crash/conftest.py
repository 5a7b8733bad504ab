"""Fixtures of the crash tests."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from tests import rig, services
from tests.unit.notices.mailbox import open_mailbox

from ambassador_service import ambassador_pb2
from kassa.demo import AMBASSADOR_PRICES as PRICES

from .hooks import Hooks
from .nursery import Nursery
from .playing import Town
from .rooms import close_rooms, make_rooms


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that forks; one per test process."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def open_town(nursery: Nursery, database_server: rig.DatabaseServer) -> Iterator[Callable[..., Town]]:
    """Open towns: `open_town("payment", "order")` has these neighbours. Everything in them ends with the test."""
    base = Path(tempfile.mkdtemp(prefix="kassa-"))
    towns: list[Town] = []
    numbers = itertools.count()

    def open_one(*neighbours: str) -> Town:
        town = Town(nursery, base / f"t{next(numbers)}", database_server.fresh(), neighbours)
        towns.append(town)
        town.open()
        return town

    yield open_one
    for town in towns:
        town.close()
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def open_rooms() -> Iterator[Callable[[], dict[str, str]]]:
    """Settings for a broker with an exchange and a queue that nobody else uses; both are gone after the test."""
    opened: list[dict[str, str]] = []

    def open_one() -> dict[str, str]:
        opened.append(make_rooms(services.shared(services.RABBITMQ)))
        return opened[-1]

    yield open_one
    for rooms in opened:
        close_rooms(rooms)


@pytest.fixture
def open_post() -> Iterator[Callable[[Hooks], dict[str, str]]]:
    """Settings for a mail server of the test's own, whose letters are noted in the book of `hooks`."""
    with contextlib.ExitStack() as stack:

        def open_one(hooks: Hooks) -> dict[str, str]:
            mailbox = stack.enter_context(open_mailbox())
            mailbox.on_letter = lambda letter: hooks.letters.append(
                {"h:Message-Id": letter.id, "to": ",".join(letter.to), "text": letter.raw.decode()}
            )
            return {
                "EMAIL_BACKEND": "smtp",
                "PUBLIC_URL": "https://shop.example.com",
                "EMAIL_FROM": "Shop <shop@example.com>",
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": str(mailbox.port),
                "SMTP_TLS": "off",
            }

        yield open_one


@pytest.fixture
def serve_ambassadors() -> Iterator[Callable[[], dict[str, str]]]:
    """Settings for a service of ambassadors that outlives whoever asks it: it knows those of the demo, at their prices."""
    with contextlib.ExitStack() as stack:

        def serve() -> dict[str, str]:
            server = grpc.server(futures.ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
            handlers = {"ValidateAmbassadors": grpc.unary_unary_rpc_method_handler(_validate)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ambassador.AmbassadorValidation", handlers),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(None).wait())
            return {"AMBASSADOR_GRPC_HOST": "127.0.0.1", "AMBASSADOR_GRPC_PORT": str(port)}

        yield serve


def _validate(raw: bytes, _: grpc.ServicerContext) -> bytes:
    asked = list(ambassador_pb2.ValidateRequest.FromString(raw).ambassador_ids)
    known = [ambassador_pb2.ValidAmbassador(ambassador_id=each, price=PRICES[each]) for each in asked if each in PRICES]
    unknown = [each for each in asked if each not in PRICES]
    said: bytes = ambassador_pb2.ValidateResponse(valid_ambassadors=known, invalid_ids=unknown).SerializeToString()
    return said
