"""An order and the ways it may move. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from kassa.kit.errors import NotFound
from kassa.kit.ids import in_json
from kassa.kit.money import fixed_text
from kassa.kit.moves import IllegalMove, Moves

MOVES = Moves(
    "pending",
    {
        ("pending", "paid"): "paid",  # made by payments alone
        ("pending", "processing"): "processing",  # cash on delivery: paid at the door
        ("paid", "processing"): "processing",
        ("processing", "shipped"): "shipped",
        ("shipped", "delivered"): "delivered",
        ("pending", "cancelled"): "cancelled",
        ("paid", "cancelled"): "cancelled",  # refunded in full, stock returns
        ("processing", "cancelled"): "cancelled",
    },
)


class OrderMissing(NotFound):
    """There is no such order."""

    code = "order_not_found"


def illegal(status: str, to: str) -> IllegalMove:
    """The refusal of a move, with where it may go instead (`paid` is made by payments alone)."""
    by_payment = {("pending", "paid"), ("pending", "processing")}
    allowed = sorted(what for at, what in MOVES.table if at == status and (at, what) not in by_payment)
    return IllegalMove(f"An order cannot go from {status} to {to}.", **{"from": status, "to": to, "allowed": allowed})


AMBASSADORS = "ambassadors"
"""The channel whose products are people: their ids are numbers, and a buyer has each line at once."""

_LARGEST_DATA = 20_000
"""Bytes of an event's data; in a larger one the items are only counted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One product of an order, as it was when it was bought. Amounts are minor units of the order's currency."""

    product_id: str
    product_name: str
    price_minor: int
    quantity: int
    total_minor: int
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """What an order is made of. Ids are made by the caller, `delivery` is how long it will take.

    `at` is the moment of the one clock in which it is placed.
    """

    merchant_id: str
    order_id: uuid.UUID
    checkout_id: uuid.UUID
    payment_id: uuid.UUID
    channel: str
    buyer_id: str | None
    payment_method: str
    currency: str
    lines: Sequence[Line]
    shipping_address: Mapping[str, Any]
    delivery: timedelta
    at: datetime
    payment_url: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it was read; `version` is the number of its last event."""

    merchant_id: str
    order_id: uuid.UUID
    checkout_id: uuid.UUID
    channel: str
    buyer_id: str | None
    order_number: str
    status: str
    payment_status: str
    payment_id: uuid.UUID
    payment_method: str
    payment_url: str | None
    currency: str
    total_minor: int
    shipping_address: Mapping[str, Any] | None
    tracking_number: str | None
    carrier: str | None
    external_id: str | None
    version: int
    estimated_delivery: datetime
    created_at: datetime
    updated_at: datetime
    lines: Sequence[Line]

    def event_data(self) -> dict[str, Any]:
        """The members of an `order.*` event; items that would make it larger than 20 kB are only counted.

        Orders of ambassadors have the members of the purchases contract too (its section 6), with amounts in minor units.
        """
        data: dict[str, Any] = {
            "order_id": str(self.order_id),
            "order_number": self.order_number,
            "status": self.status,
            "payment_status": self.payment_status,
            "payment_id": str(self.payment_id),
            "user_id": self.buyer_id,
            "total": fixed_text(self.total_minor, self.currency),
            "currency": self.currency,
        }
        items: list[dict[str, Any]] = [
            {
                "product_id": line.product_id,
                "quantity": line.quantity,
                "price": fixed_text(line.price_minor, self.currency),
            }
            for line in self.lines
        ]
        if self.channel == AMBASSADORS:
            user_id = None if self.buyer_id is None else in_json(self.buyer_id)
            data |= {"user_id": user_id, "purchase_id": data["order_id"], "amount": self.total_minor}
            for item, line in zip(items, self.lines, strict=True):
                item |= {"ambassador_id": int(line.product_id), "price_paid": line.total_minor}
        whole = {**data, "items": items}
        return whole if len(orjson.dumps(whole)) <= _LARGEST_DATA else {**data, "items_count": len(items)}


@dataclass(frozen=True, slots=True)
class OrderPage:
    """One page of a buyer's orders, newest first; `total` counts all pages' rows."""

    orders: Sequence[Order]
    page: int
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class Bought:
    """A line that a buyer has: paid, and not given back. `price_minor` is what it cost, frozen when it was ordered."""

    line_id: uuid.UUID
    product_id: str
    buyer_id: str
    price_minor: int
    at: datetime


@dataclass(frozen=True, slots=True)
class BoughtPage:
    """One page of what a buyer has, newest first; `total` counts all pages' rows."""

    rows: Sequence[Bought]
    total: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of an order's timeline; `moved` tells a change of status from an update of its data."""

    sequence: int
    status: str
    payment_status: str
    moved: bool
    note: str | None
    tracking_number: str | None
    carrier: str | None
    at: datetime
