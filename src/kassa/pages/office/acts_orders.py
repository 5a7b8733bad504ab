"""Acts on an order: give money back by amount or by line, cancel, prepare, ship, deliver, add a note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter

from kassa import checkout, orders, payments
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.audit import By
from kassa.checkout.wishes import MoveWish
from kassa.kit import ids
from kassa.kit.money import Money, fixed_text
from kassa.orders import Order
from kassa.pages.office.acts import Field, Mistake, Sheet, add, amount_of, done, key_of, once_text, why_of, within
from kassa.pages.office.acts_money import Step, carry_out_or_ask, lines_of, word_of_order
from kassa.pages.office.session import Staff
from kassa.pages.options import PageOptions
from kassa.payments import Payment
from kassa.payments.model import RefundLine

_NOTE, _TRACKING = 500, 100
_MAY_BE_PAID = frozenset({"opened", "waiting", "unknown", "parked"})


def router(options: PageOptions) -> APIRouter:
    """Their routes."""
    made = APIRouter(include_in_schema=False)
    moves = [_Move(options, name) for name in _MOVES]
    add(made, options, RefundOrder(options), Cancel(options), Note(options), *moves)
    return made


@dataclass(frozen=True, slots=True)
class Bought:
    """An order with its payment, and how many pieces of each line were given back."""

    order: Order
    payment: Payment
    given: Mapping[str, int]

    @property
    def back(self) -> str:
        """The order's page."""
        return f"/office/orders/{self.order.order_id}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What it is about."""
        order, payment = self.order, self.payment
        return [
            ("Order", order.order_number),
            ("Status", f"{order.status}, payment {payment.status}"),
            ("Total", _sum(order.total_minor, order.currency)),
            ("Taken", _sum(payment.captured_minor, payment.currency)),
            ("Given back", _sum(payment.refunded_minor + payment.refunding_minor, payment.currency)),
            ("Can be given back", _sum(payment.refundable_minor if payment.status == "paid" else 0, payment.currency)),
        ]


async def bought(call: Call, who: Staff) -> Bought:
    """The order that the address names. Raises `NotHere`."""
    order_id = ids.parse(call.in_path["order_id"])
    merchant_id = within(who, await orders.merchant_of(call.ctx.db, order_id) if order_id else None)
    order = await orders.find(call.ctx.db, merchant_id, order_id) if order_id else None
    payment = await payments.find(call.ctx.db, merchant_id, order.payment_id) if order else None
    if order is None or payment is None:
        raise NotHere
    given: dict[str, int] = {}
    for line in await _standing(call, payment):
        given[line.line_id] = given.get(line.line_id, 0) + line.quantity
    return Bought(order, payment, given)


async def _standing(call: Call, payment: Payment) -> list[RefundLine]:
    refunds = await payments.refunds_of(call.ctx.db, payment.merchant_id, payment.payment_id)
    return [line for refund in refunds if refund.status != "failed" for line in refund.lines]


class RefundOrder:
    """Give money of an order back."""

    path, admin = "/office/orders/{order_id}/refund", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Bought:
        """The order."""
        return await bought(call, who)

    def sheet(self, found: Bought) -> Sheet:
        """All that is left, a sum, or lines."""
        fields = [
            Field(
                "amount", f"Amount in {found.payment.currency}", "number", most=20,
                hint="Leave it empty, and all lines below, to give back all that is left.",
            )
        ]  # fmt: skip
        for line in found.order.lines:
            left = line.quantity - found.given.get(line.product_id, 0)
            if left > 0:
                price = _sum(line.price_minor, found.order.currency)
                fields.append(
                    Field(f"quantity[{line.product_id}]", f"{line.product_name}: pieces of {left}, {price} each", "number")
                )
                fields.append(Field(f"restock[{line.product_id}]", f"{line.product_name} goes back on the shelf", "tick"))
        says = [
            "The money goes back the way it came. The order keeps its status.",
            "Give back either an amount or lines. The reason is kept with the refund, where the merchant sees it.",
        ]
        return Sheet("Give money back", says, found.facts, "Give it back", found.back, fields)

    async def act(self, call: Call, who: Staff, found: Bought, sent: Mapping[str, str]) -> str:
        """Begin the refund."""
        payment = found.payment
        amount, lines = amount_of(sent, "amount", payment.currency), lines_of(sent)
        if amount is not None and lines:
            raise Mistake("amount", "Give back either an amount or lines, not both.")
        prices = {line.product_id: line.price_minor for line in found.order.lines}
        by_lines = sum(prices.get(line.line_id, 0) * line.quantity for line in lines)
        sum_minor = amount.minor if amount else by_lines or payment.refundable_minor
        before = payment.refunded_minor + payment.refunding_minor
        step = Step(
            "refund", f"payment:{payment.payment_id}", payment.merchant_id, Money(sum_minor, payment.currency), found.back, before
        )
        return await carry_out_or_ask(call, self._options, who, step, sent)


