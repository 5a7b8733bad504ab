"""Nouns of the catalogue. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kassa.kit.money import Money

OWN = "own"
PRODUCT_SERVICE = "product_service"
ELSEWHERE = "elsewhere"
"""Where the stock of an offer is counted: our own levels, the product service, or an inventory service."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A storefront of a merchant: its currency, its payment methods, how many days a delivery takes."""

    merchant_id: str
    channel: str
    currency: str
    delivery_days: int
    methods: frozenset[str]
    aliases: frozenset[str]


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as it can be bought now.

    `stock` is what can be had, None where nobody counts it here. `read_at` is the database's time before a
    product service was asked: holds that ended later still count against what it said. `at` is the moment of the one clock in which
    it was read, if it was read here.
    """

    product_id: str
    sku: str
    name: str
    price: Money
    images: tuple[str, ...]
    stock: int | None
    counted_by: str = OWN
    read_stock: int | None = None
    read_at: datetime | None = None
    at: datetime | None = field(default=None, compare=False)

    @property
    def image(self) -> str | None:
        """The first image, if there is one."""
        return self.images[0] if self.images else None


@dataclass(frozen=True, slots=True)
class Published:
    """What buyers see of a product of our own, in minor units of its channel's currency. Stock is no part of it."""

    sku: str
    name: str
    price_minor: int
    images: tuple[str, ...]
    sold: bool = True


@dataclass(frozen=True, slots=True)
class FiscalCode:
    """What a receipt says of a product to the tax authority: its IKPU, the code of its packaging, value added tax in percent."""

    code: str
    package_code: str
    vat_percent: int
    units: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of offers; `total` counts all pages' rows."""

    offers: Sequence[Offer]
    page: int
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class Hold:
    """`quantity` pieces of an offer that a checkout wants held."""

    offer: Offer
    quantity: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """More is asked for than can be had now."""

    product_id: str
    requested: int
    available: int
