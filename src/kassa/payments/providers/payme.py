"""Provider `payme`: the buyer pays at Payme, and Payme calls us (`kassa.collect.payme`). It cannot be asked.

Money goes back from here where the Subscribe API is on (`PAYME_SUBSCRIBE`), else from Payme's cabinet alone.
"""

from __future__ import annotations

from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict
from kassa.payments.payme.give_back import Subscribe, give_back


class Payme:
    """Its link is made with the payment, so beginning it again costs and changes nothing. `api` None: no refunds here."""

    name = "payme"
    local = False
    begins_again = True

    def __init__(self, api: Subscribe | None = None) -> None:
        self._api = api

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - the buyer pays elsewhere
        """See `Provider.begin`: the link was made when the payment was opened."""
        return Verdict("waiting", url=payment.pay_url)

    async def ask(self, payment: Payment) -> Verdict:  # noqa: ARG002 - there is nobody to ask
        """See `Provider.ask`: the Merchant API has no question."""
        return Verdict("waiting", unanswerable=True)

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        """See `Provider.refund`: the receipt is cancelled, whole. Payme's own Cancel tells us too, and the first one counts."""
        if self._api is None:
            return RefundVerdict("impossible", message="refund it in Payme's cabinet")
        return await give_back(self._api, payment, refund)
