"""Cash on delivery: nothing is asked of anybody until the order is handed over."""

from __future__ import annotations

from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict


class Cash:
    """Provider `cash_on_delivery`."""

    name = "cash_on_delivery"
    local = True
    begins_again = False

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - nobody is asked
        """See `Provider.begin`: the buyer pays at the door."""
        return Verdict("waiting")

    async def ask(self, payment: Payment) -> Verdict:  # noqa: ARG002 - nobody is asked
        """See `Provider.ask`."""
        return Verdict("waiting")

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:  # noqa: ARG002 - a person gives it back
        """See `Provider.refund`: a person gives cash back and says so."""
        return RefundVerdict("impossible", message="Cash is given back by hand.")
