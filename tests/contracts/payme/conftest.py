"""One Kassa with a cashbox for most files; one whose clock stands still; one with every Payme setting changed."""

from __future__ import annotations

import base64
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import rig

from .booking import Booking, every_transaction_is_possible, nobody_was_surprised, nothing_was_said_aloud, the_books_are_in_order
from .paycom import KEY, LOGIN, PAYME_ID, Cashbox, basic

SELL_IN_UZS = """
    WITH prices AS (UPDATE products SET currency = 'UZS' WHERE merchant_id = '1' AND channel = 'shop')
    UPDATE channels SET currency = 'UZS', methods = array_append(methods, 'payme') WHERE merchant_id = '1' AND channel = 'shop'"""
DAY = 86_400_000
TOWN = {
    "PAYME_ID": PAYME_ID,
    "PAYME_KEY": KEY,
    "PAYME_IS_TEST_MODE": "true",
    "KASSA_SECRET": base64.b64encode(b"thirty-two bytes that we all use").decode(),
}
_mornings: Iterator[int] = itertools.count(1_800_000_000_000, 10 * DAY)
ODD_KEY = "odd:key:with&colons%and?signs@1#$_36"


@pytest.fixture(scope="session")
def _town(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Booking]:
    server = rig.make_server(_homes("pm"), database_server.fresh(), dict(TOWN))
    with rig.stopping([server]):
        server.start()
        yield Booking(server, Cashbox(server))
        assert server.alive(), server.log_text()[-4000:]
        the_books_are_in_order(server)
        every_transaction_is_possible(server)
        nothing_was_said_aloud(server, KEY, basic(LOGIN, KEY).removeprefix("Basic "))
        nobody_was_surprised(server)


@pytest.fixture
def booking(_town: Booking) -> Booking:
    """The booking site, shared by all files: every test buys for buyers of its own."""
    return _town


@pytest.fixture
def payme(_town: Booking) -> Cashbox:
    """Payme, as it calls that Kassa."""
    return _town.cashbox


@dataclass(frozen=True)
class Still:
    """A Kassa whose clock stands where a test puts it, and where nothing happens unless it is asked for: it has no workers."""

    booking: Booking

    @property
    def payme(self) -> Cashbox:
        return self.booking.cashbox

    def at(self, ms: int, microseconds: int = 0) -> int:
        """It is this moment now, until told otherwise."""
        self.booking.server.sql(
            "CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS "
            f"$$SELECT timestamptz 'epoch' + interval '{ms // 1000} seconds' + interval '{ms % 1000 * 1000 + microseconds} microseconds'$$"
        )
        return ms


class StandsStill(Cashbox):
    """Payme, reading the clock anew each time."""

    def now(self) -> int:
        [row] = self.server.sql("SELECT floor(extract(epoch FROM kassa_now()) * 1000)::bigint AS ms")
        ms: int = row["ms"]
        return ms


@pytest.fixture(scope="session")
def still(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Still]:
    server = rig.make_server(
        _homes("ps"), database_server.fresh(), {"PAYME_ID": PAYME_ID, "PAYME_KEY": KEY, "PAYME_IP_ALLOWLIST": "127.0.0.1"}
    )
    with rig.stopping([server]):
        server.start()  # `dev` brings the demo data
        server.kill()
        server.sql(SELL_IN_UZS)
        server.command = [sys.executable, "-m", "kassa", "serve"]
        server.start()
        yield Still(Booking(server, StandsStill(server)))
        nothing_was_said_aloud(server, KEY)
        nobody_was_surprised(server)


@pytest.fixture
def morning(still: Still) -> int:
    """It is this moment there; no other test uses the ten days that follow."""
    return still.at(next(_mornings))


@pytest.fixture(scope="session")
def odd(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Booking]:
    """A Kassa with every Payme setting changed, behind a proxy, and in a hurry."""
    server = rig.make_server(
        _homes("po"),
        database_server.fresh(),
        {
            "PAYME_ID": PAYME_ID,
            "PAYME_KEY": f"  {ODD_KEY.replace('&', '&amp;')}\t",  # as it is pasted from a cabinet's page
            "PAYME_LOGIN": "Shop",
            "PAYME_ACCOUNT_FIELD": "purchase_id",
            "PAYME_BUSY_ORDER_CODE": "-31008",
            "PAYME_TX_TIMEOUT_MS": "3600000",
            "PAYME_IP_ALLOWLIST": "payme, 10.1.0.0/16,192.0.2.7",
            "TRUSTED_PROXIES": "127.0.0.1",
            "PAYME_MAX_BODY_BYTES": "4096",
            "PAYME_LANG": "uz",
            "PAYME_RETURN_URL": "https://booking.example/back?a=1;b=2",
            "RATE_LIMIT": "10/second",
        },
    )
    cashbox = Cashbox(server, ODD_KEY, "Shop", "purchase_id", headers={"X-Forwarded-For": "185.234.113.9"})
    with rig.stopping([server]):
        server.start()
        yield Booking(server, cashbox)
        the_books_are_in_order(server)
        nothing_was_said_aloud(server, ODD_KEY, basic("Shop", ODD_KEY).removeprefix("Basic "))
