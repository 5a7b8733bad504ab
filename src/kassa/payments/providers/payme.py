"""Provider `payme`: the buyer pays at Payme, and Payme calls us (`kassa.collect.payme`). It cannot be asked, and refunds itself."""

from __future__ import annotations

from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict


class Payme:
    """Its link is made with the payment, so beginning it again costs and changes nothing."""

    name = "payme"
    local = False
    begins_again = True

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - the buyer pays elsewhere
        """See `Provider.begin`: the link was made when the payment was opened."""
        return Verdict("waiting", url=payment.pay_url)

    async def ask(self, payment: Payment) -> Verdict:  # noqa: ARG002 - there is nobody to ask
        """See `Provider.ask`: the Merchant API has no question."""
        return Verdict("waiting", unanswerable=True)

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:  # noqa: ARG002 - there is no such call
        """See `Provider.refund`: money goes back from Payme's cabinet, and Payme's own Cancel tells us."""
        return RefundVerdict("impossible", message="refund it in Payme's cabinet")
