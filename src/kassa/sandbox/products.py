"""The product service of `orders.md` section 7: look up, list, change stock. Prices are exact, in major units (INR)."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from kassa.sandbox import fields
from kassa.sandbox.book import book
from kassa.sandbox.model import Act, Call, Reply, Tx, say

_PAGE = 20
_LONGEST_PAGE = 100
_MOST_PAGES = 1_000_000
_ONE = "SELECT id, name, price, product_stock, image FROM products WHERE id = ?"
_SOME = "SELECT id, name, price, product_stock, image FROM products ORDER BY place LIMIT ? OFFSET ?"


def refusal(error: str, message: str) -> dict[str, Any]:
    """A *no* of this service."""
    return {"success": False, "message": message, "error": error}


def get_product(tx: Tx, call: Call) -> Reply:
    """One product; an untracked one has no member `stock`."""
    row = tx.execute(_ONE, (call.params["product_id"],)).fetchone()
    if row is None:
        return say(404, refusal("not_found", "Product not found"))
    return say(200, {"success": True, "data": _shown(row)})


def list_products(tx: Tx, call: Call) -> Reply:
    """A page of products, always in the same order; a page after the last is empty."""
    page = _whole(call.query.get("page", "1"), _MOST_PAGES)
    limit = _whole(call.query.get("limit", str(_PAGE)), _LONGEST_PAGE)
    if page is None or limit is None:
        return say(400, refusal("invalid_page", "Page is not valid"))
    total = tx.execute("SELECT count(*) FROM products").fetchone()[0]
    rows = tx.execute(_SOME, (limit, (page - 1) * limit)).fetchall()
    pagination = {"page": page, "limit": limit, "total": total, "pages": -(-total // limit)}
    return say(200, {"success": True, "data": {"products": [_shown(row) for row in rows], "pagination": pagination}})


def change_stock(tx: Tx, call: Call) -> Reply:
    """Add a signed change to the stock; -2 takes two. Below zero it is refused with 409 (or clamped, when scripted).

    The same key again: the same answer, the stock does not move.
    """
    product = call.params["product_id"]
    change = fields.pieces(call.fields.get("quantity"))
    if change is None:
        return say(400, refusal("invalid_quantity", "Quantity is not valid"))
    row = tx.execute("SELECT product_stock FROM products WHERE id = ?", (product,)).fetchone()
    if row is None:
        return say(404, refusal("not_found", "Product not found"))
    stock = row[0]
    if stock is not None:
        stock += change
        if stock < 0 and not call.suffers("clamp"):
            return say(409, refusal("insufficient_stock", "Insufficient stock"))
        stock = max(stock, 0)
        tx.execute("UPDATE products SET product_stock = ? WHERE id = ?", (stock, product))
    facts = {"product_id": product, "quantity": change, "stock": stock}
    book(tx, call, "stock_change", "product", uuid.uuid4().hex, facts=facts)
    data = {"id": product, "sku": product, "stock": stock}
    return say(200, {"success": True, "data": data, "message": "Stock updated successfully"})


ACTS = (
    Act("product", "get", "GET", "/api/products/{product_id}", get_product),
    Act("product", "list", "GET", "/api/products", list_products),
    Act("product", "stock", "PATCH", "/api/products/{product_id}/stock", change_stock, refusal, keyed=True),
)


def _shown(row: tuple[str, str, str, int | None, str | None]) -> dict[str, Any]:
    id_, name, price, stock, image = row
    shown = {"id": id_, "sku": id_, "name": name, "images": [image] if image else [], "price": Decimal(price)}
    return shown if stock is None else {**shown, "stock": stock}


def _whole(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    return int(text) if 1 <= int(text) <= most else None
