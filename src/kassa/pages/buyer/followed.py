"""An order as its buyer follows it: how far it is, what becomes of the money, and what happened so far. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from kassa.kit.money import Money, from_major
from kassa.orders import AMBASSADORS, Happening, Order
from kassa.payments import Payment, Refund
from kassa.timeline import Entry

CASH = "cash_on_delivery"
_AT_A_PROVIDER = frozenset({"link", "payme"})
_IN_DOUBT = frozenset({"unknown", "parked"})
_UNPAID = frozenset({"opened", "waiting"})
_ON_THE_WAY_BACK = frozenset({"pending", "parked"})
_STEP_OF = {"pending": "ordered", "paid": "paid", "processing": "preparing", "shipped": "on_its_way", "delivered": "delivered"}
_ADDRESS = (("city", "state"), ("country",))
"""What is shown of an address: enough to know it again, too little to find the house."""
_SAID = frozenset(
    {
        *("order.created", "order.processing", "order.shipped", "order.delivered", "order.cancelled"),
        *("payment.waiting", "payment.unknown", "payment.paid", "payment.declined", "payment.expired", "payment.reversed"),
        *("refund.created", "refund.succeeded"),
    }
)
"""Events that a buyer reads of. That an order is paid is said by its payment, and a whole refund by the refund itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an order. `state` is `done`, `now` (the last one so far) or `ahead`."""

    name: str
    state: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One line of what happened; `key` names the words, `note` is what the shop or the buyer wrote with it."""

    key: str
    at: datetime
    amount: Money | None = None
    tracking: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """What the page shows of an order. `state` names the sentence on top, `money_state` the one about the payment."""

    order: Order
    payment: Payment
    state: str
    money_state: str
    steps: Sequence[Step]
    said: Sequence[Said]
    refunds: Sequence[Refund]
    address: Sequence[str]

    @property
    def total(self) -> Money:
        """What the order costs."""
        return Money(self.order.total_minor, self.order.currency)

    @property
    def to_pay(self) -> bool:
        """Whether there is something for the buyer to do, or to see, on the pay page."""
        return self.money_state in {"to_pay", "paying", "asking"}

    @property
    def method(self) -> str:
        """The word for how it is paid; a link's alias is the shop's own affair."""
        return self.order.payment_method.partition(":")[0]

    @property
    def expected(self) -> datetime | None:
        """When it should arrive; None for what has, will not, or is nothing to carry."""
        ended = self.order.status in {"delivered", "cancelled"} or self.order.channel == AMBASSADORS
        return None if ended else self.order.estimated_delivery

    @property
    def over(self) -> bool:
        """Whether nothing more is expected to happen by itself."""
        settled = self.payment.status not in _IN_DOUBT | _UNPAID | {"refunding"}
        last = "paid" if self.order.channel == AMBASSADORS else "delivered"
        return settled and self.order.status in {last, "cancelled"}

    @property
    def stamp(self) -> str:
        """What the page stands for: another one means that something changed."""
        return stamp_of(self.order.version, self.payment)


def stamp_of(version: int, payment: Payment) -> str:
    """The stamp of an order of this version with this payment: short, and nothing secret is in it."""
    return f"{version}.{payment.status}.{payment.refunded_minor}.{payment.refunding_minor}"


def followed(
    order: Order, payment: Payment, refunds: Sequence[Refund], moves: Sequence[Happening], story: Sequence[Entry]
) -> Followed:
    """Put together what a buyer is shown of an order, from what was read of it."""
    return Followed(
        order=order,
        payment=payment,
        state=_state(order, payment),
        money_state=_money_state(order, payment),
        steps=list(_steps(order, payment, moves)),
        said=list(_said(order, moves, story)),
        refunds=[each for each in refunds if each.status == "succeeded" or each.status in _ON_THE_WAY_BACK],
        address=list(_address(order.shipping_address or {})),
    )


def _state(order: Order, payment: Payment) -> str:
    """The word for how an order stands."""
    if order.status == "cancelled":
        if payment.status in _IN_DOUBT:
            return "cancelled_asking"
        return {"refunding": "cancelled_refunding", "refunded": "cancelled_refunded"}.get(payment.status, "cancelled")
    if order.status != "pending":
        return _STEP_OF[order.status]
    money = _money_state(order, payment)
    return {"paid": "finishing", "cash": "ordered"}.get(money, money if money in {"to_pay", "paying", "asking"} else "ordered")


def _money_state(order: Order, payment: Payment) -> str:
    """The word for how its payment stands."""
    if payment.status in _IN_DOUBT:
        return "asking"
    if payment.status in _UNPAID:
        if order.status == "cancelled":
            return "cancelled"
        if payment.provider == CASH:
            return "cash"
        return "to_pay" if payment.status == "waiting" or payment.provider in _AT_A_PROVIDER else "paying"
    return payment.status


def _steps(order: Order, payment: Payment, moves: Sequence[Happening]) -> Iterator[Step]:
    """The steps that were reached, then those ahead; of a cancelled order those until then, and where its money is."""
    reached = {_STEP_OF[each.status]: each.at for each in reversed(moves) if each.status in _STEP_OF}
    if order.status == "cancelled":
        cancelled = next((each.at for each in moves if each.status == "cancelled"), None)
        back = {"refunding": "refunding", "refunded": "refunded", "reversed": "refunded"}.get(payment.status)
        yield from (Step(name, "done", reached[name]) for name in _STEP_OF.values() if name in reached)
        yield Step("cancelled", "done" if back else "now", cancelled)
        if back:
            yield Step(back, "now")
        return
    names = [name for name in _STEP_OF.values() if name in reached or _comes(name, order, payment)]
    last = max(names.index(name) for name in reached) if reached else 0
    for place, name in enumerate(names):
        yield Step(name, "now" if place == last else "done" if place < last else "ahead", reached.get(name))


def _comes(name: str, order: Order, payment: Payment) -> bool:
    """Whether an order that goes well comes to this step: cash is paid at the door, ambassadors are not carried anywhere."""
    if order.channel == AMBASSADORS:
        return name in {"ordered", "paid"}
    return name != "paid" or payment.provider != CASH


def _said(order: Order, moves: Sequence[Happening], story: Sequence[Entry]) -> Iterator[Said]:
    """What happened, newest first, without what says the same thing twice."""
    places = {each.sequence: (before, each) for before, each in zip((None, *moves), moves, strict=False)}
    for entry in reversed(story):
        kind = str(entry.details.get("type"))
        before, now = places.get(entry.sequence, (None, None)) if entry.kind == "order" else (None, None)
        moved = before is None or now is None or (before.tracking_number, before.carrier) != (now.tracking_number, now.carrier)
        tracking = " ".join(part for part in (now.carrier, now.tracking_number) if part) if now is not None and moved else ""
        note = now.note if now is not None else None
        if kind in _SAID:
            yield Said(kind.replace(".", "_"), entry.at, _amount(entry.details, order.currency), tracking or None, note)
        elif kind == "order.updated" and tracking:
            yield Said("tracking", entry.at, None, tracking, note)
        elif note is not None:
            yield Said("note", entry.at, None, None, note)


def _amount(details: Mapping[str, Any], currency: str) -> Money | None:
    text = details.get("amount" if str(details.get("type")).startswith("refund.") else "price")
    return from_major(Decimal(str(text)), currency) if text is not None else None


def _address(given: Mapping[str, Any]) -> Iterator[str]:
    for row in _ADDRESS:
        words = ", ".join(str(given[part]) for part in row if given.get(part))
        if words:
            yield words
