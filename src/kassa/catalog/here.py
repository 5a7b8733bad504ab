"""Offers of our own catalogue within a statement of another room, so that nobody has to ask first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.catalog.model import OWN, Offer
from kassa.kit.money import Money


@dataclass(frozen=True, slots=True)
class OfferHere:
    """SQL about the product `p` of the table `products`. `counted` is False where an inventory service counts the stock instead."""

    counted: bool

    @property
    def columns(self) -> str:
        """What `offer` reads. `sold` is among it and no condition, for which another index than the key would offer itself."""
        return f"p.product_id, p.sku, p.name, p.price_minor, p.currency, p.images, p.sold, {self.stock}"

    @property
    def stock(self) -> str:
        """What can be had, by the whole key of its level: one plan for any size of the tables, which is kept."""
        if not self.counted:
            return "NULL::bigint"
        return """(SELECT s.available FROM stock_levels s
                 WHERE s.merchant_id = p.merchant_id AND s.channel = p.channel AND s.product_id = p.product_id)"""

    def offer(self, columns: Sequence[Any], at: datetime) -> Offer | None:
        """The offer of a row with these `columns`, read at `at`; None if it is not sold."""
        product_id, sku, name, minor, currency, images, sold, stock = columns
        if not sold:
            return None
        return Offer(
            product_id,
            sku,
            name,
            Money(minor, currency),
            tuple(images),
            stock,
            OWN if self.counted else "elsewhere",
            None,
            None,
            at,
        )
