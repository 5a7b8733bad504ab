"""Orders and notices to write letters about, without a database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from kassa.notices import Contact
from kassa.notices.model import Notice
from kassa.orders import Line, Order

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ASHA = Contact("7", "asha@example.com", "Asha Rao")
ADDRESS = {"street": "1 Hill Road", "city": "Mumbai", "state": "MH", "postalCode": "400050", "country": "India"}


def line(name: str, price: int, quantity: int = 1) -> Line:
    return Line(f"p-{name[:8]}", name, price, quantity, price * quantity)


def order(*lines: Line, **other: Any) -> Order:
    lines = lines or (line("Mouse", 9990, 2), line("Lamp", 4990))
    made: dict[str, Any] = {
        "merchant_id": "1",
        "order_id": uuid.UUID(int=1),
        "checkout_id": uuid.UUID(int=2),
        "channel": "shop",
        "buyer_id": "7",
        "order_number": "ORD-20260102-ABCD1234",
        "status": "paid",
        "payment_status": "paid",
        "payment_id": uuid.UUID(int=3),
        "payment_method": "credit_card",
        "payment_url": None,
        "currency": "INR",
        "total_minor": sum(each.total_minor for each in lines),
        "shipping_address": ADDRESS,
        "tracking_number": None,
        "carrier": None,
        "external_id": None,
        "version": 2,
        "estimated_delivery": NOON + timedelta(days=5),
        "created_at": NOON,
        "updated_at": NOON,
        "lines": lines,
    }
    return Order(**(made | other))


def notice(event_type: str, *, amount: str | None = None, attempts: int = 1, age_s: float = 0) -> Notice:
    event_id = uuid.UUID(int=9)
    return Notice("1", event_id, uuid.UUID(int=1), event_id, "status_update", event_type, amount, attempts, age_s, NOON)
