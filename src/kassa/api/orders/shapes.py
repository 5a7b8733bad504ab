"""How the orders contract shows things: camelCase, major units as exact numbers, times to the second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from kassa.api.answers import Answer, Header, dumps, json_answer, major, money
from kassa.carts import Cart
from kassa.carts.model import LineView, Problem
from kassa.catalog import Offer
from kassa.checkout.wishes import Placed
from kassa.kit.clock import rfc3339
from kassa.orders import Happening, Line, Order

_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_SAID = {
    "price_changed": "The price has changed.",
    "stock_insufficient": "Fewer are left than the line asks for.",
    "no_longer_sold": "This product is no longer sold.",
}


def success(status: int, message: str, data: Any, *headers: Header) -> Answer:
    """The envelope of a success."""
    return json_answer(status, {"success": True, "message": message, "data": data}, *headers)


def shown_user(user: str | None) -> int | str | None:
    """A user id as a number where it reads like one."""
    return int(user) if user is not None and _PLAIN_NUMBER.fullmatch(user) else user


def etag(version: int) -> Header:
    """The version of a cart, as a header."""
    return (b"etag", b'"%d"' % version)


def product(offer: Offer) -> dict[str, Any]:
    """One product; `stock` is what can be bought now, null where nobody counts."""
    return {
        "id": offer.product_id,
        "sku": offer.sku,
        "name": offer.name,
        "price": money(offer.price),
        "currency": offer.price.currency,
        "stock": offer.stock,
        "inStock": offer.stock is None or offer.stock > 0,
        "image": offer.image,
        "images": list(offer.images),
    }


def page_of(name: str, rows: Sequence[Any], page: int, limit: int, total: int) -> dict[str, Any]:
    """A page of a list."""
    return {name: rows, "page": page, "limit": limit, "total": total, "hasNext": page * limit < total}


def cart_item(view: LineView) -> dict[str, Any]:
    """One line of a cart at live prices."""
    return {
        "id": str(view.line.line_id),
        "productId": view.line.product_id,
        "productName": view.name,
        "price": money(view.price),
        "quantity": view.line.quantity,
        "totalPrice": money(view.total),
        "image": view.image,
    }


def whole_cart(cart: Cart, views: Iterable[LineView], problems: Iterable[Problem], currency: str) -> dict[str, Any]:
    """A cart with its problems. The total leaves out what is no longer sold."""
    lines = list(views)
    return {
        "id": str(cart.cart_id),
        "userId": shown_user(cart.buyer_id),
        "version": cart.version,
        "currency": currency,
        "items": [cart_item(view) for view in lines],
        "totalItems": sum(view.line.quantity for view in lines),
        "totalAmount": major(sum(view.total.minor for view in lines if view.sold), currency),
        "problems": [cart_problem(problem) for problem in problems],
    }


def cart_problem(problem: Problem) -> dict[str, Any]:
    """What would stop or change an order."""
    shown: dict[str, Any] = {
        "itemId": str(problem.line.line_id),
        "productId": problem.line.product_id,
        "code": problem.code,
        "message": _SAID[problem.code],
    }
    if problem.old_price is not None and problem.price is not None:
        shown |= {"oldPrice": money(problem.old_price), "price": money(problem.price)}
    if problem.available is not None:
        shown["available"] = problem.available
    return shown


def order(found: Order) -> dict[str, Any]:
    """An order; it has this shape everywhere."""
    return {
        "id": str(found.order_id),
        "userId": shown_user(found.buyer_id),
        "status": found.status,
        "totalAmount": major(found.total_minor, found.currency),
        "items": [_order_line(line, found.currency) for line in found.lines],
        "shippingAddress": found.shipping_address,
        "paymentMethod": found.payment_method,
        "createdAt": rfc3339(found.created_at),
        "estimatedDelivery": rfc3339(found.estimated_delivery),
        "orderNumber": found.order_number,
        "currency": found.currency,
        "paymentStatus": found.payment_status,
        "paymentId": str(found.payment_id),
        "paymentUrl": found.payment_url,
        "trackingNumber": found.tracking_number,
        "carrier": found.carrier,
        "updatedAt": rfc3339(found.updated_at),
    }


def _order_line(line: Line, currency: str) -> dict[str, Any]:
    return {
        "productId": line.product_id,
        "productName": line.product_name,
        "price": major(line.price_minor, currency),
        "quantity": line.quantity,
        "totalPrice": major(line.total_minor, currency),
    }


def placed(found: Placed) -> tuple[int, bytes]:
    """The answer to placing an order: status and the bytes that an idempotency key keeps."""
    message = "Order created successfully" if found.created else "Order already created"
    answer = success(201 if found.created else 200, message, order(found.order))
    return answer.status, answer.body


def moved(found: Placed) -> tuple[int, bytes]:
    """The answer to moving an order."""
    answer = success(200, "Order updated successfully", order(found.order))
    return answer.status, answer.body


def tracking(found: Order, story: Iterable[Happening]) -> dict[str, Any]:
    """The moves of an order, oldest first."""
    return {
        "orderId": str(found.order_id),
        "status": found.status,
        "trackingNumber": found.tracking_number,
        "carrier": found.carrier,
        "estimatedDelivery": rfc3339(found.estimated_delivery),
        "events": [{"status": each.status, "at": rfc3339(each.at), "note": each.note} for each in story if each.moved],
    }


def live_message(found: Order, happening: Happening) -> bytes:
    """One message of the live stream."""
    data = {
        "orderId": str(found.order_id),
        "sequence": happening.sequence,
        "status": happening.status,
        "paymentStatus": happening.payment_status,
        "at": rfc3339(happening.at),
        "note": happening.note,
        "trackingNumber": happening.tracking_number,
        "carrier": happening.carrier,
        "estimatedDelivery": rfc3339(found.estimated_delivery),
    }
    return b"id: %d\nevent: order\ndata: %s\n\n" % (happening.sequence, dumps(data))


def price_change(total_minor: int, problems: Iterable[Problem], currency: str) -> dict[str, Any]:
    """The details of `price_changed`."""
    return {"total": major(total_minor, currency), "problems": [cart_problem(problem) for problem in problems]}
