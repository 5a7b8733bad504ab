"""The pay page of an order: what is to be paid, where, how it stands, and what happens next.

It acts on nothing by being looked at: it may be reloaded, opened twice and come back to. While something can still happen it asks
every two seconds; the answer to the last question carries no more questions.
"""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter

from kassa import checkout, merchants, orders, payments
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.api.orders import shapes
from kassa.api.shop import MERCHANT, SHOP
from kassa.checkout.wishes import MoveWish
from kassa.kit import ids
from kassa.kit.errors import KassaError
from kassa.kit.moves import IllegalMove
from kassa.orders import Order
from kassa.pages import cookies, form
from kassa.pages.buyer import bank, tokens
from kassa.pages.buyer.visitor import visitor_of
from kassa.pages.frame import is_part, page, see_other
from kassa.pages.options import PageOptions
from kassa.payments import Payment

_PURPOSE = "pay"
_SAID = frozenset({"already", "played", "silent", "cannot"})
_OVER = frozenset({"paid", "declined", "expired", "cancelled", "refunded", "reversed"})
_UNPAID = frozenset({"declined", "expired", "cancelled"})
_OPEN = frozenset({"opened", "waiting"})
_CASH = "cash_on_delivery"
_METHODS = frozenset({"credit_card", "upi", "net_banking", "link", "payme", _CASH})


@dataclass(frozen=True, slots=True)
class Bill:
    """A payment with its order, as somebody who may see it asked for it. `token` is the one in the address, if there is one."""

    payment: Payment
    order: Order
    token: str
    is_mine: bool
    has_shop: bool = True

    def address(self, **asked: str) -> str:
        """This page, as the same person may open it again."""
        query = urlencode(({"t": self.token} if self.token else {}) | asked)
        return f"/pay/{self.payment.payment_id}" + (f"?{query}" if query else "")

    @property
    def state(self) -> str:
        """The word for how it stands: the payment's status, or what it means for a buyer."""
        if self.payment.provider == _CASH and self.payment.status in _OPEN:
            return "cash"
        if self.payment.status in _OPEN and self.payment.provider in {"link", "payme"}:
            return "choose" if self.payment.pay_url else "asking"
        return self.payment.status

    @property
    def method(self) -> str:
        """The word for how it is paid. Callers of the checkout contract name cards as they like."""
        kind = self.payment.method.partition(":")[0]
        return kind if kind in _METHODS else "credit_card"

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected soon."""
        return self.payment.status in _OVER or self.state == "cash"

    @property
    def may_change_method(self) -> bool:
        """Whether its buyer may let go of the order, to get the cart back and pay in another way."""
        return self.is_of_the_shop and self.state in {"choose", "asking"} and self.payment.held_by is None

    @property
    def is_of_the_shop(self) -> bool:
        """Whether this visitor has bought it in the shop, and may go on there."""
        return self.has_shop and self.is_mine and self.order.merchant_id == MERCHANT and self.order.channel == SHOP

    @property
    def returned_to_cart(self) -> bool:
        """Whether the lines of an order that nobody paid are in their buyer's cart again."""
        return self.payment.script == "orders" and self.payment.provider != _CASH


def router(options: PageOptions) -> APIRouter:
    """The routes of the pay page."""
    made = APIRouter(include_in_schema=False)

    @made.get("/pay/{payment}", response_model=None)
    async def look(call: Call) -> Answer:
        return await show(call, options)

    @made.post("/pay/{payment}/let-go", response_model=None)
    async def let_go(call: Call) -> Answer:
        return await cancel(call, options)

    if options.bank is not None:

        @made.post("/pay/{payment}/bank", response_model=None)
        async def act(call: Call) -> Answer:
            return await play(call, options)

    return made


