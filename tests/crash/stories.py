"""What callers and neighbours do, and at which points the process dies meanwhile.

A story is played once for each of its points. `ends` are the ends that its checkout may come to, whatever happens: a charge that was
not sent before the crash is never sent after it (the card is gone), so most stories with a payment service may also end undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests import rig

from .asking import Ask, Both, HangUp, Json, LetPass, PaysAt, Tale

FIRST_MERCHANT = 1000
VISA, DECLINED = "4111111111111111", "4111111111110002"
COMPLETED, UNDONE, PARKED = frozenset({"completed"}), frozenset({"undone"}), frozenset({"parked"})


@dataclass(frozen=True)
class Buyer:
    """Who plays a story, as a buyer or as a merchant: an id and an address that nobody else has.

    `hooks` is where the merchants' servers are (`hooks.py`), in towns that have them.
    """

    number: int
    hooks: str = ""

    @property
    def merchant(self) -> str:
        """The id of the merchant's account that is this one's own, in towns that have them."""
        return merchant_of(self.number)[0]

    @property
    def shop_key(self) -> str:
        """The API key of that account."""
        return merchant_of(self.number)[1]

    def hook(self, kind: str) -> str:
        """The address of a server of that merchant, which answers as `kind` says."""
        return f"{self.hooks}/{kind}/{self.number}"

    @property
    def user(self) -> int:
        return 10_000 + self.number

    @property
    def email(self) -> str:
        return f"buyer-{self.number}@example.com"

    def key(self, word: str) -> str:
        """A key for one request of this buyer."""
        return f"{word}-of-{self.number:05d}"

    def buys(self, *items: tuple[str, int], card: str = VISA, signed_in: bool = False) -> Ask:
        """`POST /checkout/process`."""
        body = {
            "payment_method": {"type": "credit_card", "card_number": card, "card_expiry": "12/25", "card_cvv": "123"},
            "customer_email": self.email,
            "shipping_address": {"street": "Flores", "number": "1", "city": "Recife", "state": "PE", "zip_code": "50000"},
            "items": [{"product_id": product, "quantity": quantity} for product, quantity in items or BASKET],
        }
        return Ask("POST", "/checkout/process", body, self.key("checkout"), self.user if signed_in else None)

    def puts(self, product: str, quantity: int) -> Ask:
        """`POST /api/cart/items`."""
        return Ask("POST", "/api/cart/items", {"productId": product, "quantity": quantity}, self.key(f"add-{product}"), self.user)

    def orders(self, method: str = "credit_card", card: str = VISA) -> Ask:
        """`POST /api/orders`."""
        address = {"street": "1 Hill Road", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}
        body: Json = {"shippingAddress": address, "paymentMethod": method}
        if method == "credit_card":
            details = {"cardNumber": card, "expiryDate": "12/30", "cvv": "123", "cardholderName": "A Buyer"}
            body["paymentDetails"] = details
        return Ask("POST", "/api/orders", body, self.key("order"), self.user)

    def moves(self, order_id: str, status: str, role: str | None = None) -> Ask:
        """`PUT /api/orders/{id}/status`."""
        user = self.user if role is None else 1
        return Ask("PUT", f"/api/orders/{order_id}/status", {"status": status}, self.key(f"move-{status}"), user, role)

    def cancels_what_there_is(self, server: rig.Server) -> Ask:
        """Cancel the one order that this buyer has by now, or will have in a moment."""
        until = time.monotonic() + 5
        while not (found := server.sql("SELECT order_id FROM orders WHERE buyer_id = $1", str(self.user))):
            assert time.monotonic() < until, "there is no order"
            time.sleep(0.02)
        return self.moves(str(found[0]["order_id"]), "cancelled")


def merchant_of(number: int) -> tuple[str, str]:
    """The account of a player: its id and its API key."""
    return str(FIRST_MERCHANT + number), f"sk_crash_{number}"


BASKET = (("prod_001", 2), ("prod_002", 1))
Plan = Callable[[rig.Sandbox], Any]
After = Callable[[rig.Server, Buyer], list[str]]
"""What is wrong with what a story left behind."""


@dataclass(frozen=True)
class Story:
    """`plan` tells the neighbours what to do; `word` is the process that dies: `serve` has no workers, `dev` has.

    `buys` is False for stories that no checkout comes of.
    """

    name: str
    tell: Callable[[Buyer], Tale]
    points: tuple[str, ...]
    ends: frozenset[str] = COMPLETED
    plan: Plan | None = None
    word: str = "serve"
    buys: bool = True
    after: After | None = None


def around(*names: str) -> tuple[str, ...]:
    """The two points of each transaction: before and after its commit."""
    return tuple(f"{name.partition('#')[0]}:{moment}{_nth(name)}" for name in names for moment in ("before_commit", "after_commit"))


def calling(*names: str) -> tuple[str, ...]:
    """The two points of each outside call: before and after it."""
    return tuple(f"{name.partition('#')[0]}:{moment}{_nth(name)}" for name in names for moment in ("before_call", "after_call"))


def _nth(name: str) -> str:
    number = name.partition("#")[2]
    return f"#{number}" if number else ""


# ── stories that need nobody else ────────────────────────────────────────────────────────────────────────────────────


def guest_buys(buyer: Buyer) -> Tale:
    said = yield buyer.buys()
    assert said.status == 200, said.raw


def guest_is_declined(buyer: Buyer) -> Tale:
    said = yield buyer.buys(card=DECLINED)
    assert said.status == 422, said.raw


def guest_wants_what_is_not_there(buyer: Buyer) -> Tale:
    said = yield buyer.buys(("prod_soldout", 1))
    assert said.status == 422, said.raw


def buyer_edits_a_cart(buyer: Buyer) -> Tale:
    said = yield buyer.puts("prod_001", 2)
    item = f"/api/cart/items/{said.json['data']['id']}"
    said = yield Ask("PUT", item, {"quantity": 5}, buyer.key("change"), buyer.user)
    assert said.status == 200, said.raw
    said = yield Ask("DELETE", item, None, buyer.key("remove"), buyer.user)
    assert said.status == 200, said.raw
    yield buyer.puts("prod_002", 1)
    said = yield Ask("DELETE", "/api/cart", None, buyer.key("clear"), buyer.user)
    assert said.json["data"]["items"] == [], said.raw


def _ordered(buyer: Buyer, method: str = "credit_card", card: str = VISA) -> Any:
    yield buyer.puts("prod_001", 2)
    yield buyer.puts("prod_002", 1)
    said = yield buyer.orders(method, card)
    assert said.status == 201, said.raw
    return said.json["data"]["id"]


def buyer_orders(buyer: Buyer) -> Tale:
    yield from _ordered(buyer)


def buyer_is_declined(buyer: Buyer) -> Tale:
    yield from _ordered(buyer, card=DECLINED)


def buyer_pays_at_the_door(buyer: Buyer) -> Tale:
    order = yield from _ordered(buyer, "cash_on_delivery")
    while (yield Ask("GET", f"/api/orders/{order}", None, None, buyer.user)).json["data"]["status"] == "pending":
        pass
    for status in ("shipped", "delivered"):
        said = yield buyer.moves(order, status, "staff")
        assert said.status == 200, said.raw


def buyer_cancels_what_is_paid(buyer: Buyer) -> Tale:
    order = yield from _ordered(buyer)
    said = yield buyer.moves(order, "cancelled")
    assert said.status == 200, said.raw


def buyer_cancels_a_link(buyer: Buyer) -> Tale:
    order = yield from _ordered(buyer, "link:stripe")
    said = yield buyer.moves(order, "cancelled")
    assert said.status == 200, said.raw


def _paid_by_link(buyer: Buyer) -> Any:
    order = yield from _ordered(buyer, "link:stripe")
    link = None
    while link is None:  # asked for again after the crash
        link = (yield Ask("GET", f"/api/orders/{order}", None, None, buyer.user)).json["data"]["paymentUrl"]
    yield PaysAt(link)
    while (yield Ask("GET", f"/api/orders/{order}", None, None, buyer.user)).json["data"]["status"] == "pending":
        pass
    return order


def buyer_pays_a_link(buyer: Buyer) -> Tale:
    yield from _paid_by_link(buyer)


def buyer_cancels_a_paid_link(buyer: Buyer) -> Tale:
    order = yield from _paid_by_link(buyer)
    said = yield buyer.moves(order, "cancelled")
    assert said.status == 200, said.raw


def nobody_pays_the_link(buyer: Buyer) -> Tale:
    yield from _ordered(buyer, "link:stripe")
    yield LetPass(31 * 60)


HERE = (
    Story("a guest buys", guest_buys, around("checkout.start", "checkout.settle")),
    Story("a guest is declined", guest_is_declined, around("checkout.start", "checkout.settle"), UNDONE),
    Story("a guest wants what is not there", guest_wants_what_is_not_there, around("checkout.refused"), UNDONE),
    Story(
        "a buyer edits a cart",
        buyer_edits_a_cart,
        around("cart.add", "cart.change", "cart.remove", "cart.add#2", "cart.clear"),
        buys=False,
    ),
)
ORDERS = (
    Story("a buyer orders", buyer_orders, around("cart.add#2", "checkout.start", "checkout.settle")),
    Story("a buyer is declined", buyer_is_declined, around("checkout.start", "checkout.settle"), UNDONE),
    Story(
        "a buyer pays at the door",
        buyer_pays_at_the_door,
        around("checkout.start", "checkout.finish", "orders.move", "orders.move#2"),
    ),
    Story("a buyer cancels what is paid", buyer_cancels_what_is_paid, around("orders.move"), COMPLETED | UNDONE),
    Story(
        "a buyer cancels a link",
        buyer_cancels_a_link,
        (*around("checkout.start", "checkout.settle", "checkout.answer", "orders.move"), *calling("link")),
        UNDONE,
    ),
)
LINKS = (
    Story("a buyer pays a link", buyer_pays_a_link, around("checkout.settle#2")),
    Story(
        "a buyer cancels a paid link", buyer_cancels_a_paid_link, (*around("orders.move", "payments.refund"), *calling("refund"))
    ),
)


# ── stories with a payment, an inventory and an order service ────────────────────────────────────────────────────────


def everybody_agrees(buyer: Buyer) -> Tale:
    yield buyer.buys()


def buyer_cancels_what_all_agreed_to(buyer: Buyer) -> Tale:
    yield buyer.buys(signed_in=True)
    found = yield Ask("GET", "/api/orders", None, None, buyer.user)
    order = found.json["data"]["orders"][0]
    if order["status"] != "cancelled":  # a charge that was not sent before the crash has cancelled it
        said = yield buyer.moves(order["id"], "cancelled")
        assert said.status == 200, said.raw


def buyer_cancels_meanwhile(buyer: Buyer) -> Tale:
    yield Both(buyer.buys(signed_in=True), buyer.cancels_what_there_is, apart_s=0.3)


def money_comes_too_late(buyer: Buyer) -> Tale:
    yield HangUp(buyer.buys(), after_s=0.4)
    yield LetPass(31 * 60)
    yield buyer.buys()


def tells(*scripts: tuple[str, str, str, dict[str, Any]]) -> Plan:
    """A plan: each neighbour's act meets this behaviour once, or as often as `times` says."""

    def write(sandbox: rig.Sandbox) -> None:
        for service, act, behaviour, options in scripts:
            sandbox.script(service, act, behaviour, **options)

    return write


