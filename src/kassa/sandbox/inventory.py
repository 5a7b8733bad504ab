"""The inventory service of `checkout.md` section 4: take stock for all lines or for none, and put it back.

It has stock numbers of its own (pieces), beside those of the product service. Untracked products always suffice.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from kassa.sandbox import fields
from kassa.sandbox.book import book
from kassa.sandbox.model import Act, Call, Reply, Tx, say


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"success": False, "error": error, "message": message, "timestamp": _timestamp()}


def deduct(tx: Tx, call: Call) -> Reply:
    """Take the pieces, all lines or none. The same key again: the same answer, nothing more is taken."""
    wanted = fields.lines(call.fields.get("items"))
    if wanted is None:
        return say(422, refusal("invalid_items", "Items are not valid"))
    stock = _stock_of(tx, wanted)
    if len(stock) < len(wanted):
        return say(422, refusal("unknown_product", "Unknown product"))
    if any(have is not None and have < wanted[product] for product, have in stock.items()):
        return say(200, refusal("insufficient_stock", "Insufficient stock"))
    _move(tx, {product: -quantity for product, quantity in wanted.items()})
    return _booked(tx, call, "deduction", wanted, "Inventory deducted successfully")


def restock(tx: Tx, call: Call) -> Reply:
    """Put pieces back. The same key again: the same answer, nothing more is put back."""
    wanted = fields.lines(call.fields.get("items"))
    if wanted is None:
        return say(422, refusal("invalid_items", "Items are not valid"))
    if len(_stock_of(tx, wanted)) < len(wanted):
        return say(422, refusal("unknown_product", "Unknown product"))
    _move(tx, wanted)
    return _booked(tx, call, "restock", wanted, "Inventory restocked successfully")


ACTS = (
    Act("inventory", "deduct", "POST", "/inventory/deduct", deduct, refusal, keyed=True, busy=409),
    Act("inventory", "restock", "POST", "/inventory/restock", restock, refusal, keyed=True),
)


def _stock_of(tx: Tx, wanted: dict[str, int]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for product in wanted:
        row = tx.execute("SELECT inventory_stock FROM products WHERE id = ?", (product,)).fetchone()
        if row is not None:
            found[product] = row[0]
    return found


def _move(tx: Tx, changes: dict[str, int]) -> None:
    tx.executemany(
        "UPDATE products SET inventory_stock = inventory_stock + ? WHERE id = ?",
        [(change, product) for product, change in changes.items()],
    )


def _booked(tx: Tx, call: Call, kind: str, wanted: dict[str, int], message: str) -> Reply:
    book(tx, call, kind, "inventory", uuid.uuid4().hex, facts={"items": fields.as_items(wanted)})
    return say(200, {"success": True, "message": message, "timestamp": _timestamp()})


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