class Cancel:
    """Cancel an order."""

    path, admin = "/office/orders/{order_id}/cancel", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Bought:
        """The order."""
        return await bought(call, who)

    def sheet(self, found: Bought) -> Sheet:
        """What becomes of its money."""
        money = {
            "paid": "All that was paid and not given back yet goes back to the buyer, and the stock returns.",
            "unknown": "It is not known whether it was paid. If it was, the money goes back by itself as soon as that is known.",
        }
        says = [
            money.get(found.payment.status, "Nothing was paid, so nothing goes back. The stock is let go."),
            "It cannot be undone.",
        ]
        fields = [Field("note", "Note to the buyer, if there is something to say", "lines", most=_NOTE)]
        return Sheet("Cancel the order", says, found.facts, "Cancel the order", found.back, fields)

    async def act(self, call: Call, who: Staff, found: Bought, sent: Mapping[str, str]) -> str:
        """Cancel it."""
        payment, order = found.payment, found.order
        if order.status != "cancelled" and not orders.MOVES.allows(order.status, "cancelled"):
            raise orders.illegal(order.status, "cancelled")
        at_stake = payment.amount_minor if payment.status in _MAY_BE_PAID else payment.refundable_minor
        about, amount = f"order:{order.order_id}", Money(at_stake, payment.currency)
        before = payment.refunded_minor + payment.refunding_minor if at_stake else 0
        return await carry_out_or_ask(
            call, self._options, who, Step("cancel", about, order.merchant_id, amount, found.back, before), sent
        )


_MOVES = {
    "process": ("processing", "Prepare the order", "The order shows that it is being prepared."),
    "ship": ("shipped", "Ship the order", "The buyer is told that it is on its way, with tracking number and carrier."),
    "deliver": (
        "delivered",
        "The order was delivered",
        "The buyer is told. An order that is paid at the door counts as paid from then on.",
    ),
}


class _Move:
    """Move an order along its way."""

    admin = False

    def __init__(self, options: PageOptions, name: str) -> None:
        self._options, self._name = options, name
        self._to, self._title, self._says = _MOVES[name]
        self.path = f"/office/orders/{{order_id}}/{name}"

    async def look(self, call: Call, who: Staff) -> Bought:
        """The order."""
        return await bought(call, who)

    def sheet(self, found: Bought) -> Sheet:
        """What the buyer will see."""
        fields = [Field("note", "Note to the buyer, if there is something to say", "lines", most=_NOTE)]
        if self._name == "ship":
            order = found.order
            fields = [
                Field("tracking", "Tracking number", value=order.tracking_number or "", most=_TRACKING),
                Field("carrier", "Carrier", value=order.carrier or "", most=_TRACKING),
                *fields,
            ]
        return Sheet(self._title, [self._says], found.facts, self._title, found.back, fields)

    async def act(self, call: Call, who: Staff, found: Bought, sent: Mapping[str, str]) -> str:
        """Move it; one that is paid is prepared on its way to the carrier."""
        why = why_of(sent)
        if self._to == "shipped" and found.order.status == "paid":
            await self._step(call, who, found.order, "processing", why, {}, once_text(sent) + ".first")
        await self._step(call, who, found.order, self._to, why, sent, once_text(sent))
        return done(self._name, self._to, found.back)

    async def _step(self, call: Call, who: Staff, order: Order, to: str, why: str, sent: Mapping[str, str], text: str) -> None:
        key = key_of(self._options.keys, order.merchant_id, who.name, f"{to} {order.order_id}", sent, text)
        wish = MoveWish(
            order.merchant_id, order.order_id, to, by_staff=True, note=short(sent, "note", _NOTE),
            tracking_number=short(sent, "tracking", _TRACKING), carrier=short(sent, "carrier", _TRACKING), key=key,
            by=By(who.role, who.name), why=why,
        )  # fmt: skip
        await checkout.move_order(call.ctx, wish, word_of_order)


class Note:
    """Leave a note at an order, or correct its tracking data."""

    path, admin = "/office/orders/{order_id}/note", False

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Bought:
        """The order."""
        return await bought(call, who)

    def sheet(self, found: Bought) -> Sheet:
        """What the buyer will see."""
        order = found.order
        fields = [
            Field("note", "Note", "lines", most=_NOTE),
            Field("tracking", "Tracking number", value=order.tracking_number or "", most=_TRACKING),
            Field("carrier", "Carrier", value=order.carrier or "", most=_TRACKING),
        ]
        says = ["The buyer sees the note, the tracking number and the carrier on the tracking page."]
        return Sheet("Add a note", says, found.facts, "Add it", found.back, fields, why="")

    async def act(self, call: Call, who: Staff, found: Bought, sent: Mapping[str, str]) -> str:
        """Add it."""
        order = found.order
        if not any(sent.get(name) for name in ("note", "tracking", "carrier")):
            raise Mistake("note", "Write a note, a tracking number or a carrier.")
        key = key_of(self._options.keys, order.merchant_id, who.name, f"note {order.order_id}", sent, once_text(sent))
        wish = MoveWish(
            order.merchant_id, order.order_id, order.status, by_staff=True, note=short(sent, "note", _NOTE),
            tracking_number=short(sent, "tracking", _TRACKING), carrier=short(sent, "carrier", _TRACKING), key=key,
            by=By(who.role, who.name),
        )  # fmt: skip
        await checkout.move_order(call.ctx, wish, word_of_order)
        return done("note", "noted", found.back)


def short(sent: Mapping[str, str], name: str, most: int) -> str | None:
    """A text of at most `most` characters, None for an empty field. Raises `Mistake`."""
    text = sent.get(name, "")
    if len(text) > most:
        raise Mistake(name, f"Write at most {most} characters.")
    return text or None


def _sum(minor: int, currency: str) -> str:
    return f"{fixed_text(minor, currency)} {currency}"
