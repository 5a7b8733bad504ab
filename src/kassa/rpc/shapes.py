"""How a payment looks over gRPC: one table from our states to the contract's statuses and messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from kassa.collect import Keyed
from kassa.payments.model import Payment
from payments_service import payments_pb2 as pb

PENDING, SUCCEEDED, FAILED = pb.PAYMENT_STATUS_PENDING, pb.PAYMENT_STATUS_SUCCEEDED, pb.PAYMENT_STATUS_FAILED

SHOWN: Final[dict[str, tuple[pb.PaymentStatus, str]]] = {
    "opened": (PENDING, "Payment initiated"),
    "waiting": (PENDING, "Payment initiated"),
    "unknown": (PENDING, "Payment initiated"),
    "parked": (PENDING, "Payment initiated"),
    "paid": (SUCCEEDED, "Payment succeeded"),
    "declined": (FAILED, "Payment declined"),
    "expired": (FAILED, "Payment expired"),
    "cancelled": (FAILED, "Payment cancelled"),
    "refunding": (SUCCEEDED, "Payment refunded"),
    "refunded": (SUCCEEDED, "Payment refunded"),
    "reversed": (SUCCEEDED, "Payment refunded"),
}
"""What a caller is shown of each state (gRPC contract, section 3)."""

_FIRST_STATUS, _FIRST_MESSAGE = SHOWN["opened"]
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
OK = pb.HealthResponse(status="ok").SerializeToString()


def requested(keyed: Keyed, key: str) -> bytes:
    """The answer to a request under `key`: the same bytes for every repeat, whatever has happened since."""
    return pb.RequestPaymentResponse(
        payment_id=str(keyed.payment_id),
        status=_FIRST_STATUS,
        message=_FIRST_MESSAGE,
        idempotency_key=key,
        created_at=_timestamp(keyed.created_at),
    ).SerializeToString()


def shown(payment: Payment, key: str) -> bytes:
    """A payment as it is now; `key` is empty for one that was not asked for by key."""
    status, message = SHOWN[payment.status]
    return pb.GetPaymentResponse(
        payment_id=str(payment.payment_id),
        status=status,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        order_id=payment.ref,
        idempotency_key=key,
        created_at=_timestamp(payment.created_at),
        message=message,
    ).SerializeToString()


def _timestamp(moment: datetime) -> Timestamp:
    since = moment - _BEGINNING
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)
