"""What the operator decided about this installation, as far as the conductor must know it."""

from __future__ import annotations

from dataclasses import dataclass

from kassa.catalog import Channel
from kassa.checkout.model import INVENTORY, ORDER, ORDER_SERVICE, PAYMENT, PURCHASES, STOCK, TAKE
from kassa.kit.errors import Refused

SIMULATED_METHODS = frozenset({"credit_card", "upi", "net_banking"})
CASH = "cash_on_delivery"


class MethodUnavailable(Refused):
    """This payment method is not offered here."""

    code = "method_unavailable"
    advice = "Offer another way to pay; the operator decides which there are."


class UnknownProvider(Refused):
    """There is no payment provider of this name."""

    code = "unknown_provider"
    advice = "Name a provider that the channel has."


@dataclass(frozen=True, slots=True)
class Rules:
    """The port that bootstrap fills: which neighbours there are and what is allowed."""

    payment_service: bool = False
    inventory_service: bool = False
    order_service: bool = False
    product_service: bool = False
    links: bool = True
    simulated_payments: bool = True
    max_waiting_orders: int = 20
    payme: bool = False

    def stock_counted_by(self, surface: str) -> str:
        """Who counts the stock of a surface: `own`, `inventory` or `product`."""
        first, second = ("product", "inventory") if surface == "orders" else ("inventory", "product")
        there = {"product": self.product_service, "inventory": self.inventory_service}
        return first if there[first] else second if there[second] else "own"

    def acts(self, surface: str, product_ids: list[str], *, pays_first: bool) -> list[str]:
        """The acts of a checkout, in order; those that cannot be undone would stand last."""
        if surface == PURCHASES:
            return [PAYMENT, ORDER]  # nobody counts ambassadors
        counted_by = self.stock_counted_by(surface)
        acts = [] if counted_by == "inventory" else [STOCK]
        acts += [PAYMENT] if pays_first else []
        if counted_by == "inventory":
            acts.append(INVENTORY)
        elif counted_by == "product":
            acts += [TAKE + product_id for product_id in sorted(product_ids)]
        if surface == "checkout" and self.order_service:
            acts.append(ORDER_SERVICE)
        return [*acts, ORDER]

    def provider_of_order(self, channel: Channel, method: str) -> str:
        """The provider behind a method of the orders contract. Raises `MethodUnavailable`, `UnknownProvider`."""
        kind, _, alias = method.partition(":")
        if kind not in channel.methods or (kind == "link" and not self.links):
            raise MethodUnavailable
        if kind == "link":
            if alias not in channel.aliases:
                raise UnknownProvider
            return "link"
        if kind == "payme" and self.payme and channel.currency == "UZS":
            return "payme"
        if kind == CASH:
            return CASH
        if kind in SIMULATED_METHODS and self.simulated_payments:
            return "simulated"
        raise MethodUnavailable

    def provider_of_card(self) -> str:
        """The provider behind a card of the checkout contract. Raises `MethodUnavailable`."""
        if self.payment_service:
            return "card"
        if not self.simulated_payments:
            raise MethodUnavailable
        return "simulated"
