"""A database is restored to an earlier moment, by the steps of docs/backup.md: what was lost is listed, and the shop goes on with it made good.

A shop sells through `kassa serve` and `kassa work`; its money is taken by a stand-in that keeps a book of its own and knows nothing of
the restore. Everything that happens after the moment is lost here and stands there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests import rig
from tests.crash import merchants
from tests.crash.asking import Ask, Broken, Said, speak
from tests.crash.history import History
from tests.crash.judging import is_at_rest
from tests.crash.nursery import Born, Nursery
from tests.crash.playing import Town
from tests.crash.stories import Buyer
from tests.crash.till import SECRET, wait_until
from tests.ship.backups import Kept, moment_of

Json = dict[str, Any]
_NEW = "SELECT count(*)::int AS n FROM orders WHERE created_at > $1::text::timestamptz"


@dataclass
class Shop:
    """A shop that two processes serve, whose segments are kept."""

    kept: Kept
    town: Town
    serve: Born
    work: Born
    history: History = field(default_factory=History)
    buyers: int = 0

    def somebody(self) -> Buyer:
        """A buyer who was never here."""
        self.buyers += 1
        return Buyer(self.buyers)

    def asks(self, ask: Ask, *good: int) -> Said:
        """Ask until there is a final answer, which must be one of these."""
        said = self.history.insist([self.serve], ask, 40)
        assert said is not None, ask
        assert said.status in (good or (200, 201)), (ask, said)
        return said

    def types(self, *words: str, code: int = 0) -> Json:
        """A command of the operator; what it said as JSON."""
        log = self.town.home / "operator" / "output.log"
        before = log.stat().st_size if log.exists() else 0
        found = self.town.runs(*words, "--json")
        said = log.read_bytes()[before:].decode()
        assert found == code, f"{words}: {found}\n{said}"
        told: Json = json.loads(said[said.index("{") : said.rindex("}") + 1])
        return told

    def sql(self, sql: str, *args: Any) -> list[Json]:
        return rig.query(self.town.dsn, sql, *args)

    def charges(self) -> Counter[str]:
        """How often the provider has charged under each key."""
        assert self.town.sandbox is not None
        return Counter({row["key"]: row["charges"] for row in self.town.sandbox.summary()["keys"]})

    def net(self, key: str) -> Decimal:
        """What is left there of a charge."""
        assert self.town.sandbox is not None
        return sum((Decimal(row["net"]) for row in self.town.sandbox.summary()["keys"] if row["key"] == key), Decimal(0))

    def rest(self) -> None:
        """Wait until nothing moves."""
        wait_until(lambda: is_at_rest(self.serve), None, "nothing moves any more", 40)

    def buys(self, buyer: Buyer | None = None, **how: Any) -> Buyer:
        """Somebody buys at once."""
        buyer = buyer or self.somebody()
        self.asks(buyer.buys(**how))
        return buyer

    def delivers(self, buyer: Buyer) -> None:
        """Staff brings the order to its door."""
        order = str(self.of(buyer)["order_id"])
        for to in ("processing", "shipped", "delivered"):
            self.asks(buyer.moves(order, to, role="staff"))

    def asks_for_money(self) -> Json:
        """A merchant's payment by link, and where its buyer can pay."""
        told: Json = self.asks(merchants.asks(self.somebody())).json
        return told

    def pays(self, asked: Json) -> None:
        """The buyer of a link pays at the provider, and we hear of it."""
        _pays_at(asked["payment_url"])
        wait_until(lambda: self.asks(merchants.shown(asked["payment_id"])).json["status"] == 2, None, "paid by link", 20)

    def of(self, buyer: Buyer) -> Json:
        """A buyer's only purchase."""
        (row,) = self.sql(
            "SELECT c.checkout_id, c.order_id, c.payment_id, p.status, o.status AS order_status, o.shipping_address"
            "  FROM checkouts c JOIN payments p USING (merchant_id, payment_id) JOIN orders o USING (merchant_id, order_id)"
            " WHERE c.idempotency->>'key' = $1 OR c.buyer_id = $2",
            buyer.key("checkout"), str(buyer.user),
        )  # fmt: skip
        return row

    def die(self) -> None:
        """Everything of ours is gone at once."""
        for each in (self.serve, self.work):
            each.kill()
        self.kept.server.kill()

    def stand_on(self, dsn: str) -> None:
        """The same settings, another server."""
        self.town.dsn = dsn
        self.serve = self.town.made("serve", self.town.home / "serve-again")
        self.work = self.town.made("work", self.town.home / "work-again")


