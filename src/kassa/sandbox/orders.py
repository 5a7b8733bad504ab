"""The order service of `checkout.md` section 4: make an order, cancel it. Nothing personal is booked."""

from __future__ import annotations

import uuid
from typing import Any

from kassa.sandbox import fields
from kassa.sandbox.book import book
from kassa.sandbox.model import Act, Call, Reply, Tx, say


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"status": "refused", "error": error, "message": message}


def create(tx: Tx, call: Call) -> Reply:
    """Make an order. The same key again: the same order. Another key for the same checkout: another order."""
    checkout, wanted = fields.word(call.fields.get("checkout_id")), fields.lines(call.fields.get("items"))
    if checkout is None or wanted is None:
        return say(422, refusal("invalid_order", "Order is not valid"))
    order_id = f"order_{uuid.uuid4()}"
    facts = {"order_id": order_id, "checkout_id": checkout, "items": fields.as_items(wanted)}
    book(tx, call, "order", "order", order_id, facts=facts)
    return say(200, {"orderId": order_id, "status": "created"})


def cancel(tx: Tx, call: Call) -> Reply:
    """Cancel an order. The same key again: the same answer. Another key on a cancelled order: 409."""
    order_id = call.params["order_id"]
    if not _booked(tx, "order", order_id, call.now_us):
        return say(404, refusal("unknown_order", "Order not found"), keep=False)
    if _booked(tx, "cancel", order_id):
        return say(409, refusal("already_cancelled", "Order was cancelled already"))
    book(tx, call, "cancel", "order", order_id, facts={"order_id": order_id})
    return say(200, {"orderId": order_id, "status": "cancelled"})


ACTS = (
    Act("order", "create", "POST", "/orders", create, refusal, keyed=True, busy=409),
    Act("order", "cancel", "POST", "/orders/{order_id}/cancel", cancel, refusal, keyed=True),
)


def _booked(tx: Tx, kind: str, order_id: str, before_us: int | None = None) -> bool:
    row = tx.execute(
        "SELECT 1 FROM bookings WHERE kind = ?1 AND service = 'order' AND ref = ?2 AND (?3 IS NULL OR booked_us <= ?3)",
        (kind, order_id, before_us),
    ).fetchone()
    return row is not None
