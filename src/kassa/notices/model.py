"""A notice, which events it is made of, and when it is tried again. No I/O here."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

TYPE_OF_EVENT = {
    "order.created": "order_confirmation",
    "order.paid": "payment_confirmation",
    "payment.refunded": "payment_confirmation",
    "order.processing": "status_update",
    "order.shipped": "status_update",
    "order.delivered": "status_update",
    "order.cancelled": "order_cancellation",
}
"""What a buyer hears of (orders contract, section 7)."""

AGAIN_S = (1, 5, 30, 120, 600, 1800)
HOURLY_S = 3600
GIVE_UP_AFTER_S = 3 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one order; `key` makes every attempt the same message to the receiver."""

    merchant_id: str
    notice_id: uuid.UUID
    order_id: uuid.UUID
    event_id: uuid.UUID
    type: str
    attempts: int
    age_s: float

    @property
    def key(self) -> str:
        """The idempotency key: `<order_id>:<event_id>`."""
        return f"{self.order_id}:{self.event_id}"

    @property
    def wait_s(self) -> float | None:
        """Seconds before the next attempt; None when it was tried for three days."""
        if self.age_s > GIVE_UP_AFTER_S:
            return None
        return AGAIN_S[self.attempts - 1] if self.attempts <= len(AGAIN_S) else HOURLY_S