def _pays_at(link: str) -> None:
    """At the provider, on the page behind a link."""
    httpx2.post(link.replace("/pay/", "/payments/") + "/accept", trust_env=False)


@pytest.fixture
def shop() -> Iterator[Shop]:
    home = Path(tempfile.mkdtemp(prefix="kassa-"))
    home.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        kept = Kept()
        stack.callback(kept.close)
        kept.server.start()
        nursery = Nursery()
        stack.callback(nursery.close)
        town = Town(nursery, home, kept.server.fresh(), ("payment", "link"))
        stack.callback(town.close)
        town.settings["KASSA_SECRET"] = SECRET
        town.open()
        made = Shop(kept, town, town.made("serve", home / "serve"), town.made("work", home / "work"))
        made.serve.start()
        made.work.start()
        yield made


@dataclass
class Lost:
    """What happened after the moment, and is to be found again."""

    moment: str
    bought: list[Buyer]
    by_cart: Buyer
    linked: Json
    paid_by_link: Json
    silent: Buyer
    cancelled: Buyer
    partly_returned: tuple[Json, str]
    forgotten: tuple[Buyer, Buyer]
    key: str
    last_event: str
    heads: list[str]


def fall_silent(shop: Shop) -> Buyer:
    """A charge that the provider has booked and not answered, and of which it says nothing for now."""
    buyer = shop.somebody()
    assert shop.town.sandbox is not None
    shop.town.sandbox.default("payment", "by_key", "error")
    shop.town.sandbox.script("payment", "process", "book_then_cut", match={"customer_email": buyer.email})
    with contextlib.suppress(Broken, TimeoutError):
        speak(shop.serve, buyer.buys(), timeout_s=1)
    wait_until(lambda: shop.of(buyer)["status"] == "unknown", None, "a silent charge", 20)
    return buyer


def trade(shop: Shop) -> Lost:
    """A day in the shop: some of it before the backup, some before the moment, some after it."""
    shop.buys()
    forgotten, guest = shop.buys(signed_in=True), shop.buys()
    for each in (forgotten, guest):
        shop.delivers(each)
    cancelled, returned = shop.buys(signed_in=True), shop.asks_for_money()
    shop.pays(returned)
    shop.types("merchants", "key", "1", "--name", "reporting", "--scope", "payments:read")
    key = str(shop.sql("SELECT key_id FROM api_keys WHERE name = 'reporting'")[0]["key_id"])
    shop.kept.runs("take-base", str(shop.kept.folder))

    shop.buys()
    waits = shop.asks_for_money()
    silent = fall_silent(shop)
    moment = moment_of(shop.kept.server)

    assert shop.town.sandbox is not None
    shop.town.sandbox.desk("DELETE", "/scripts")
    wait_until(lambda: shop.of(silent)["status"] == "paid", None, "found out", 30)
    bought = [shop.buys(), shop.buys(signed_in=True)]
    by_cart = shop.somebody()
    shop.asks(by_cart.puts("prod_001", 2))
    _pays_at(shop.asks(by_cart.orders("link:stripe")).json["data"]["paymentUrl"])
    wait_until(lambda: shop.of(by_cart)["status"] == "paid", None, "an order is paid by link", 20)
    linked = shop.asks_for_money()
    shop.pays(linked)
    shop.pays(waits)
    shop.asks(cancelled.moves(str(shop.of(cancelled)["order_id"]), "cancelled"))
    refund = shop.asks(merchants.gives_back(shop.somebody(), returned["payment_id"], "back", amount="30.00")).json["refund_id"]
    shop.rest()
    shop.types("forget", "--user", str(forgotten.user), "--yes")
    shop.types("forget", "--email", guest.email, "--yes")
    shop.types("merchants", "revoke", "1", key)
    last_event = shop.asks(Ask("GET", "/api/v1/events?limit=500", api_key=merchants.KEY)).json["next_after"]
    heads = [each["head"] for each in shop.types("audit", "check")["chains"]]
    return Lost(
        moment, bought, by_cart, linked, waits, silent, cancelled, (returned, refund), (forgotten, guest), key, last_event, heads
    )


