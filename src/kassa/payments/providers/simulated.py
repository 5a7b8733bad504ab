"""The built-in stand-in: no money moves, and the verdict follows from the payment's own row.

It follows the script of the contract that opened the payment: `orders` declines a card that ends in 0002,
`checkout` also an amount above 1000 major units, `grpc` an amount that ends in 02; `grpc:decline` and `grpc:wait` do what they
say. So a crash loses nothing: asked again, it says the same.
"""

from __future__ import annotations

from kassa.kit.money import exponent
from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict

_LIMIT_MAJOR = 1000
_DECLINING = "0002"
_DECLINING_END = 2


class Simulated:
    """Provider `simulated`."""

    name = "simulated"
    local = True
    begins_again = False

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - the row decides
        """See `Provider.begin`."""
        return await self.ask(payment)

    async def ask(self, payment: Payment) -> Verdict:
        """See `Provider.ask`."""
        if payment.script is not None and payment.script.startswith("grpc"):
            return _by_amount(payment)
        if payment.script == "checkout" and payment.amount_minor > _LIMIT_MAJOR * 10 ** exponent(payment.currency):
            return Verdict("declined", code="insufficient_funds", message="Insufficient funds in account")
        if payment.card_last4 == _DECLINING:
            return Verdict("declined", code="card_declined", message="The card was declined")
        return Verdict("paid")

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:  # noqa: ARG002 - always given back
        """See `Provider.refund`."""
        return RefundVerdict("succeeded")


def _by_amount(payment: Payment) -> Verdict:
    """The script of the gRPC contract (section 2)."""
    if payment.script == "grpc:wait":
        return Verdict("waiting")
    if payment.script == "grpc:decline" or payment.amount_minor % 100 == _DECLINING_END:
        return Verdict("declined", code="payment_declined", message="Payment declined")
    return Verdict("paid")
