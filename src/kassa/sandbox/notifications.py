"""The notification service of `orders.md` section 7: it books what it is told to send, and sends nothing."""

from __future__ import annotations

import uuid
from typing import Any

from kassa.sandbox.book import book
from kassa.sandbox.model import Act, Call, Reply, Tx, say

_TYPES = {"order_confirmation", "payment_confirmation", "status_update", "order_cancellation"}


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"success": False, "message": message, "error": error}


def send(tx: Tx, call: Call) -> Reply:
    """Book one message to a buyer. The same key again: the same answer, no second message."""
    user, order, type_ = (call.fields.get(name) for name in ("user_id", "order_id", "type"))
    if not (_is_id(user) and _is_id(order) and type_ in _TYPES):
        return say(422, refusal("invalid_notification", "Notification is not valid"))
    id_ = f"ntf_{uuid.uuid4().hex}"
    facts = {"notification_id": id_, "user_id": user, "order_id": order, "type": type_}
    book(tx, call, "notification", "notification", id_, facts=facts)
    return say(200, {"success": True, "message": "Notification sent", "notification_id": id_})


ACTS = (Act("notification", "send", "POST", "/api/notifications/send", send, refusal, keyed=True),)


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
