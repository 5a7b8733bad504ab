"""The checkout: where to, whom to write to, how to pay. One cart version becomes one order, from any number of tabs.

A card's number is in this process for the length of the request. It is not shown again when the form has mistakes, and nothing but
what `CardTrace` may hold is kept.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kassa import carts, checkout, orders
from kassa.api.answers import Answer
from kassa.api.body import fit
from kassa.api.call import Call
from kassa.api.errors import InvalidInput
from kassa.api.orders import shapes
from kassa.api.orders.models import ShippingAddress, trace_of
from kassa.api.orders.placing import hashes_of
from kassa.api.shop import MERCHANT, the_shop
from kassa.catalog import Channel
from kassa.checkout.wishes import CartWish, Placed
from kassa.kit.errors import Refused
from kassa.kit.money import Money
from kassa.notices.model import usable_email
from kassa.orders import Order
from kassa.pages.buyer import tokens
from kassa.pages.buyer.visitor import Visitor, keep, visitor_of
from kassa.pages.frame import see_other
from kassa.pages.language import speech_of
from kassa.pages.options import PageOptions
from kassa.pages.shop import desk
from kassa.pages.shop.cart import Basket, basket_of
from kassa.pages.shop.methods import CARD, methods_of
from kassa.payments.model import NO_CARD, CardTrace

ADDRESS = ("street", "city", "state", "postalCode", "country")
_TYPED = ("name", "email", *ADDRESS, "method")
_EXPIRY = re.compile(r"(0[1-9]|1[0-2]) ?/ ?([0-9]{2})")
_CARD_LENGTHS = range(12, 20)
_MOST = 2**63 - 1
_CHANGED = (checkout.CartEmpty, checkout.StockInsufficient, checkout.PriceChanged, carts.CartChanged)


@dataclass(slots=True)
class Asked:
    """What the form asks for. `wrong` holds the fields with a mistake, each with the word for it; `number` stays in this file."""

    typed: dict[str, str]
    version: int | None
    total: int | None
    number: str = field(default="", repr=False)
    expiry: str = field(default="", repr=False)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> dict[str, str]:
        """The shipping address as the orders contract has it, with the name on the parcel."""
        return {name: self.typed[name] for name in (*ADDRESS, "name")}


async def show(call: Call, options: PageOptions) -> Answer:
    """`/shop/checkout`. A cart with something to mend is mended first."""
    visitor = visitor_of(call, options)
    channel = await the_shop(call.ctx)
    basket = await _basket(call, visitor, channel)
    if basket is None or not basket.can_be_ordered:
        return see_other("/shop/cart?said=mend" if basket else "/shop/cart", *keep(visitor, options))
    caller = visitor.caller
    typed = dict.fromkeys(_TYPED, "") | {"name": caller.name or "", "email": caller.email or ""} if caller else {}
    return await _form(call, options, visitor, channel, basket, dict.fromkeys(_TYPED, "") | typed, {})


async def order(call: Call, options: PageOptions) -> Answer:
    """Place the order, and go where it is paid. The same form again leads to the same order."""
    visitor = visitor_of(call, options)
    sent = await desk.read_form(call, options, visitor)
    channel = await the_shop(call.ctx)
    asked = read(sent, methods_of(call.ctx, channel), datetime.now(UTC))
    if asked.version is None or asked.total is None:
        return see_other("/shop/cart?said=moved")
    status, placed = 422, None
    if not asked.wrong:
        try:
            placed = await checkout.order_from_cart(call.ctx, _wish(call, visitor, channel, asked), shapes.placed)
        except _CHANGED as error:
            return see_other(f"/shop/cart?said={'price' if isinstance(error, checkout.PriceChanged) else 'moved'}")
        except checkout.AlreadyOrdered as error:
            return await _to_order(call, options, uuid.UUID(error.details["order_id"]))
        except Refused:  # what else can be refused was asked for above: this is a way to pay that is offered no more
            asked.wrong["method"] = "method"
        except checkout.TooManyWaiting:
            status, asked.wrong["method"] = 429, "waiting"
    if isinstance(placed, Placed):
        return see_other(_address_of(options, placed.order))
    basket = await _basket(call, visitor, channel)
    if basket is None:
        return see_other("/shop/cart?said=moved")
    return await _form(call, options, visitor, channel, basket, asked.typed, asked.wrong, status=status)


def read(sent: Mapping[str, str], methods: list[str], now: datetime) -> Asked:
    """What was sent, with every mistake found. A security code is not asked for: nobody here could use it."""
    typed = {name: sent.get(name, "") for name in _TYPED}
    asked = Asked(typed, desk.whole(sent, "version", _MOST), desk.whole(sent, "total", _MOST))
    if asked.total is None and sent.get("total") == "0":
        asked.total = 0
    try:
        fit(ShippingAddress, asked.address)
    except InvalidInput as error:
        asked.wrong |= {str(each.path[0]): "text" for each in error.problems}
    if usable_email(typed["email"]) is None:
        asked.wrong["email"] = "email"
    if not typed["name"]:
        asked.wrong["name"] = "text"
    if typed["method"] not in methods:
        asked.wrong["method"] = "method"
    if typed["method"] == CARD:
        asked.number, asked.expiry = re.sub(r"[ -]", "", sent.get("card", "")), sent.get("expiry", "")
        asked.wrong |= _card_mistakes(asked.number, asked.expiry, now)
    return asked


def _card_mistakes(number: str, expiry: str, now: datetime) -> dict[str, str]:
    wrong = {}
    if not (number.isascii() and number.isdigit() and len(number) in _CARD_LENGTHS and _adds_up(number)):
        wrong["card"] = "card"
    found = _EXPIRY.fullmatch(expiry)
    if found is None:
        wrong["expiry"] = "expiry"
    elif (2000 + int(found[2]), int(found[1])) < (now.year, now.month):
        wrong["expiry"] = "over"
    return wrong


def _adds_up(number: str) -> bool:
    """The check digit that every card's number ends with (ISO/IEC 7812-1): it finds a mistyped digit."""
    doubled = [int(each) * (1 + place % 2) for place, each in enumerate(reversed(number))]
    return sum(each - 9 if each > 9 else each for each in doubled) % 10 == 0


