"""Without its database Kassa says so, and nothing is half written (section 8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests import rig
from tests.rig import Server

from .till import BASE, NOWHERE, Mall, ask, keyed, opened, refusal, until, wish

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@contextmanager
def without_its_database(server: Server) -> Iterator[None]:
    """Cut every connection to the database of a server and let nobody in, until the block ends."""
    name = urlsplit(server.dsn).path.lstrip("/")
    elsewhere = rig.with_database(server.dsn, "postgres")
    rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    rig.query(elsewhere, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_a_database_that_is_away_is_unavailable_until_it_is_back(start_kassa: StartKassa) -> None:
    mall = Mall(start_kassa())
    who, body, headers = mall.merchant(1), wish(), keyed()
    payment_id = opened(ask(who))
    with without_its_database(mall.server):
        until(lambda: mall.nobody().get("/ready").status_code == 503, hope="it notices")
        ping = mall.nobody().get(f"{BASE}/ping")
        assert (ping.status_code, ping.json()) == (200, {"ok": True})
        for answer in (
            who.get(BASE),
            who.get(f"{BASE}/{payment_id}/show"),
            who.get("/api/v1/merchants/me"),
            ask(who, body, headers=headers),
            who.post(f"{BASE}/{payment_id}/refunds", json={}, headers=keyed()),
        ):
            refusal(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
    until(lambda: mall.nobody().get("/ready").status_code == 200, 15, "it is back")
    assert who.get(BASE, params={"order_id": body["order_id"]}).json()["total"] == 0
    opened(ask(who, body, headers=headers))
    refusal(who.get(f"{BASE}/{NOWHERE}/show"), 404, "payment_not_found", "Payment not found")
    assert mall.server.alive()