def only(service: str, act: str, behaviour: str, **options: Any) -> Plan:
    """A plan of one script."""
    return tells((service, act, behaviour, options))


EITHER = COMPLETED | UNDONE
AGREEING = (
    Story(
        "everybody agrees",
        everybody_agrees,
        (
            *around("checkout.start", "checkout.settle", "checkout.forward", "checkout.forward#2"),
            *calling("payment", "inventory", "order_service"),
        ),
        EITHER,
    ),
    Story(
        "a buyer cancels what all agreed to",
        buyer_cancels_what_all_agreed_to,
        (
            *around("orders.move", "checkout.undo", "checkout.undo#2", "checkout.close", "payments.refund"),
            *calling("cancel", "restock", "refund"),
        ),
        EITHER,
    ),
)
REFUSING = (
    Story(
        "the inventory refuses",
        everybody_agrees,
        (
            *around("checkout.refuse", "checkout.refund", "payments.refund", "checkout.undo", "checkout.close"),
            *calling("refund"),
        ),
        UNDONE,
        only("inventory", "deduct", "decline"),
    ),
    Story(
        "the order service refuses",
        everybody_agrees,
        (*around("checkout.forward", "checkout.refuse", "checkout.undo", "checkout.undo#2"), *calling("restock")),
        EITHER,  # asked for the first time after the crash, it says yes
        only("order", "create", "decline"),
    ),
    Story(
        "the refund has no route",
        everybody_agrees,
        around("checkout.park", "checkout.answer"),
        PARKED,
        tells(("order", "create", "decline", {}), ("payment", "refund", "no_route", {"times": 9})),
    ),
)
SILENT = (
    Story(
        "the charge is booked and the connection cut",
        everybody_agrees,
        ("payment:before_call", *calling("payment.ask"), *around("checkout.settle", "checkout.settle#2")),
        EITHER,
        only("payment", "process", "book_then_cut"),
    ),
    Story(
        "the charge is booked and answered 500",
        everybody_agrees,
        (*calling("payment.ask"), *around("checkout.settle#2")),
        EITHER,
        only("payment", "process", "book_then_500"),
    ),
    Story(
        "the charge is lost on the way",
        everybody_agrees,
        (*around("checkout.send_again"), "payment:before_call#2", "payment:after_call"),  # the first call had no end
        EITHER,
        only("payment", "process", "cut"),
    ),
    Story(
        "the inventory books and falls silent",
        everybody_agrees,
        (*around("checkout.unknown"), "inventory:before_call", "inventory:before_call#2", "inventory:after_call"),
        COMPLETED,
        only("inventory", "deduct", "book_then_cut"),
    ),
    Story(
        "the order service books and answers 500",
        everybody_agrees,
        (*around("checkout.unknown"), *calling("order_service", "order_service#2")),
        COMPLETED,
        only("order", "create", "book_then_500"),
    ),
    Story(
        "a buyer cancels while the inventory thinks",
        buyer_cancels_meanwhile,
        (*around("checkout.note", "orders.move", "checkout.refund"), "inventory:after_call"),
        EITHER,
        only("inventory", "deduct", "late", seconds=1),
    ),
)
UNANSWERED = tells(("payment", "process", "book_then_cut", {}), ("payment", "by_key", "error", {"times": 99}))
LATE = (
    Story("nobody pays the link", nobody_pays_the_link, around("checkout.settle#2"), UNDONE, word="dev"),
    # The release that is reached first may be that of the life before; then this one's money is in time after the crash.
    Story("money comes after the stock was let go", money_comes_too_late, around("checkout.release"), EITHER, UNANSWERED, "dev"),
    # The third question may just be asked before the clock moves: then the money is in time after the crash.
    Story("money comes, or comes too late", money_comes_too_late, around("checkout.settle#3"), EITHER, UNANSWERED, "dev"),
)