def _wish(call: Call, visitor: Visitor, channel: Channel, asked: Asked) -> CartWish:
    caller, keys = visitor.caller, call.ctx.keys
    card: CardTrace = trace_of(asked.number, keys.fingerprint) if asked.number else NO_CARD
    return CartWish(
        channel=channel,
        buyer_id=visitor.buyer_id,
        email=asked.typed["email"],
        name=asked.typed["name"],
        token=caller.token if caller else None,
        shipping_address=asked.address,
        method=asked.typed["method"],
        card=card,
        asked=hashes_of(keys, asked.address, asked.typed["method"]),
        version=asked.version,
        expected_total=Money(asked.total or 0, channel.currency),
        address=call.address,
        language=speech_of(call.scope).code,
    )


async def _to_order(call: Call, options: PageOptions, order_id: uuid.UUID) -> Answer:
    """The order that this cart became, with another address or method than this form asks for."""
    found = await orders.find(call.ctx.db, MERCHANT, order_id)
    return see_other(_address_of(options, found, "already") if found else "/shop/cart?said=moved")


def _address_of(options: PageOptions, found: Order, said: str | None = None) -> str:
    """Where an order is paid, or its payment is seen: with the token, so that the link can be kept and sent on."""
    if "buyer" not in options.groups:
        return "/shop/orders"
    token = tokens.make(options.keys, tokens.PAYMENT, found.merchant_id, found.payment_id)
    return f"/pay/{found.payment_id}?t={token}{f'&said={said}' if said else ''}"


async def _basket(call: Call, visitor: Visitor, channel: Channel) -> Basket | None:
    cart = await desk.cart_of(call, visitor)
    return await basket_of(call, channel, cart) if cart is not None and cart.lines else None


async def _form(
    call: Call,
    options: PageOptions,
    visitor: Visitor,
    channel: Channel,
    basket: Basket,
    typed: Mapping[str, str],
    wrong: Mapping[str, str],
    *,
    status: int = 200,
) -> Answer:
    values: dict[str, Any] = {
        "basket": basket,
        "typed": typed,
        "wrong": wrong,
        "address": ADDRESS,
        "methods": methods_of(call.ctx, channel),
        "is_demo": options.sandbox,
    }
    return await desk.show(call, options, visitor, "shop/checkout.html", status=status, cart=basket.cart, **values)
