"""What scenarios about payment providers share: a town with cards and links, its buyers, and faults at the provider for one of them."""

from __future__ import annotations

import base64
import contextlib
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
from tests import rig

from .asking import Ask, Broken, Json, Said, speak
from .field import Field, Run
from .history import History
from .nursery import Born, BornSandbox
from .playing import WEBHOOK_SECRET, Town
from .stories import Buyer

_numbers = itertools.count(1)
SECRET = base64.b64encode(b"one secret for all of this town!").decode()
UNSENT = b'"payment_unavailable"'
"""What a buyer is told whose charge was not sent: the breaker was open."""


@dataclass
class Till:
    """One Kassa with workers, its provider, and everything that was asked of it."""

    field: Field
    town: Town
    server: Born
    history: History = field(default_factory=History)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def provider(self) -> BornSandbox:
        """The provider: scripts and book."""
        assert self.town.sandbox is not None
        return self.town.sandbox

    def another(self, word: str = "serve", crash_at: str = "") -> Born:
        """One more Kassa of this town, on a port of its own."""
        made = self.town.made(word, self.town.home / f"more-{next(_numbers)}", crash_at, HTTP_PORT=rig.free_port())
        made.start()
        assert made.alive(), made.log_text()[-2000:]
        return made

    def fails(self, buyer: Buyer, act: str, behaviour: str, **options: Any) -> None:
        """The payment service behaves so to this buyer's charge."""
        self.provider.script("payment", act, behaviour, match={"customer_email": buyer.email}, **options)

    def asks(self, ask: Ask, within_s: float = 60) -> Said:
        """Ask until there is a final answer. Raises AssertionError when there is none in time."""
        said = self.history.insist([self.server], ask, within_s)
        assert said is not None, f"no answer to {ask.method} {ask.path} of {ask.key} within {within_s:.0f} s"
        return said

    def charge(self, behaviour: str, **options: Any) -> tuple[Buyer, Said, float]:
        """A buyer whose charge meets this fault; who it was, what they were told, and after how many seconds.

        Where the breaker was open the charge met nothing: somebody else tries.
        """
        while True:
            buyer = self.field.buyer()
            self.fails(buyer, "process", behaviour, **options)
            began = time.monotonic()
            said = self.asks(buyer.buys())
            if UNSENT not in said.raw:
                return buyer, said, time.monotonic() - began
            time.sleep(0.5)

    def silence(self, buyer: Buyer, behaviour: str) -> Buyer:
        """A charge that meets this fault and of which nobody knows; who it was. The buyer does not wait for an answer.

        The questions of the service must be scripted to fail. Where the breaker stands in the way somebody else is charged.
        """
        while True:
            self.fails(buyer, "process", behaviour)
            with contextlib.suppress(Broken, TimeoutError):
                speak(self.server, buyer.buys(signed_in=True), timeout_s=1)
            wait_until(lambda who=buyer: self.row(who).get("status") in {"unknown", "declined"}, None, "the charge is not known")
            found = self.row(buyer)["status"]
            self.calm()
            if found == "unknown":
                return buyer
            buyer = self.field.buyer()

    def calm(self) -> None:
        """Somebody buys without trouble; the breaker of the payment service is closed after it."""
        until = time.monotonic() + 30
        while (said := self.asks(self.field.buyer().buys())).status != 200:
            assert time.monotonic() < until, said.raw
            time.sleep(0.5)

    def order_by_link(self, buyer: Buyer) -> str:
        """An order that is to be paid on a provider's page; its id."""
        assert self.asks(buyer.puts("prod_001", 2)).status == 201
        said = self.asks(buyer.orders("link:stripe"))
        assert said.status == 201, said.raw
        order_id: str = said.json["data"]["id"]
        return order_id

    def order_with(self, buyer: Buyer, behaviour: str, **options: Any) -> str:
        """The same, and the first request for its link meets this fault. One after the other: nothing tells whose link is asked for."""
        with self._turn:
            self.provider.script("link", "create", behaviour, **options)
            return self.order_by_link(buyer)

    def order(self, buyer: Buyer, order_id: str) -> Json:
        """An order as its buyer sees it."""
        said = self.asks(Ask("GET", f"/api/orders/{order_id}", None, None, buyer.user))
        found: Json = said.json["data"]
        return found

    def becomes(self, buyer: Buyer, order_id: str, status: str, within_s: float = 30) -> float:
        """Wait until the order has this status; the seconds that it took."""
        began = time.monotonic()
        while (found := self.order(buyer, order_id)["status"]) != status:
            assert time.monotonic() - began < within_s, f"the order is {found} after {within_s:.0f} s"
            time.sleep(0.05)
        return time.monotonic() - began

    def link(self, buyer: Buyer, order_id: str, within_s: float = 30) -> str:
        """The provider's page of an order, waited for."""
        until = time.monotonic() + within_s
        while (link := self.order(buyer, order_id)["paymentUrl"]) is None:
            assert time.monotonic() < until, "there is no link"
            time.sleep(0.05)
        url: str = link
        return url

    def pay(self, link: str) -> None:
        """The buyer pays on the page."""
        answer = httpx2.post(link.replace("/pay/", "/payments/") + "/accept", trust_env=False)
        assert answer.status_code == 200, answer.text

    def row(self, buyer: Buyer) -> dict[str, Any]:
        """The payment of this buyer's one checkout, with the checkout's status; empty while there is none."""
        rows = self.server.sql(
            "SELECT c.status AS checkout, c.checkout_id, p.payment_id, p.status, p.sends, p.asks FROM checkouts c"
            " JOIN payments p USING (merchant_id, payment_id) WHERE c.idempotency->>'key' = $1 OR c.buyer_id = $2",
            buyer.key("checkout"), str(buyer.user),
        )  # fmt: skip
        return rows[0] if rows else {}

    def judge(self, within_s: float = 60) -> None:
        """Hold everything against every invariant."""
        self.field.judge(self.town, self.server, self.history, within_s=within_s)


def open_till(field: Field, *neighbours: str, **settings: Any) -> Till:
    """A town whose cards and links are taken by a provider that can be told to fail."""
    given = {"PROVIDER_WEBHOOK_SECRET": WEBHOOK_SECRET, "KASSA_SECRET": SECRET, **settings}
    town = field.town(*(neighbours or ("payment", "link")), **given)
    return Till(field, town, town.born("dev"))


def move_clock(server: rig.Server, seconds: float) -> None:
    """Move the one clock on."""
    server.sql("SELECT kassa_move_clock(make_interval(secs => $1))", float(seconds))


def wait_until(true: Any, run: Run | None, text: str, within_s: float = 30) -> float:
    """Wait until it is true; the seconds that it took. Where it does not come true: a violation of `run`, or AssertionError."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > within_s:
            assert run is not None, text
            run.check(False, f"{text}: not within {within_s:.0f} s")
            break
        time.sleep(0.03)
    return time.monotonic() - began