def test_a_shop_goes_on_from_an_earlier_moment_and_everything_lost_is_made_good(shop: Shop) -> None:
    lost = trade(shop)
    placed = shop.sql("SELECT count(*)::int AS n FROM orders")[0]["n"]
    shop.die()
    shop.kept.save_the_last_segments()

    # A copy of the end says what was lost.
    end = shop.kept.bring_back("end")
    there = end.here(shop.town.dsn)
    wait_until(lambda: rig.query(there, "SELECT count(*)::int AS n FROM orders")[0]["n"] == placed, None, "all is replayed")
    assert end.is_standby()
    database = shop.town.dsn.rpartition("/")[2]
    told = shop.kept.runs(
        "psql", "-X", "-d", database, "-v", f"since={lost.moment}", "-f", f"{shop.kept.programs}/lost.sql", server=end
    )
    gone = [rig.query(there, _PURCHASE, *_names(each))[0] for each in [*lost.bought, lost.by_cart]]
    for named in (
        *(str(each["checkout_id"]) for each in gone), lost.linked["payment_id"], lost.paid_by_link["payment_id"],
        lost.partly_returned[1], f"key:{lost.key}", "prod_001", "buyer.forget",
    ):  # fmt: skip
        assert named in told, (named, told)
    forgotten = shop.kept.runs("psql", "-X", "-At", "-d", database, "-f", f"{shop.kept.programs}/forgotten.sql", server=end)
    listed = shop.town.home / "forgotten.json"
    listed.write_text(forgotten)

    # The database of the moment. Nothing runs on it until all has been looked at.
    shop.stand_on(shop.kept.bring_back(lost.moment).here(shop.town.dsn))
    assert shop.sql(_NEW, lost.moment)[0]["n"] == 0
    assert shop.town.runs("migrate", "--check") == 0
    assert shop.types("verify")["breaches"] == []
    assert shop.types("audit", "check")["chains"]
    heads = [word for head in lost.heads for word in ("--head", head)]
    assert [each["broken"] is not None for each in shop.types("audit", "check", *heads, code=1)["chains"]].count(True) >= 1

    shop.types("forget", "--again", str(listed), "--yes", "--why", "restored")
    for each in lost.forgotten:
        assert _addresses(shop, each) == []
    assert shop.types("forget", "--again", str(listed), "--yes")["merchants"] == []
    shop.types("merchants", "revoke", "1", lost.key)

    reconciles(shop, lost, gone)
    makes_good(shop, lost)
    opens(shop, lost, gone)


_PURCHASE = "SELECT checkout_id, payment_id FROM checkouts WHERE idempotency->>'key' = $1 OR buyer_id = $2"
_PERSONAL = """
    SELECT customer_email AS text FROM checkouts WHERE (idempotency->>'key' = $1 OR buyer_id = $2) AND customer_email IS NOT NULL
    UNION ALL SELECT o.shipping_address::text FROM orders o JOIN checkouts c USING (merchant_id, checkout_id)
     WHERE (c.idempotency->>'key' = $1 OR c.buyer_id = $2) AND o.shipping_address IS NOT NULL
"""


def _names(buyer: Buyer) -> tuple[str, str]:
    return buyer.key("checkout"), str(buyer.user)


def _addresses(shop: Shop, buyer: Buyer) -> list[str]:
    return [row["text"] for row in shop.sql(_PERSONAL, *_names(buyer))]


