"""How the purchases contract shows things: snake_case, amounts as whole tiyin, times to the microsecond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kassa.api.answers import dumps
from kassa.carts import Cart, CartLine
from kassa.catalog import Offer
from kassa.checkout.wishes import Placed
from kassa.kit.clock import rfc3339_micros
from kassa.kit.ids import in_json
from kassa.orders import Bought, BoughtPage


def item(line: CartLine, price_minor: int) -> dict[str, Any]:
    """One ambassador in a cart, at the price of now."""
    return {
        "id": str(line.line_id),
        "ambassador_id": int(line.product_id),
        "price": price_minor,
        "created_at": rfc3339_micros(line.added_at),
    }


def whole_cart(cart: Cart, offers: Mapping[str, Offer]) -> dict[str, Any]:
    """A cart at the prices of `offers`. Lines without an offer are named, and neither shown nor counted."""
    known = [(line, offers[line.product_id].price.minor) for line in cart.lines if line.product_id in offers]
    return {
        "id": str(cart.cart_id),
        "user_id": in_json(cart.buyer_id),
        "items": [item(line, price) for line, price in known],
        "total": sum(price for _, price in known),
        "invalid_ids": sorted(int(line.product_id) for line in cart.lines if line.product_id not in offers),
        "created_at": rfc3339_micros(cart.created_at),
    }


def started(placed: Placed) -> tuple[int, bytes]:
    """The answer to a checkout, made from order and payment alone: the same bytes for the same purchase."""
    order = placed.order
    return 201, dumps(
        {
            "purchase_id": str(order.order_id),
            "payment_id": str(order.payment_id),
            "amount": order.total_minor,
            "payment_url": order.payment_url,
        }
    )


def history(page: BoughtPage) -> dict[str, Any]:
    """A page of paid purchases."""
    return {"purchases": [_bought(row) for row in page.rows], "total": page.total}


def _bought(row: Bought) -> dict[str, Any]:
    return {
        "id": str(row.line_id),
        "user_id": in_json(row.buyer_id),
        "ambassador_id": int(row.product_id),
        "price_paid": row.price_minor,
        "created_at": rfc3339_micros(row.at),
    }
