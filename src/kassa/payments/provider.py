"""What a provider of payments can do; every adapter passes one suite.

What it cannot do it says in a field. No method is called with a transaction open, except that a `local` provider
makes no call at all: its verdict follows from the payment's own row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict


class Provider(Protocol):
    """One way to move money."""

    name: str
    local: bool
    """Its verdicts need no outside call and are the same whenever they are asked for."""
    begins_again: bool
    """Beginning moves no money, so it may be repeated with the same payment id until the deadline (links)."""

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:
        """Ask for the money under `payment.provider_key`. No answer is the verdict `unknown`."""
        ...

    async def ask(self, payment: Payment) -> Verdict:
        """Ask what became of it. Moves no money, may be repeated for ever."""
        ...

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        """Give money back under `refund.provider_key`; the same key never gives back twice."""
        ...


@dataclass(frozen=True, slots=True)
class Providers:
    """The port that bootstrap fills: providers by name."""

    by_name: Mapping[str, Provider]

    def of(self, payment: Payment) -> Provider:
        """The provider of a payment."""
        return self.by_name[payment.provider]