def reconciles(shop: Shop, lost: Lost, gone: list[Json]) -> None:
    """The provider's book lists every difference, and nothing else; looked at once more, nothing is added."""
    book = ("reconcile", "--provider", "sandbox", "--book", str(shop.town.home / "sandbox" / "book.db"))
    found = shop.types(*book, "--at-rest", code=1)
    paid_there = {lost.paid_by_link["payment_id"], str(shop.of(lost.silent)["payment_id"])}
    returned_there = {lost.partly_returned[0]["payment_id"], str(shop.of(lost.cancelled)["payment_id"])}
    *by_card, by_link = gone
    wanted = {("missing_here", f"reference:{each['checkout_id']}:payment") for each in by_card}
    wanted |= {("missing_here", f"payment:{each}") for each in (lost.linked["payment_id"], by_link["payment_id"])}
    wanted |= {("status_differs", f"payment:{each}") for each in paid_there}
    wanted |= {("refund_missing_here", f"payment:{each}") for each in returned_there}
    assert {(each["type"], each["subject"]) for each in found["found"]} == wanted
    assert (found["differences"], found["cases_opened"], found["still_moving"]) == (len(wanted), len(wanted), 0)
    again = shop.types(*book, "--at-rest", code=1)
    assert (again["differences"], again["cases_opened"]) == (len(wanted), 0)
    moving = shop.types(*book, code=1)
    assert moving["still_moving"] == len(paid_there), "without --at-rest they are left alone"


def makes_good(shop: Shop, lost: Lost) -> None:
    """What a person does before anything runs: the buyer of a link has paid, and what was given back is booked and not sent again."""
    paid = lost.paid_by_link["payment_id"]
    assert shop.types("payments", "resolve", paid, "--paid", "--reason", "in their book")["after"]["status"] == "paid"
    asked, refund = lost.partly_returned
    before = shop.net(asked["payment_id"])
    for _ in range(2):
        booked = shop.types("payments", "refund", asked["payment_id"], "--amount", "30.00", "--given", refund)
        assert (booked["refund"]["status"], booked["after"]["refunded"]) == ("succeeded", "30.00 USD")
    assert shop.net(asked["payment_id"]) == before


def opens(shop: Shop, lost: Lost, gone: list[Json]) -> None:
    """The workers find out the rest, then the doors open; at the end only charges of lost orders are still listed."""
    shop.work.start()
    wait_until(lambda: shop.of(lost.silent)["status"] == "paid", None, "the silent charge is found out", 30)
    shop.serve.start()
    cancelled = shop.of(lost.cancelled)
    key = f"{cancelled['checkout_id']}:payment"
    assert shop.net(key) == 0
    shop.asks(lost.cancelled.moves(str(cancelled["order_id"]), "cancelled"))
    wait_until(lambda: shop.of(lost.cancelled)["status"] == "refunded", None, "the refund is known there", 20)
    assert shop.net(key) == 0
    unknown = shop.asks(Ask("GET", f"/api/v1/events?after={lost.last_event}", api_key=merchants.KEY), 422)
    assert unknown.json["code"] == "validation_error"
    shop.rest()

    # What the page warns of: a key of the lost time is new here, so whoever buys again is charged again.
    again = lost.bought[0]
    assert not shop.asks(again.buys()).replayed
    charges = shop.charges()
    assert charges[f"{gone[0]['checkout_id']}:payment"] == charges[f"{shop.of(again)['checkout_id']}:payment"] == 1
    assert max(charges.values()) == 1

    book = ("reconcile", "--provider", "sandbox", "--book", str(shop.town.home / "sandbox" / "book.db"))
    left = shop.types(*book, code=1)
    assert left["types"] == {"missing_here": len(gone) + 1}
    assert left["cases_closed"] == 4
    for row in shop.sql("SELECT case_id FROM cases WHERE closed_at IS NULL"):
        shop.types("payments", "close", str(row["case_id"]), "--reason", "given back there, the buyer was told")
    assert shop.types(*book)["decided"] == len(gone) + 1
    shop.rest()
    assert shop.types("verify")["breaches"] == []
    assert shop.types("audit", "check")["chains"]
    shop.kept.runs("take-base", str(shop.kept.folder), "1", server=shop.kept.brought_back[-1])
    assert len(list((shop.kept.folder / "base").iterdir())) == 1, "older copies are thinned out"
    assert shop.serve.stop(40) == shop.work.stop(40) == 0
