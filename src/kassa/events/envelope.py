"""The two bodies in which an event is posted and published: the same bytes for ever (webhooks contract, sections 1 and 3)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from kassa.kit.ids import in_json

_DTO = ("payment_id", "order_id", "merchant_id", "status", "amount", "price")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it was recorded; `data` is its JSON text.

    `traceparent` tells which trace it was recorded in, for ourselves: neither body has it.
    """

    merchant_id: str
    event_id: uuid.UUID
    subject: str
    sequence: int
    type: str
    version: int
    occurred_at: datetime
    data: str
    traceparent: str | None = None

    def envelope(self) -> bytes:
        """`{"id", "type", "version", "subject", "sequence", "occurred_at", "merchant_id", "data"}`."""
        return orjson.dumps(
            {
                "id": str(self.event_id),
                "type": self.type,
                "version": self.version,
                "subject": self.subject,
                "sequence": self.sequence,
                "occurred_at": self.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "merchant_id": in_json(self.merchant_id),
                "data": orjson.Fragment(self.data),
            }
        )

    def payment(self) -> bytes:
        """The payment as merchants' older servers know it: six members, the status as of this event. For `payment.*` only."""
        data = orjson.loads(self.data)
        return orjson.dumps({name: in_json(self.merchant_id) if name == "merchant_id" else data[name] for name in _DTO})

    def body(self) -> bytes:
        """What the broker is given: the payment for `payment.*`, else the envelope."""
        return self.payment() if self.type.startswith("payment.") else self.envelope()
