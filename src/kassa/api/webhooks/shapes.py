"""What is shown of endpoints, deliveries and events (webhooks contract, sections 1, 2 and 4)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson

from kassa.events.feed import FeedPage
from kassa.kit.clock import rfc3339_micros
from kassa.webhooks import Attempt, Delivery, Endpoint


def endpoint(one: Endpoint) -> dict[str, Any]:
    """An endpoint, never with its secret."""
    return {
        "endpoint_id": str(one.endpoint_id),
        "url": one.url,
        "events": list(one.events),
        "format": one.format,
        "ordered": one.ordered,
        "description": one.description,
        "status": one.status,
        "disabled_reason": one.disabled_reason,
        "created_at": rfc3339_micros(one.created_at),
        "updated_at": rfc3339_micros(one.updated_at),
    }


def delivery(one: Delivery) -> dict[str, Any]:
    """A delivery in a list."""
    return {
        "delivery_id": str(one.delivery_id),
        "event_id": str(one.event_id),
        "event_type": one.event_type,
        "subject": one.subject,
        "sequence": one.sequence,
        "status": one.status,
        "attempts_made": one.attempts,
        "next_attempt_at": _time(one.next_at),
        "last_status_code": one.last_status_code,
        "last_error": one.last_error,
        "created_at": rfc3339_micros(one.created_at),
        "delivered_at": _time(one.ended_at) if one.status == "success" else None,
    }


def whole_delivery(one: Delivery, attempts: Iterable[Attempt]) -> dict[str, Any]:
    """One delivery with its attempts. One that is under way has no attempt yet for the last number."""
    return delivery(one) | {
        "attempts": [
            {
                "number": each.number,
                "began_at": rfc3339_micros(each.began_at),
                "duration_ms": each.duration_ms or 0,
                "status_code": each.status_code,
                "error": each.error,
                "response": each.response,
            }
            for each in attempts
        ]
    }


def feed(page: FeedPage) -> dict[str, Any]:
    """A page of events; each stands there with the very bytes in which it is posted."""
    return {
        "items": [orjson.Fragment(event.envelope()) for event in page.items],
        "next_after": None if page.next_after is None else str(page.next_after),
        "has_next": page.has_next,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339_micros(at)
