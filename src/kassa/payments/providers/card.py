"""Cards over HTTP: the payment service of the checkout contract (sections 4 and 5).

A charge carries its key; silence, a 5xx and an answer that cannot be read are `unknown`; a connection that could not be
made and an open breaker are a clear no, because the neighbour saw nothing.
"""

from __future__ import annotations

from urllib.parse import quote

from kassa.kit.money import major_text
from kassa.kit.neighbour import Answer, BreakerOpen, Neighbour, NoAnswer, NotSent, number, said
from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict

_CHARGE_S = 10.0
_ASK_S = 5.0
_REFUND_S = 10.0
_UNDECIDED = frozenset({408, 409, 425})
_NO_ROUTE = frozenset({404, 405, 501})


class CardService:
    """Provider `card`: a payment service at `PAYMENT_SERVICE_URL`."""

    name = "card"
    local = False
    begins_again = False

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:
        """See `Provider.begin`. Without the card (after a restart) nothing can be sent: it is asked instead."""
        if card is None:
            return Verdict("unknown", ask_in_s=0)
        body = {
            "amount": number(major_text(payment.amount_minor, payment.currency)),
            "payment_method": {
                "type": card.type,
                "card_number": card.number,
                "card_expiry": card.expiry,
                "card_cvv": card.cvv,
            },
            "customer_email": email,
        }
        try:
            answer = await self._neighbour.call(
                "POST", "/payments/process", act="payment", timeout_s=_CHARGE_S, body=body, key=payment.provider_key
            )
        except (NotSent, BreakerOpen):
            if payment.sends > 1:  # an earlier sending may have arrived
                return Verdict("unknown", ask_in_s=0)
            return Verdict("declined", code="payment_unavailable", message="The payment service is not available.")
        except NoAnswer:
            return Verdict("unknown", ask_in_s=0)
        return _verdict(answer)

    async def ask(self, payment: Payment) -> Verdict:
        """See `Provider.ask`."""
        try:
            answer = await self._neighbour.call(
                "GET", f"/payments/by-key/{quote(payment.provider_key, safe='')}", act="payment.ask", timeout_s=_ASK_S
            )
        except (NotSent, BreakerOpen, NoAnswer):
            return Verdict("unknown")
        if answer.status == 404 and answer.text("status") == "never_seen" and answer.text("key") == payment.provider_key:
            return Verdict("unknown", never_seen=True)
        if answer.status in _NO_ROUTE:
            return Verdict("unknown", unanswerable=True, message="The payment service cannot be asked.")
        return _verdict(answer) if answer.status == 200 else Verdict("unknown")

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        """See `Provider.refund`."""
        body = {
            "amount": number(major_text(refund.amount_minor, refund.currency)),
            "idempotency_key": refund.provider_key,
        }
        path = f"/payments/{quote(payment.provider_ref or '', safe='')}/refund"
        try:
            answer = await self._neighbour.call("POST", path, act="refund", timeout_s=_REFUND_S, body=body, key=refund.provider_key)
        except (NotSent, BreakerOpen, NoAnswer):
            return RefundVerdict("pending", message="no answer")
        # A 409 says "refunded already", which is what was wanted when the whole sum goes back.
        if answer.ok or (answer.status == 409 and refund.amount_minor == payment.captured_minor):
            return RefundVerdict("succeeded", ref=said(answer.text("refundId")))
        if answer.status in _NO_ROUTE:
            return RefundVerdict("impossible", message=f"answered {answer.status}")
        if answer.status >= 500 or answer.status in {408, 409, 425, 429}:
            return RefundVerdict("pending", message=f"answered {answer.status}")
        return RefundVerdict("failed", message=f"answered {answer.status}")


def _verdict(answer: Answer) -> Verdict:
    status, ref = answer.text("status"), answer.name("transactionId")
    if answer.ok and status == "success" and ref:
        return Verdict("paid", ref=ref, message=said(answer.text("message")))
    if (answer.ok and status == "failed") or (400 <= answer.status < 500 and answer.status not in _UNDECIDED):
        code = answer.text("error") or "payment_declined"
        return Verdict("declined", code=said(code), message=said(answer.text("message")))
    return Verdict("unknown", ask_in_s=0)
