"""A cart, its lines, and what would stop or change an order made from it. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kassa.kit.money import Money

MAX_LINES = 100
MAX_QUANTITY = 999


class Offered(Protocol):
    """What a cart needs to know of a product's offer (`catalog.Offer` fits)."""

    @property
    def name(self) -> str:
        """The product's name."""
        ...

    @property
    def price(self) -> Money:
        """The live price of one."""
        ...

    @property
    def stock(self) -> int | None:
        """How many can be had now; None when nobody counts."""
        ...

    @property
    def image(self) -> str | None:
        """The first image."""
        ...


@dataclass(frozen=True, slots=True)
class CartLine:
    """One product in a cart since `added_at`, with what the buyer saw at the last edit of this line."""

    line_id: uuid.UUID
    product_id: str
    quantity: int
    seen_price_minor: int
    seen_name: str
    seen_image: str | None
    added_at: datetime


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """A line on its way back into a cart."""

    product_id: str
    quantity: int
    price_minor: int
    name: str
    image: str | None


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart as it was read; `version` moves by one with each change of its lines."""

    merchant_id: str
    cart_id: uuid.UUID
    channel: str
    buyer_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    lines: Sequence[CartLine]


@dataclass(frozen=True, slots=True)
class LineView:
    """A line at live prices; one that is no longer sold (`sold` False) shows its last known name and price."""

    line: CartLine
    name: str
    price: Money
    image: str | None
    sold: bool

    @property
    def total(self) -> Money:
        """Price times quantity."""
        return self.price.times(self.line.quantity)


@dataclass(frozen=True, slots=True)
class Problem:
    """What would stop or change an order: `price_changed`, `stock_insufficient` or `no_longer_sold`."""

    code: str
    line: CartLine
    old_price: Money | None = None
    price: Money | None = None
    available: int | None = None


def view(cart: Cart, offers: Mapping[str, Offered], currency: str) -> tuple[list[LineView], list[Problem]]:
    """The lines at live prices, in the order they were first added, and their problems, one per line and code."""
    views: list[LineView] = []
    problems: list[Problem] = []
    for line in cart.lines:
        seen = Money(line.seen_price_minor, currency)
        offer = offers.get(line.product_id)
        if offer is None:
            views.append(LineView(line, line.seen_name, seen, line.seen_image, sold=False))
            problems.append(Problem("no_longer_sold", line))
            continue
        views.append(LineView(line, offer.name, offer.price, offer.image, sold=True))
        if offer.price != seen:
            problems.append(Problem("price_changed", line, old_price=seen, price=offer.price))
        if offer.stock is not None and offer.stock < line.quantity:
            problems.append(Problem("stock_insufficient", line, available=offer.stock))
    return views, problems
