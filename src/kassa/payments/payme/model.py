"""Payme's attempts to pay a payment, as Payme counts them, and a merchant's account there. No I/O here.

Sections are those of Payme's Merchant API. Times are milliseconds since 1970, amounts tiyin (1/100 UZS).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson

PROVIDER = "payme"
CURRENCY = "UZS"

CREATED, PERFORMED, CANCELLED, REFUNDED = 1, 2, -1, -2
AFTER = {
    (CREATED, "perform"): PERFORMED,
    (CREATED, "cancel"): CANCELLED,  # whatever the reason is
    (CREATED, "expire"): CANCELLED,
    (PERFORMED, "cancel"): REFUNDED,
}
"""Section 4. What is not here changes nothing: a repetition is told what was stored."""
TIMED_OUT = 4
"""The reason of an attempt that nobody performed in time."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One attempt as it was read. `transaction_id` is ours; `payme_id`, `time_ms` and `account` (JSON text) are Payme's."""

    merchant_id: str
    transaction_id: uuid.UUID
    payme_id: str
    cashbox_id: str
    payment_id: uuid.UUID
    account: str
    amount_minor: int
    time_ms: int
    deadline_ms: int
    create_ms: int
    perform_ms: int
    cancel_ms: int
    state: int
    reason: int | None

    def created(self) -> dict[str, Any]:
        """The result of CreateTransaction (5.2), from what was stored."""
        return {"create_time": self.create_ms, "transaction": str(self.transaction_id), "state": self.state}

    def performed(self) -> dict[str, Any]:
        """The result of PerformTransaction (5.3)."""
        return {"transaction": str(self.transaction_id), "perform_time": self.perform_ms, "state": self.state}

    def cancelled(self) -> dict[str, Any]:
        """The result of CancelTransaction (5.4)."""
        return {"transaction": str(self.transaction_id), "cancel_time": self.cancel_ms, "state": self.state}

    def checked(self) -> dict[str, Any]:
        """The result of CheckTransaction (5.5): all six members, always."""
        return {
            "create_time": self.create_ms,
            "perform_time": self.perform_ms,
            "cancel_time": self.cancel_ms,
            "transaction": str(self.transaction_id),
            "state": self.state,
            "reason": self.reason,
        }

    def stated(self) -> dict[str, Any]:
        """One row of GetStatement (5.6)."""
        return {
            "id": self.payme_id,
            "time": self.time_ms,
            "amount": self.amount_minor,
            "account": orjson.Fragment(self.account),
            **self.checked(),
            "reason": None if self.reason is None else orjson.Fragment(str(self.reason)),
            "receivers": None,
        }


@dataclass(frozen=True, slots=True)
class Cashbox:
    """A merchant's account at Payme: its id, the one key by which Payme proves itself, and what an account of ours is called."""

    merchant_id: str
    cashbox_id: str
    key: str = field(repr=False)
    is_test: bool
    login: str = "Paycom"
    account_field: str = "order_id"
    fiscal: bool = False
    """Payme makes fiscal receipts for it, so each order must say what is in it (9.1)."""


@dataclass(frozen=True, slots=True)
class PaymeRules:
    """The port that bootstrap fills: the house's cashbox (None: there is none) and what the operator decided (section 16)."""

    house: Cashbox | None = None
    login: str = "Paycom"
    account_field: str = "order_id"
    busy_code: int = -31051
    timeout_ms: int = 43_200_000
    link_ttl_s: int = 86_400
    language: str | None = None
    return_url: str | None = None
