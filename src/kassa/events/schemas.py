"""The events as JSON Schemas (draft 2020-12): one for each shape of data, the envelope of each type, and the older payment body.

Within a version members may be added, so no schema is closed. No I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kassa.events.catalogue import TYPES

VERSION: Final = 1
"""Of the envelope and of every shape; what an event's `version` says."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SUBJECTS: Final = {
    "payment": "payment:<payment_id>",
    "refund": "payment:<payment_id>",
    "order": "order:<order_id>",
    "checkout": "checkout:<checkout_id>",
    "subscription": "subscription:<merchant_id>:<subscription_id>",
    "endpoint": "endpoint:<endpoint_id>",
    "test": "endpoint:<endpoint_id>",
}
"""What the events of each family are about."""

Schema = dict[str, Any]


def _text(about: str | None = None, **more: Any) -> Schema:
    return {"type": "string", **({"description": about} if about else {}), **more}


def _id(about: str | None = None) -> Schema:
    return _text(about, format="uuid")


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _count(about: str | None = None) -> Schema:
    return {"type": "integer", "minimum": 0, **({"description": about} if about else {})}


def _object(about: str, members: Mapping[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in members if name not in optional]
    return {"type": "object", "description": about, "properties": dict(members), "required": required, **more}


_MONEY = _text("Major units with exactly the currency's decimals.", pattern=r"^[0-9]+(\.[0-9]+)?$", examples=["349.70"])
_QUANTITY = _text("A quantity, without trailing zeros.", pattern=r"^[0-9]+(\.[0-9]+)?$", examples=["2"])
_CURRENCY = _text("ISO 4217.", pattern="^[A-Z]{3}$", examples=["USD"])
_TIME = _text("RFC 3339, UTC, microseconds.", format="date-time", examples=["2026-01-01T00:00:02.000000Z"])
_NUMBER_OR_TEXT: Schema = {"type": ["integer", "string"]}
_MERCHANT = {**_NUMBER_OR_TEXT, "description": "An integer where the id is one."}
_ORDER_ID = {
    **_NUMBER_OR_TEXT,
    "description": "The merchant's reference, in the type in which it was given; the shop's own orders: their id.",
}
_STATUS: Schema = {"enum": [1, 2, 3, 6], "description": "As of this event: 1 pending, 2 finished, 3 failed, 6 refunded."}
_PAYMENT_STATES = [
    *("opened", "waiting", "unknown", "parked", "paid", "declined"),
    *("expired", "cancelled", "refunding", "refunded", "reversed"),
]

_PAYMENT_MEMBERS: dict[str, Schema] = {
    "payment_id": _id(),
    "order_id": _ORDER_ID,
    "status": _STATUS,
    "status_name": {"enum": ["PAYMENT_PENDING", "PAYMENT_FINISHED", "PAYMENT_FAILED", "PAYMENT_REFUNDED"]},
    "state": {"enum": _PAYMENT_STATES, "description": "The state behind the status."},
    "provider": _text("The alias under which the provider was asked for.", examples=["stripe"]),
    "amount": _QUANTITY,
    "price": _MONEY,
    "currency": _CURRENCY,
    "captured": _MONEY,
    "refunded": _MONEY,
    "reason": _or_null(_text("A word for why, where there is one.", examples=["provider_declined"])),
}

SHAPES: Final[dict[str, Schema]] = {
    "PaymentData": _object("A payment as of this event.", _PAYMENT_MEMBERS),
    "RefundData": _object(
        "The payment as of this event, and the refund.", {**_PAYMENT_MEMBERS, "refund": {"$ref": "#/$defs/Refund"}}
    ),
    "Refund": _object(
        "A refund; the last two are the payment's totals after this event.",
        {
            "refund_id": _id(),
            "payment_id": _id(),
            "amount": _MONEY,
            "currency": _CURRENCY,
            "reason": _or_null(_text("The caller's words.")),
            "lines": {"type": "array", "items": {"$ref": "#/$defs/RefundLine"}},
            "lines_count": _count("In place of `lines`, where they would make the event larger than 20 kB."),
            "status": {"enum": ["succeeded", "pending", "failed"]},
            "created_at": _TIME,
            "refunded": _MONEY,
            "refundable": _MONEY,
        },
        optional=("lines", "lines_count"),
        oneOf=[{"required": ["lines"]}, {"required": ["lines_count"]}],
    ),
    "RefundLine": _object(
        "A line of the shop's own order that is given back.",
        {"line_id": _text(), "quantity": _count(), "restock": {"type": "boolean"}},
    ),
    "OrderData": _object(
        "An order as of this event.",
        {
            "order_id": _id(),
            "order_number": _text(examples=["ORD-20260101-7Q2XK9PA"]),
            "status": {"enum": ["pending", "paid", "processing", "shipped", "delivered", "cancelled"]},
            "payment_status": {"enum": ["pending", "paid", "failed", "refunded"]},
            "payment_id": _id(),
            "user_id": {
                "type": ["string", "integer", "null"],
                "description": "Null for a guest; a number only for orders of ambassadors.",
            },
            "total": _MONEY,
            "currency": _CURRENCY,
            "items": {"type": "array", "items": {"$ref": "#/$defs/OrderItem"}},
            "items_count": _count("In place of `items`, where they would make the event larger than 20 kB."),
            "purchase_id": _id("The order's id again; orders of ambassadors only, as the next one."),
            "amount": _count("The total in minor units."),
        },
        optional=("items", "items_count", "purchase_id", "amount"),
        oneOf=[{"required": ["items"]}, {"required": ["items_count"]}],
    ),
    "OrderItem": _object(
        "A line of the order.",
        {
            "product_id": _text(),
            "quantity": _count(),
            "price": _MONEY,
            "ambassador_id": _count("The product's id as a number; orders of ambassadors only, as the next one."),
            "price_paid": _count("What the line costs, in minor units."),
        },
        optional=("ambassador_id", "price_paid"),
    ),
    "CheckoutData": _object(
        "A checkout as of this event.",
        {
            "checkout_id": _id(),
            "order_id": _id(),
            "payment_id": _id(),
            "status": _text("The state of the saga.", examples=["completed"]),
            "error": _or_null(_text("A word for why it was undone.", examples=["payment_declined"])),
        },
    ),
    "SubscriptionData": _object(
        "A prepaid plan as of this event.",
        {
            "subscription_id": _NUMBER_OR_TEXT,
            "plan": _text(),
            "tokens_total": _count(),
            "tokens_used": _count(),
            "tokens_left": _count(),
        },
    ),
    "EndpointData": _object(
        "An endpoint that is not called any more.",
        {
            "endpoint_id": _id(),
            "disabled_reason": {"enum": ["gone", "failing"], "description": "It answered 410, or nothing good for 5 days."},
        },
    ),
    "PingData": _object("The merchant asked for it.", {"endpoint_id": _id(), "message": {"const": "ping"}}),
}
"""Every shape by its name; they refer to each other under `#/$defs/`."""

DATA: Final[dict[str, str]] = {
    name: {
        "payment": "PaymentData",
        "refund": "RefundData",
        "order": "OrderData",
        "checkout": "CheckoutData",
        "subscription": "SubscriptionData",
        "endpoint": "EndpointData",
        "test": "PingData",
    }[name.partition(".")[0]]
    for name in TYPES
}
"""The shape of each type's data."""

PAYMENT_BODY: Final = _object(
    "The payment as merchants' older servers know it, in this order of members and without spaces.",
    {
        "payment_id": _id(),
        "order_id": _ORDER_ID,
        "merchant_id": _MERCHANT,
        "status": _STATUS,
        "amount": _QUANTITY,
        "price": _MONEY,
    },
)
"""What is posted for `payment.*` to endpoints of format `payment`, and published for them."""


def envelope_of(event_type: str) -> Schema:
    """The envelope of one type. Raises `KeyError` for a type that is not in the catalogue."""
    return _object(
        TYPES[event_type],
        {
            "id": _id("The same on every attempt and replay."),
            "type": {"const": event_type},
            "version": {"const": VERSION},
            "subject": _text(SUBJECTS[event_type.partition(".")[0]]),
            "sequence": {"type": "integer", "minimum": 1, "description": "Counts the events of the subject without gaps."},
            "occurred_at": _TIME,
            "merchant_id": _MERCHANT,
            "data": {"$ref": f"#/$defs/{DATA[event_type]}"},
        },
    )


def schema_of(event_type: str) -> Schema:
    """A schema that stands alone: the envelope of one type with every shape that there is."""
    return {"$schema": DIALECT, "title": event_type, **envelope_of(event_type), "$defs": SHAPES}
