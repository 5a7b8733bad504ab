"""Every question that orders ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kassa.kit.database import Reader, Row, Tx
from kassa.kit.errors import Conflict
from kassa.kit.ids import new_id
from kassa.kit.writes import Write
from kassa.orders.model import Bought, BoughtPage, Happening, Line, Order, OrderMissing, OrderPage

_COLUMNS = """o.merchant_id, o.order_id, o.checkout_id, o.channel, o.buyer_id, o.order_number, o.status, o.payment_status,
    o.payment_id, o.payment_method, o.payment_url, o.currency, o.total_minor, o.shipping_address, o.tracking_number, o.carrier,
    o.external_id, o.version, o.estimated_delivery, o.created_at, o.updated_at"""

_LINES = """(SELECT array_agg(ROW (l.product_id, l.product_name, l.price_minor, l.quantity, l.total_minor, l.image)
                              ORDER BY l.position)
               FROM order_lines l WHERE l.merchant_id = $1 AND l.order_id = o.order_id) AS lines"""
"""Of the merchant `$1`, by itself: under a lock it must not have to be concluded from the order."""


class OrderMoved(Conflict):
    """Somebody moved this order first; look again."""

    code = "order_moved"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an order, and what is said of it in the timeline; None leaves a member as it is."""

    status: str
    payment_status: str
    note: str | None = None
    tracking_number: str | None = None
    carrier: str | None = None
    external_id: str | None = None


def _order(row: Row, lines: Sequence[Line] | None = None) -> Order:
    values = dict(row.items())
    found = values.pop("lines", None)
    return Order(**values, lines=lines if lines is not None else tuple(Line(*each) for each in found or ()))


_INSERT = Write(
    "order_placed",
    """
    order_placed AS (
        INSERT INTO orders (merchant_id, order_id, checkout_id, channel, buyer_id, order_number, status, payment_status,
                            payment_id, payment_method, currency, lines_minor, total_minor, shipping_address,
                            estimated_delivery, created_at, updated_at, payment_url)
        VALUES ($1, $2, $3, $4, $5, $6, 'pending', 'pending', $7, $8, $9, $10, $10, $11, $12, $13, $13, $20)
        RETURNING 1
    ), order_line_written AS (
        INSERT INTO order_lines (merchant_id, order_id, product_id, position, product_name, price_minor, quantity,
                                 total_minor, image)
        SELECT $1, $2, product_id, position, product_name, price_minor, quantity, total_minor, image
          FROM unnest($14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::text[]) WITH ORDINALITY
            AS l (product_id, product_name, price_minor, quantity, total_minor, image, position)
    ), order_told AS (
        INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at)
        VALUES ($1, $2, 1, 'pending', 'pending', true, $13))
    """,
)


async def insert(tx: Tx, order: Order) -> None:
    """Write order, lines and the first line of the timeline, later."""
    lines = order.lines
    await tx.later(
        _INSERT,
        order.merchant_id, order.order_id, order.checkout_id, order.channel, order.buyer_id, order.order_number,
        order.payment_id, order.payment_method, order.currency, order.total_minor, order.shipping_address,
        order.estimated_delivery, order.created_at,
        [line.product_id for line in lines], [line.product_name for line in lines], [line.price_minor for line in lines],
        [line.quantity for line in lines], [line.total_minor for line in lines], [line.image for line in lines],
        order.payment_url,
    )  # fmt: skip


async def find(reader: Reader, merchant_id: str, order_id: uuid.UUID) -> Order | None:
    """One order with its lines, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS}, {_LINES} FROM orders o WHERE o.merchant_id = $1 AND o.order_id = $2", merchant_id, order_id
    )
    return _order(row) if row else None


async def merchant_of(reader: Reader, order_id: uuid.UUID) -> str | None:
    """Whose order this is: a plain read across merchants, for an operator; whatever follows names the merchant."""
    found: str | None = await reader.value("SELECT merchant_id FROM orders WHERE order_id = $1", order_id)
    return found


async def find_by_checkout(reader: Reader, merchant_id: str, checkout_id: uuid.UUID) -> Order | None:
    """The order of a checkout, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS}, {_LINES} FROM orders o WHERE o.merchant_id = $1 AND o.checkout_id = $2", merchant_id, checkout_id
    )
    return _order(row) if row else None