# ── stories with a product service ───────────────────────────────────────────────────────────────────────────────────


def buyer_looks_around(buyer: Buyer) -> Tale:
    said = yield Ask("GET", "/api/products")
    assert said.status == 200, said.raw


PRODUCTS = (
    Story("a buyer looks around", buyer_looks_around, calling("product.list"), buys=False),
    Story(
        "the product service counts",
        buyer_orders,
        (
            *calling("product.get", "take", "take#2"),
            *around("checkout.start", "checkout.settle", "checkout.forward", "checkout.forward#2"),
        ),
    ),
    Story(
        "the product service counts, paid at the door",
        buyer_pays_at_the_door,
        (*around("checkout.intend", "checkout.forward#2"), *calling("take")),
    ),
    Story(
        "the product service has one and not the other",
        buyer_orders,
        (*around("checkout.refuse", "checkout.undo", "checkout.refund", "checkout.close"), *calling("return")),
        UNDONE,
        only("product", "stock", "decline", match={"product_id": "prod_002"}, status=409),
    ),
    Story(
        "the product service takes and falls silent",
        buyer_orders,
        (*around("checkout.unknown"), "take:after_call"),
        COMPLETED,
        only("product", "stock", "book_then_500"),
    ),
)


# ── a buyer who is told ──────────────────────────────────────────────────────────────────────────────────────────────

TOLD = (
    Story("a buyer is told of an order", buyer_orders, calling("notify", "notify#2"), word="dev"),
    Story("a buyer is told of a cancelled order", buyer_cancels_what_is_paid, calling("notify#3"), EITHER, word="dev"),
)
