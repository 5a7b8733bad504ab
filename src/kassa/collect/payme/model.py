"""What Payme is told when it cannot have what it asks for, and how its account is read. No I/O here.

Sections are those of Payme's Merchant API.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kassa.kit.errors import Refused
from kassa.payments.model import Payment

AMOUNT_DIFFERS = -31001
NO_SUCH_TRANSACTION = -31003
NOT_REFUNDABLE = -31007
NOT_NOW = -31008
NO_SUCH_ORDER = -31050
PAID_ALREADY = -31052
CLOSED = -31053
NO_SUCH_RECEIPT = -32001

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST = 64
_WAITS = frozenset({"opened", "waiting"})
_HAS_MONEY = frozenset({"paid"})


class PaymeRefusal(Refused):
    """Payme's call cannot be carried out."""

    code = "payme_refusal"

    def __init__(self, number: int, data: str | None = None) -> None:
        super().__init__()
        self.number = number
        """The code of the answer (section 6)."""
        self.data = data
        """What the answer names: the account's member, or nothing."""


def account_id(account: Mapping[str, Any], name: str) -> uuid.UUID:
    """The order or payment that the member `name` of an account means (2.8). Raises `PaymeRefusal` -31050 for whatever is none."""
    value = account.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if value.bit_length() <= 4 * _LONGEST else None
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(text):
        raise PaymeRefusal(NO_SUCH_ORDER, name)
    return uuid.UUID(text)


def check_amount(payment: Payment, amount: int | Decimal) -> None:
    """Raises `PaymeRefusal` -31001 unless it is exactly the payment's. Compared here, so that no number is too large."""
    if amount != payment.amount_minor:
        raise PaymeRefusal(AMOUNT_DIFFERS)


def check_payable(payment: Payment, name: str) -> None:
    """Raises `PaymeRefusal` for a payment that is paid (-31052), or closed to payment by its state or its deadline (-31053)."""
    if payment.status in _HAS_MONEY:
        raise PaymeRefusal(PAID_ALREADY, name)
    late = payment.expires_at is not None and payment.expires_at <= payment.read_at
    if payment.status not in _WAITS or late:
        raise PaymeRefusal(CLOSED, name)
