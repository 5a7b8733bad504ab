"""Payment links by alias: the provider at `PROVIDER_URL` (or the sandbox) makes a page where the buyer pays.

Asking for a link moves no money, so no answer leaves the payment `opened` and it is asked again with the same id. What
becomes of it is told by the provider's signed webhook; it cannot be asked.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from kassa.kit.clock import rfc3339_micros
from kassa.kit.ids import in_json
from kassa.kit.money import fixed_text
from kassa.kit.neighbour import AnswerTooLong, BreakerOpen, Neighbour, NoAnswer, NotSent
from kassa.payments.model import Card, Payment, Refund, RefundVerdict, Verdict

_LINK_S = 3.0
_LONGEST_URL = 2048
_LONGEST_ANSWER = 16 * 1024
"""Bytes of an answer with a link."""
_TRY_ANOTHER = frozenset({429, 500, 502, 503, 504})
"""A definite no of the provider, and not of the request: another provider may be asked."""


class Links:
    """Provider `link`; the payment's method is `link:<alias>`, and `routed_to` says whom the alias stands for."""

    name = "link"
    local = False
    begins_again = True

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - the buyer pays elsewhere
        """See `Provider.begin`: `waiting` with the URL, or `unknown` when no usable link came back."""
        body = {
            "payment_id": str(payment.payment_id),
            "merchant_id": in_json(payment.merchant_id),
            "provider": payment.routed_to or payment.alias,
            "order_id": payment.order_id,
            "price": fixed_text(payment.amount_minor, payment.currency),
            "currency": payment.currency,
            "expires_at": rfc3339_micros(payment.expires_at) if payment.expires_at else None,
        }
        try:
            answer = await self._neighbour.call(
                "POST",
                "/payment-links",
                act="link",
                timeout_s=_LINK_S,
                body=body,
                key=str(payment.payment_id),
                at_most=_LONGEST_ANSWER,
            )
        except (NotSent, BreakerOpen):
            return Verdict("unknown", code="provider_unreachable", elsewhere=True)
        except AnswerTooLong:
            return Verdict("unknown", code="provider_link_failed")
        except NoAnswer:
            return Verdict("unknown", code="provider_unreachable")
        url = answer.text("payment_url")
        if answer.status in {200, 201} and url and _usable(url):
            return Verdict("waiting", url=url)
        return Verdict("unknown", code="provider_link_failed", elsewhere=answer.status in _TRY_ANOTHER)

    async def ask(self, payment: Payment) -> Verdict:
        """See `Provider.ask`: links are reported by webhook only."""
        return Verdict("waiting" if payment.pay_url else "unknown", unanswerable=True)

    async def refund(self, payment: Payment, refund: Refund) -> RefundVerdict:
        """See `Provider.refund`."""
        body = {
            "refund_id": str(refund.refund_id),
            "payment_id": str(payment.payment_id),
            "merchant_id": in_json(payment.merchant_id),
            "provider": payment.routed_to or payment.alias,
            "amount": fixed_text(refund.amount_minor, refund.currency),
            "currency": refund.currency,
            "reason": refund.reason,
        }
        try:
            answer = await self._neighbour.call(
                "POST", "/refunds", act="refund", timeout_s=_LINK_S, body=body, key=str(refund.refund_id)
            )
        except (NotSent, BreakerOpen, NoAnswer):
            return RefundVerdict("pending", message="no answer")
        if answer.status in {404, 405, 501}:
            return RefundVerdict("impossible", message=f"answered {answer.status}")
        if answer.status in {200, 201} and answer.text("status") == "refunded":
            return RefundVerdict("succeeded")
        if answer.status in {400, 409, 422} or (answer.ok and answer.text("status") == "failed"):
            return RefundVerdict("failed", message=f"answered {answer.status}")
        return RefundVerdict("pending", message=f"answered {answer.status}")


class External(Links):
    """Provider `external`: the caller's own system collects, and reports by the same webhook (gRPC contract, section 2)."""

    name = "external"
    begins_again = False

    async def begin(self, payment: Payment, card: Card | None, email: str | None) -> Verdict:  # noqa: ARG002 - nobody is asked
        """See `Provider.begin`: nobody is asked; a report settles it."""
        return Verdict("waiting")

    async def ask(self, payment: Payment) -> Verdict:  # noqa: ARG002 - nobody is asked
        """See `Provider.ask`."""
        return Verdict("waiting", unanswerable=True)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return len(url) <= _LONGEST_URL and parts.scheme in {"http", "https"} and bool(parts.hostname)