async def show(call: Call, options: PageOptions) -> Answer:
    """`/pay/{payment}`; only the part that changes, for the script that asks again. Raises `NotHere` for a stranger."""
    asked = call.asked()
    bill = await bill_of(call, options, asked.get("t", ""))
    said = asked.get("said", "")
    # Whoever plays the bank waits for what comes of it, even where nothing more is to be expected of a real one.
    asks_again = not bill.is_over or (said in {"played", "silent"} and bill.payment.status in _UNPAID)
    merchant = await merchants.find(call.ctx.db, bill.order.merchant_id)
    return page(
        call,
        "pay/state.html" if is_part(call) else "pay/page.html",
        bill=bill,
        payment=bill.payment,
        order=bill.order,
        shop=bill.has_shop and bill.order.channel == SHOP,
        merchant=merchant.name if merchant else bill.order.merchant_id,
        again=bill.address(**({"said": said} if said in _SAID else {})) if asks_again else None,
        said=said if said in _SAID else None,
        mark=_mark(options, bill.payment),
        token=bill.token,
        track=_track(options, bill.order),
        hand_over=bank.stand_in(bill.payment) if options.bank else None,
        acts=bank.acts_for(bill.payment) if options.bank else (),
    )


async def cancel(call: Call, options: PageOptions) -> Answer:
    """Let go of an order that nobody has paid: its things go back into the cart. Pressed twice, the second finds it done."""
    sent = await form.read(call)
    bill = await bill_of(call, options, sent.get("t", ""))
    _same_page(options, bill, sent.get(form.MARK, ""))
    if bill.order.status != "cancelled":
        if not bill.may_change_method:
            return see_other(bill.address(said="cannot"))
        wish = MoveWish(bill.order.merchant_id, bill.order.order_id, "cancelled", by_staff=False)
        try:
            await checkout.move_order(call.ctx, wish, shapes.moved)
        except IllegalMove:
            return see_other(bill.address(said="cannot"))
    return see_other("/shop/checkout")


async def play(call: Call, options: PageOptions) -> Answer:
    """Play the bank of this payment: in development only, and through the doors that the sandbox has for everybody."""
    sent = await form.read(call)
    bill = await bill_of(call, options, sent.get("t", ""))
    _same_page(options, bill, sent.get(form.MARK, ""))
    if options.bank is None:
        raise NotHere
    act = sent.get("act", "")
    try:
        await bank.play(call.ctx, options.bank, bill.payment, act)
    except KassaError:
        return see_other(bill.address(said="cannot"))
    return see_other(bill.address(said="silent" if act == "silent" else "played"))


async def bill_of(call: Call, options: PageOptions, token: str) -> Bill:
    """The payment that the path names, with its order. Raises `NotHere` for whoever has neither its token nor bought it."""
    payment_id = ids.parse(call.in_path["payment"])
    payment = await payments.find_anywhere(call.ctx.db, payment_id) if payment_id is not None else None
    order_id = ids.parse(payment.ref) if payment is not None and payment.ref_kind == "order" else None
    if payment is None or order_id is None:
        raise NotHere
    order = await orders.find(call.ctx.db, payment.merchant_id, order_id)
    if order is None:
        raise NotHere
    is_mine = order.merchant_id == MERCHANT and visitor_of(call, options).owns(order)
    is_shown = bool(token) and tokens.is_good(options.keys, tokens.PAYMENT, payment.merchant_id, payment.payment_id, token)
    if not (is_mine or is_shown):
        raise NotHere
    return Bill(payment, order, token if is_shown else "", is_mine, has_shop="shop" in options.groups)


def _track(options: PageOptions, order: Order) -> str:
    token = tokens.make(options.keys, tokens.ORDER, order.merchant_id, order.order_id)
    return f"/track/{order.order_id}?t={token}"


def _mark(options: PageOptions, payment: Payment) -> str:
    return cookies.form_mark(options.keys, _session(payment.payment_id), _PURPOSE)


def _same_page(options: PageOptions, bill: Bill, shown: str) -> None:
    if not cookies.same_mark(options.keys, _session(bill.payment.payment_id), _PURPOSE, shown):
        raise form.Stale


def _session(payment_id: uuid.UUID) -> str:
    # Whoever opened this page has shown that it may be opened; the mark ties the form to it, signed in or not.
    return f"payment:{payment_id}"
