"""What merchants' systems are told, and what can be refused to them, in the words of the payments contract. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from kassa.kit.errors import Busy, Invalid, NotFound, Refused
from kassa.payments.model import Payment, Refund

# The vocabulary of the timeline (payments contract, section 5).
CREATED, ASKED, VERDICT, NOTIFIED, CANCELLED, REFUNDED, EXPIRED, DISPUTED = range(1, 9)
EVENT_NAMES = {
    CREATED: "EVENT_PAYMENT_CREATED",
    ASKED: "EVENT_PROVIDER_REQUEST_SENT",
    VERDICT: "EVENT_PROVIDER_PAYMENT_ACCEPTED",
    NOTIFIED: "EVENT_MERCHANT_NOTIFICATION_SENT",
    CANCELLED: "EVENT_PAYMENT_CANCELLED",
    REFUNDED: "EVENT_PAYMENT_REFUNDED",
    EXPIRED: "EVENT_PAYMENT_EXPIRED",
    DISPUTED: "EVENT_PAYMENT_DISPUTED",
}
PENDING, SUCCESS, FAILED, RETRYING, BLOCKED, PROCESSING = range(1, 7)
LOG_NAMES = {
    PENDING: "LOG_PENDING",
    SUCCESS: "LOG_SUCCESS",
    FAILED: "LOG_FAILED",
    RETRYING: "LOG_RETRYING",
    BLOCKED: "LOG_BLOCKED",
    PROCESSING: "LOG_PROCESSING",
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """The first answer to this idempotency key, byte for byte."""

    status: int
    body: bytes


RenderPayment = Callable[[uuid.UUID, str | None], tuple[int, bytes]]
"""How a surface answers with a new payment and its link: the status and the bytes that an idempotency key keeps."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """A refund, and the payment after it."""

    refund: Refund
    payment: Payment


RenderRefund = Callable[[Refunded], tuple[int, bytes]]


class PaymentMissing(NotFound):
    """Payment not found"""  # noqa: D400 - the contract's own words, here and below

    code = "payment_not_found"


class ProviderMissing(Refused):
    """Provider not found"""  # noqa: D400

    code = "provider_not_found"
    advice = "Name an alias that the operator has a route for."


class PaymentExists(Refused):
    """Payment already exists"""  # noqa: D400

    code = "payment_already_exists"
    advice = "Use the payment that the answer names: send its buyer to its `payment_url`."

    def __init__(self, payment: Payment) -> None:
        super().__init__()
        self.payment = payment


class _LinkMissing(Busy):
    """There is no link, and the payment has failed; ask again for a new one."""

    def __init__(self, payment_id: uuid.UUID) -> None:
        super().__init__(payment_id=str(payment_id))


class ProviderUnreachable(_LinkMissing):
    """Provider unreachable"""  # noqa: D400

    code = "provider_unreachable"
    advice = "Send it again, under the same key if you like: it makes a new payment. The token came back."


class ProviderLinkFailed(_LinkMissing):
    """Provider URL generation failed"""  # noqa: D400

    code = "provider_link_failed"
    advice = "Send it again later, or ask the operator to look at the provider. The token came back."


class RefundAtProvider(Refused):
    """Payment is not refundable"""  # noqa: D400 - here; it is given back in the provider's cabinet

    code = "refund_at_provider"
    advice = "Give it back in the cabinet of Payme; the books follow."


class HeldByProvider(Refused):
    """Payme is taking this payment at this moment: wait until it has or has let go, or cancel it in Payme's cabinet."""

    code = "held_by_provider"


class AboveLimit(Refused):
    """More than one person may give back alone."""

    code = "above_limit"


class NoLines(Refused):
    """This payment has no lines"""  # noqa: D400

    code = "no_lines"
    advice = "Name an amount."


class LineNotRefundable(Refused):
    """A line is unknown, or more is asked back than is left of it"""  # noqa: D400

    code = "line_not_refundable"
    advice = "Read the payment: its lines, and what is left of each."


class RestockImpossible(Refused):
    """The stock of this order is counted by a product or inventory service; return the goods there"""  # noqa: D400

    code = "restock_not_possible"
    advice = "Leave `restock` out, and return the goods where their stock is counted."


class KeyMissing(Invalid):
    """Idempotency-Key required"""  # noqa: D400

    code = "idempotency_key_required"
    advice = "Send a key of your own for each refund: only that tells a repeat from a second refund."
