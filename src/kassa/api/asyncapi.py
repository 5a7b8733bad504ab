"""The AsyncAPI document of the events: what is posted to merchants and what is published. `docs/apis` holds what is made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kassa.events.catalogue import FAMILIES, STATUS_CHANGES, TYPES, routing_key
from kassa.events.schemas import DATA, PAYMENT_BODY, SHAPES, VERSION, envelope_of

FILE = "events.asyncapi.json"
_ABOUT = (
    "Every fact that a merchant must know, committed with the fact, then posted, signed, to the merchant's endpoints: at least "
    "once, in order per subject. The same events are published to RabbitMQ where it is used. Merchants drop what they have seen by "
    "`webhook-id` (the event's id, `message_id` on the broker). Within a version members may be added."
)
_POSTED = (
    "Posted to the URL of each of a merchant's endpoints that asked for the type. Any 2xx is delivered; everything else is tried "
    "again. `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`; while a "
    "secret is being replaced there are two, separated by a space."
)
_PUBLISHED = (
    "Published to the topic exchange `EXCHANGE_NAME` under the routing key, persistent and confirmed. `payment.updated` stands for "
    f"{', '.join(STATUS_CHANGES)}; `delivery.retry` asks the deliverer for a later attempt. `message_id` is the event's id."
)


def document() -> dict[str, Any]:
    """The whole document, AsyncAPI 3.0."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Kassa: events", "version": str(VERSION), "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "endpoint": {
                "host": "{host}",
                "protocol": "https",
                "description": "A merchant's server.",
                "variables": {"host": {"description": "As the merchant's endpoint says.", "examples": ["shop.example"]}},
            },
            "broker": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "`RABBITMQ_URL`; without it nothing is published, and the same is posted.",
                "variables": {"host": {"examples": ["127.0.0.1:5672"]}},
            },
        },
        "channels": {"endpoint": _endpoint(), "exchange": _exchange()},
        "operations": {
            "post": _sends("endpoint", "Post an event to an endpoint.", _all_messages(), http={"method": "POST"}),
            "publish": _sends("exchange", "Publish an event.", _published(), amqp={"deliveryMode": 2, "mandatory": True}),
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def text_of() -> str:
    """The document as it stands in its file: indented, with a newline at the end."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write the document to `folder`, as it is committed."""
    (folder / FILE).write_text(text_of(), encoding="utf-8")


def _endpoint() -> dict[str, Any]:
    return {
        "title": "A merchant's endpoint",
        "description": _POSTED,
        "address": None,
        "servers": [{"$ref": "#/servers/endpoint"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _all_messages()},
    }


def _exchange() -> dict[str, Any]:
    keys = sorted({routing_key(name) for name in TYPES} | {"delivery.retry"})
    exchange = {"name": "payments", "type": "topic", "durable": True, "autoDelete": False}
    return {
        "title": "The exchange",
        "description": _PUBLISHED,
        "address": "{routing_key}",
        "servers": [{"$ref": "#/servers/broker"}],
        "parameters": {"routing_key": {"enum": keys, "description": f"Families: {', '.join(sorted(FAMILIES))}."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _published()},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _sends(channel: str, summary: str, messages: list[str], **bindings: dict[str, Any]) -> dict[str, Any]:
    versioned = {name: {**binding, "bindingVersion": "0.3.0"} for name, binding in bindings.items()}
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
        "bindings": versioned,
    }


def _all_messages() -> list[str]:
    return [*TYPES, "payment"]


def _published() -> list[str]:
    """The broker is given the payment's body for `payment.*`, and the envelope for everything else."""
    return [*(name for name in TYPES if not name.startswith("payment.")), "payment"]


def _messages() -> dict[str, Any]:
    headers = {"$ref": "#/components/schemas/Headers"}
    made = {
        name: {
            "name": name,
            "title": name,
            "summary": about,
            "headers": headers,
            "payload": _moved(envelope_of(name)),
            "tags": [{"name": DATA[name]}],
        }
        for name, about in TYPES.items()
    }
    made["payment"] = {
        "name": "payment",
        "title": "The payment body",
        "summary": "For `payment.*`, to endpoints of format `payment` and on the broker; the type stands in a header.",
        "headers": headers,
        "payload": {"$ref": "#/components/schemas/Payment"},
    }
    return made


def _schemas() -> dict[str, Any]:
    return {"Headers": _HEADERS, "Payment": PAYMENT_BODY, **{name: _moved(shape) for name, shape in SHAPES.items()}}


def _moved(schema: Any) -> Any:
    """The same schema, its references pointing to where the document keeps them."""
    if isinstance(schema, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _moved(value)
            for name, value in schema.items()
        }
    return [_moved(each) for each in schema] if isinstance(schema, list) else schema


_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "Posted: `webhook-*`, `kassa-attempt`. Published: `kassa-merchant-id`, and `kassa-delivery-id` of a retry.",
    "properties": {
        "webhook-id": {"type": "string", "format": "uuid", "description": "The event's id."},
        "webhook-timestamp": {"type": "string", "pattern": "^[0-9]+$", "description": "Seconds since 1970 of this attempt."},
        "webhook-signature": {"type": "string", "description": "One or two of `v1,<base64>`, the newest secret first."},
        "kassa-event-type": {"enum": [*TYPES]},
        "kassa-subject": {"type": "string"},
        "kassa-sequence": {"type": ["integer", "string"]},
        "kassa-currency": {"type": "string", "description": "Of the payment, where the event is about one."},
        "kassa-attempt": {"type": "string", "pattern": "^[0-9]+$", "description": "1, 2, … over all plans."},
        "kassa-merchant-id": {"type": ["integer", "string"]},
        "kassa-delivery-id": {"type": "string", "format": "uuid"},
    },
    "required": ["kassa-subject", "kassa-sequence"],
}
