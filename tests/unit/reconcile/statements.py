"""A payment, its refunds and the rows of a statement, as small as a test wants them."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.factories import NOON, payment_as_read

from kassa.kit.ids import new_id
from kassa.payments import Payment
from kassa.payments.requests.overview import BookedRefund
from kassa.reconcile import Period, Row
from kassa.reconcile.compare import Compared, Look, compare

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LOOK = Look("stripe", frozenset({"stripe"}), Period(NOON - DAY, NOON + DAY), NOON + 2 * DAY)


def paid(**changes: Any) -> Payment:
    """A payment of 100.00 that was paid at Stripe."""
    given = {"ref_kind": "outside", "provider": "link", "method": "link:stripe", "routed_to": "stripe", "status": "paid"}
    given |= {"captured_minor": 10_000, "currency": "EUR", "provider_ref": "ch_1"}
    return payment_as_read(**(given | changes))


def returned(payment: Payment, minor: int = 1_000, **changes: Any) -> BookedRefund:
    """A refund that succeeded."""
    refund_id = new_id()
    first = BookedRefund(
        merchant_id=payment.merchant_id, refund_id=refund_id, payment_id=payment.payment_id, amount_minor=minor,
        currency=payment.currency, status="succeeded", owed=False, reason=None, provider_key=f"key:refund:{refund_id}",
        provider_ref=None, message=None, created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    return replace(first, **changes)


def row(kind: str = "charge", amount: str | None = "100.00", **changes: Any) -> Row:
    """A row of the statement."""
    first = Row(2, kind, None if amount is None else Decimal(amount), "EUR", NOON, payment_id=uuid.UUID(int=1))
    return replace(first, **changes)


def judge(payment: Payment, *rows: Row, refunds: Any = (), look: Look = LOOK) -> Compared:
    return compare(look, payment, list(refunds), list(rows), NOON)


def types(compared: Compared) -> list[str]:
    return [each.type for each in compared.found]
