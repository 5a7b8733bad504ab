"""Without its database: -32400 from every method, nothing half done, and a repeat that succeeds (sections 2.6, 5.3 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests import rig
from tests.rig import Server

from .booking import Booking
from .paycom import a_tx, fiscal, parsed, refused, until
from .texts import DENIED, NO_METHOD, NOT_JSON, TROUBLE


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


def test_a_database_that_is_away_is_a_trouble_that_passes(odd: Booking) -> None:
    payme, server = odd.cashbox, odd.server
    purchase, other, paid, new = odd.buy(), odd.buy(), odd.buy(), a_tx()
    tx, done, now = payme.created(purchase), payme.paid(paid), payme.now()
    with without_its_database(server):
        until(lambda: payme.client.get("/ready").status_code == 503, hope="it notices")
        for answer in (
            payme.check_perform(other),
            payme.create(other, new, time=now),
            payme.create(purchase, tx, time=now),
            payme.perform(tx),
            payme.cancel(done, 5),
            payme.check(tx),
            payme.ask("GetStatement", {"from": 0, "to": now}),
            payme.ask(*fiscal(done)),
        ):
            refused(answer, TROUBLE)
        for answer in (payme.with_(key="wrong").check(tx), payme.ask("NoSuchMethod", {}), payme.post(b"{")):
            assert parsed(answer)["error"]["code"] in {DENIED, NO_METHOD, NOT_JSON}
    until(lambda: payme.client.get("/ready").status_code == 200, 15, "it is back")
    assert payme.state(tx) == (1, None)
    assert payme.state(done) == (2, None)
    payme.created(other, new)
    payme.performed(tx)
    payme.cancelled(done, 5, -2)
    assert odd.books(purchase).truth == ("paid", "paid", 1, purchase.amount, 1)
    assert odd.books(paid).truth == ("cancelled", "refunded", 2, 0, 0)