async def lock(tx: Tx, merchant_id: str, order_id: uuid.UUID) -> Order:
    """One order under its row lock. Raises `OrderMissing`."""
    row = await tx.row(
        f"SELECT {_COLUMNS}, {_LINES} FROM orders o WHERE o.merchant_id = $1 AND o.order_id = $2 FOR UPDATE OF o",
        merchant_id, order_id,
    )  # fmt: skip
    if row is None:
        raise OrderMissing
    return _order(row)


async def forget(tx: Tx, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> int:
    """Erase the addresses of orders and the notes in their timelines; returns how many orders had any. Versions stay."""
    erased: int = await tx.value(
        """
        WITH addresses AS (
            UPDATE orders SET shipping_address = NULL
             WHERE merchant_id = $1 AND order_id = ANY ($2) AND shipping_address IS NOT NULL
            RETURNING order_id
        ), notes AS (
            UPDATE order_timeline SET note = NULL WHERE merchant_id = $1 AND order_id = ANY ($2) AND note IS NOT NULL
            RETURNING order_id
        )
        SELECT count(*) FROM (SELECT order_id FROM addresses UNION SELECT order_id FROM notes) erased
        """,
        merchant_id, list(order_ids),
    )  # fmt: skip
    return erased


_MOVE = Write(
    "order_moved",
    """
    order_moved AS (
        UPDATE orders SET status = $4, payment_status = $5, tracking_number = coalesce($7, tracking_number),
               carrier = coalesce($8, carrier), external_id = coalesce($9, external_id),
               payment_url = CASE WHEN $4 = 'pending' AND $5 = 'pending' THEN payment_url END,
               version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND order_id = $2 AND version = $3
        RETURNING *
    ), order_told_move AS (
        INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, note, tracking_number,
                                    carrier, at)
        SELECT merchant_id, order_id, version, status, payment_status, $10, $6, tracking_number, carrier, updated_at
          FROM order_moved)
    """,
    expects="1",
    unmet=OrderMoved,
)
_MOVE_NOW = _MOVE.selecting(_COLUMNS.replace("o.", ""))


async def write_move(tx: Tx, order: Order, change: Change) -> Order | None:
    """Change an order from the version it was read in, with its line of the timeline; None when it has moved on."""
    row = await tx.row(_MOVE_NOW, *_changed(order, change))
    return _order(row, order.lines) if row else None


async def write_move_later(tx: Tx, order: Order, change: Change) -> Order:
    """The same, later: the order as it is then, but for `updated_at`. `OrderMoved` if it has moved on by then."""
    await tx.later(_MOVE, *_changed(order, change))
    return replace(
        order,
        status=change.status,
        payment_status=change.payment_status,
        tracking_number=change.tracking_number if change.tracking_number is not None else order.tracking_number,
        carrier=change.carrier if change.carrier is not None else order.carrier,
        external_id=change.external_id if change.external_id is not None else order.external_id,
        payment_url=order.payment_url if (change.status, change.payment_status) == ("pending", "pending") else None,
        version=order.version + 1,
    )


def _changed(order: Order, change: Change) -> tuple[Any, ...]:
    return (
        order.merchant_id, order.order_id, order.version, change.status, change.payment_status, change.note,
        change.tracking_number, change.carrier, change.external_id, change.status != order.status,
    )  # fmt: skip


async def write_url(tx: Tx, order: Order, payment_url: str | None) -> Order:
    """Set the link of a pending order."""
    await tx.execute(
        "UPDATE orders SET payment_url = $3 WHERE merchant_id = $1 AND order_id = $2 AND status = 'pending'",
        order.merchant_id, order.order_id, payment_url,
    )  # fmt: skip
    return replace(order, payment_url=payment_url)


_BOUGHT = Write(
    "lines_bought",
    """
    lines_bought AS (
        INSERT INTO bought_lines (merchant_id, line_id, order_id, channel, buyer_id, product_id, price_minor, bought_at)
        SELECT $1, line_id, $2, $3, $4, product_id, price_minor, kassa_now()
          FROM unnest($5::uuid[], $6::text[], $7::bigint[]) AS l (line_id, product_id, price_minor)
        RETURNING 1)
    """,
)


async def write_bought(tx: Tx, order: Order) -> None:
    """Note that the buyer has the lines of an order from now on, later."""
    lines = order.lines
    await tx.later(
        _BOUGHT,
        order.merchant_id, order.order_id, order.channel, order.buyer_id, [new_id() for _ in lines],
        [line.product_id for line in lines], [line.total_minor for line in lines],
    )  # fmt: skip


_GIVEN_BACK = Write(
    "lines_given_back",
    """
    lines_given_back AS (
        UPDATE bought_lines SET given_back_at = kassa_now()
         WHERE merchant_id = $1 AND order_id = $2 AND given_back_at IS NULL
        RETURNING 1)
    """,
)


async def write_given_back(tx: Tx, order: Order) -> None:
    """Note that the buyer has the lines of an order no longer, later."""
    await tx.later(_GIVEN_BACK, order.merchant_id, order.order_id)


async def bought_page(reader: Reader, merchant_id: str, channel: str, buyer_id: str, page: int, limit: int) -> BoughtPage:
    """A page of what a buyer has, newest first, and how many lines there are in all."""
    total = await reader.value(
        """
        SELECT count(*) FROM bought_lines
         WHERE merchant_id = $1 AND channel = $2 AND buyer_id = $3 AND given_back_at IS NULL
        """,
        merchant_id, channel, buyer_id,
    )  # fmt: skip
    rows = await reader.rows(
        """
        SELECT line_id, product_id, buyer_id, price_minor, bought_at AS at FROM bought_lines
         WHERE merchant_id = $1 AND channel = $2 AND buyer_id = $3 AND given_back_at IS NULL
         ORDER BY bought_at DESC, line_id DESC LIMIT $5 OFFSET $4
        """,
        merchant_id, channel, buyer_id, (page - 1) * limit, limit,
    )  # fmt: skip
    return BoughtPage([Bought(**dict(row.items())) for row in rows], total)


async def with_products(
    reader: Reader, merchant_id: str, order_ids: Sequence[uuid.UUID], product_ids: Sequence[str]
) -> set[uuid.UUID]:
    """Those of these orders that have a line of one of these products."""
    rows = await reader.rows(
        """
        SELECT DISTINCT order_id FROM order_lines
         WHERE merchant_id = $1 AND order_id = ANY ($2) AND product_id = ANY ($3)
        """,
        merchant_id, list(order_ids), list(product_ids),
    )  # fmt: skip
    return {row["order_id"] for row in rows}


async def products_of(reader: Reader, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> set[str]:
    """The products of these orders."""
    rows = await reader.rows(
        "SELECT DISTINCT product_id FROM order_lines WHERE merchant_id = $1 AND order_id = ANY ($2)", merchant_id, list(order_ids)
    )
    return {row["product_id"] for row in rows}


async def page_of_buyer(
    reader: Reader, merchant_id: str, channel: str, buyer_id: str, page: int, limit: int, status: str | None
) -> OrderPage:
    """A page of a buyer's orders, newest first, and how many there are in all."""
    total = await reader.value(
        """
        SELECT count(*) FROM orders
         WHERE merchant_id = $1 AND channel = $2 AND buyer_id = $3 AND ($4::text IS NULL OR status = $4)
        """,
        merchant_id, channel, buyer_id, status,
    )  # fmt: skip
    rows = await reader.rows(
        f"""
        SELECT {_COLUMNS}, {_LINES} FROM orders o
         WHERE o.merchant_id = $1 AND o.channel = $2 AND o.buyer_id = $3 AND ($4::text IS NULL OR o.status = $4)
         ORDER BY o.created_at DESC, o.order_id DESC LIMIT $6 OFFSET $5
        """,
        merchant_id, channel, buyer_id, status, (page - 1) * limit, limit,
    )  # fmt: skip
    return OrderPage([_order(row) for row in rows], page, limit, total)


async def timeline(reader: Reader, merchant_id: str, order_id: uuid.UUID, after: int) -> list[Happening]:
    """Lines of an order's timeline after number `after`, oldest first."""
    rows = await reader.rows(
        """
        SELECT sequence, status, payment_status, moved, note, tracking_number, carrier, at FROM order_timeline
         WHERE merchant_id = $1 AND order_id = $2 AND sequence > $3 ORDER BY sequence
        """,
        merchant_id, order_id, after,
    )  # fmt: skip
    return [Happening(**dict(row.items())) for row in rows]
