"""A payment succeeds when nobody waits for it any more (F14)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.crash.asking import Ask
from tests.crash.fault import fault
from tests.crash.faults.webhooks_in import at_the_provider, requested, shown
from tests.crash.field import Field, Run
from tests.crash.merchants import KEY
from tests.crash.stories import Buyer
from tests.crash.till import Till, move_clock, open_till, wait_until


@fault(
    "F14",
    "Success after the checkout has expired or was cancelled",
    holds="3 4",
    passes="all of it goes back, within 60 s",
    p95_s=60,
    runs=25,
)
def success_when_it_is_over(field: Field) -> None:
    """Cards that are not answered, and links that are not paid, expire or are cancelled; then all of them turn out to be paid."""
    till = open_till(field, PAYMENT_LINK_TTL_S=600)
    late = [Late(till, field.buyer(), number % 5) for number in range(field.runs)]
    till.provider.default("payment", "by_key", "garbage", form="html")  # an answer that tells nothing
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: each.begin(), late))
    move_clock(till.server, 31 * 60)
    for each in late:
        wait_until(each.is_over, None, f"{each.kind} is over")
    till.provider.desk("DELETE", "/defaults/payment")

    def one(run: Run) -> None:
        each = late[run.number]
        each.succeed()
        run.recovered(wait_until(each.is_given_back, run, f"{each.kind}: given back", 60))

    field.each(one, at_once=field.runs)
    till.judge()


@dataclass
class Late:
    """A payment that succeeds when nobody waits for it any more."""

    till: Till
    buyer: Buyer
    number: int
    payment: str = ""
    link: str = ""

    @property
    def kind(self) -> str:
        """What had happened to it before."""
        return ("a card, expired", "a card, cancelled", "a link, expired", "a link, cancelled", "a merchant's link, superseded")[
            self.number
        ]

    def begin(self) -> None:
        """Up to where its success is missing."""
        till, buyer = self.till, self.buyer
        if self.number < 2:
            self._charge()
        elif self.number < 4:
            order_id = till.order_by_link(buyer)
            self.link = till.link(buyer, order_id)
            if self.number == 3:
                till.asks(buyer.moves(order_id, "cancelled"))
        else:
            self.payment = requested(till)
            (made,) = [each for each in till.provider.book(only="links")["links"] if each["payment_id"] == self.payment]
            self.link = made["payment_url"]

    def _charge(self) -> None:
        till = self.till
        self.buyer = till.silence(self.buyer, "book_then_cut")
        if self.number == 1:
            order_id = str(till.server.sql("SELECT order_id FROM orders WHERE buyer_id = $1", str(self.buyer.user))[0]["order_id"])
            till.asks(self.buyer.moves(order_id, "cancelled"))

    def is_over(self) -> bool:
        """Whether its time is over, or it was cancelled."""
        till = self.till
        if self.payment:
            return bool(shown(till, self.payment)["status"] == 3)
        if self.number == 0:
            sql = "SELECT 1 FROM reservations WHERE state = 'held' AND checkout_id = $1::text::uuid"
            return not till.server.sql(sql, str(till.row(self.buyer)["checkout_id"]))
        return bool(till.row(self.buyer)["checkout"] == "undone")

    def succeed(self) -> None:
        """The money is there after all. A card's is, as soon as its service can be asked."""
        if self.payment:
            key = self.till.field.buyer().key("newer")
            (order,) = self.till.server.sql("SELECT ref FROM payments WHERE payment_id = $1::text::uuid", self.payment)
            body = {"order_id": order["ref"], "amount": 2, "price": "100.00", "alias": "stripe"}
            newer = self.till.asks(Ask("POST", "/api/v1/payments", body, key, api_key=KEY)).json["payment_id"]
            at_the_provider(self.till, newer)
            wait_until(lambda: shown(self.till, newer)["status"] == 2, None, "the newer one is paid")
        if self.link:
            self.till.pay(self.link)

    def is_given_back(self) -> bool:
        """Whether the money came and went back."""
        if self.payment:
            return bool(shown(self.till, self.payment)["status"] == 6)
        row = self.till.row(self.buyer)
        return bool(row["status"] == "refunded" and row["checkout"] == "undone")
