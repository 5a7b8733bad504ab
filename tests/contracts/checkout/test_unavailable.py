"""When Kassa itself cannot: too many requests, or no database. Nothing is begun, and the client is told when to come back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from .journeys import a_key, buy, line, order_form, orders_of, problem, someone_signed_in, until, visitor

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import DatabaseServer


def test_too_many_requests_are_told_to_wait_and_spend_no_key(start_kassa: StartKassa) -> None:
    shop = start_kassa(RATE_LIMIT="3/second")
    eager, other = shop.token(someone_signed_in()), shop.token(someone_signed_in())
    key, form = a_key(), order_form(line("prod_011"))
    with visitor(shop, eager) as client, visitor(shop, other) as somebody_else:

        def is_turned_away() -> httpx2.Response | None:
            answer = buy(client, b"{")
            return answer if answer.status_code == 429 else None

        turned_away = until(is_turned_away, 10, "a limit")
        problem(turned_away, 429, "Too many requests")
        assert int(turned_away.headers["Retry-After"]) >= 1
        assert buy(somebody_else, order_form(line("prod_011"))).status_code == 200, "a limit is each caller's own"
        assert client.get("/health").status_code == 200

        def is_served() -> httpx2.Response | None:
            answer = buy(client, form, key)
            return answer if answer.status_code != 429 else None

        served = until(is_served, 10, "the limit passes")
    assert served.status_code == 200, served.text
    assert "Idempotent-Replayed" not in served.headers


class Wire:
    """A TCP line to PostgreSQL that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target: tuple[str, int] | str = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._whole = threading.Event()
        self._whole.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._door.getsockname()[1])

    def cut(self) -> None:
        self._whole.clear()
        while self._ends:
            _hang_up(self._ends.pop())

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        _hang_up(self._door)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                if not self._whole.is_set():
                    near.close()
                    continue
                far = self._reach()
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=pair, daemon=True).start()

    def _reach(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._target)
        return far


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        _hang_up(each)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture
def wire(database_server: DatabaseServer) -> Iterator[tuple[Wire, str]]:
    """A cuttable line to a fresh database, and the DSN that leads over it."""
    dsn = database_server.fresh()
    place = urlsplit(dsn)
    asked = parse_qs(place.query)
    line_to = Wire(asked.get("host", [place.hostname])[0] or "127.0.0.1", place.port or 5432)
    who, at, _ = place.netloc.rpartition("@")
    netloc = f"{who}{at}127.0.0.1:{line_to.port}"
    yield line_to, place._replace(scheme="postgresql+asyncpg", netloc=netloc, query="").geturl()  # as the README writes it
    line_to.close()


def test_without_a_database_nothing_is_begun_and_afterwards_all_is_well(start_kassa: StartKassa, wire: tuple[Wire, str]) -> None:
    line_to, dsn = wire
    shop = start_kassa(database=dsn)
    token, key, form = shop.token(someone_signed_in()), a_key(), order_form()
    with visitor(shop, token) as buyer:
        assert buy(buyer, order_form(line("prod_011"))).status_code == 200
        line_to.cut()
        away = buy(buyer, form, key)
        problem(away, 503, "Unavailable")
        assert int(away.headers["Retry-After"]) >= 1
        problem(buyer.get("/checkout/0198c0de-0000-7000-8000-000000000000"), 503, "Unavailable")
        assert buyer.get("/health").status_code == 200, "the process lives"
        not_ready = buyer.get("/ready")
        assert (not_ready.status_code, not_ready.json()) == (503, {"message": "not ready", "code": "unavailable"})
        assert "Retry-After" in not_ready.headers
        line_to.mend()
        until(lambda: buyer.get("/ready").status_code == 200, 20, "ready again")
        answer = buy(buyer, form, key)
    assert answer.status_code == 200, answer.text
    assert "Idempotent-Replayed" not in answer.headers
    assert len(orders_of(shop, token)) == 2
