"""Every question that orders ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kassa.kit.database import Reader, Row, Tx
from kassa.kit.ids import random_word
from kassa.orders.model import Happening, Line, Order, OrderMissing, OrderPage

if TYPE_CHECKING:
    from kassa.orders.place import Placement

_COLUMNS = """o.merchant_id, o.order_id, o.checkout_id, o.channel, o.buyer_id, o.order_number, o.status, o.payment_status,
    o.payment_id, o.payment_method, o.payment_url, o.currency, o.total_minor, o.shipping_address, o.tracking_number, o.carrier,
    o.external_id, o.version, o.estimated_delivery, o.created_at, o.updated_at"""

_LINES = """(SELECT array_agg(ROW (l.product_id, l.product_name, l.price_minor, l.quantity, l.total_minor, l.image)
                              ORDER BY l.position)
               FROM order_lines l WHERE l.merchant_id = o.merchant_id AND l.order_id = o.order_id) AS lines"""


def _order(row: Row, lines: Sequence[Line] | None = None) -> Order:
    values = dict(row.items())
    found = values.pop("lines", None)
    return Order(**values, lines=lines if lines is not None else tuple(Line(*each) for each in found or ()))


async def insert(tx: Tx, placement: Placement) -> Order:
    """Write order, lines and the first line of the timeline in one statement."""
    lines = placement.lines
    total = sum(line.total_minor for line in lines)
    row = await tx.row(
        f"""
        WITH o AS (
            INSERT INTO orders (merchant_id, order_id, checkout_id, channel, buyer_id, order_number, status, payment_status,
                                payment_id, payment_method, currency, lines_minor, total_minor, shipping_address,
                                estimated_delivery, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, 'ORD-' || to_char(kassa_now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '-' || $6::text,
                    'pending', 'pending', $7, $8, $9, $10, $10, $11, kassa_now() + $12::interval, kassa_now(), kassa_now())
            RETURNING *
        ), lines AS (
            INSERT INTO order_lines (merchant_id, order_id, product_id, position, product_name, price_minor, quantity,
                                     total_minor, image)
            SELECT $1, $2, product_id, position, product_name, price_minor, quantity, total_minor, image
              FROM unnest($13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[]) WITH ORDINALITY
                AS l (product_id, product_name, price_minor, quantity, total_minor, image, position)
        ), told AS (
            INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at)
            SELECT merchant_id, order_id, version, status, payment_status, true, created_at FROM o
        )
        SELECT {_COLUMNS} FROM o
        """,
        placement.merchant_id, placement.order_id, placement.checkout_id, placement.channel, placement.buyer_id,
        random_word(8), placement.payment_id, placement.payment_method, placement.currency, total,
        placement.shipping_address, placement.delivery,
        [line.product_id for line in lines], [line.product_name for line in lines], [line.price_minor for line in lines],
        [line.quantity for line in lines], [line.total_minor for line in lines], [line.image for line in lines],
    )  # fmt: skip
    assert row is not None
    return _order(row, lines)


async def find(reader: Reader, merchant_id: str, order_id: uuid.UUID) -> Order | None:
    """One order with its lines, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS}, {_LINES} FROM orders o WHERE o.merchant_id = $1 AND o.order_id = $2", merchant_id, order_id
    )
    return _order(row) if row else None


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


async def write_move(
    tx: Tx,
    order: Order,
    after: str,
    payment_status: str,
    note: str | None,
    tracking_number: str | None,
    carrier: str | None,
    external_id: str | None,
) -> Order | None:
    """Change an order from the version it was read in, with its line of the timeline; None when it has moved on."""
    row = await tx.row(
        f"""
        WITH o AS (
            UPDATE orders SET status = $4, payment_status = $5, tracking_number = coalesce($7, tracking_number),
                   carrier = coalesce($8, carrier), external_id = coalesce($9, external_id),
                   payment_url = CASE WHEN $4 = 'pending' AND $5 = 'pending' THEN payment_url END,
                   version = version + 1, updated_at = kassa_now()
             WHERE merchant_id = $1 AND order_id = $2 AND version = $3
            RETURNING *
        ), told AS (
            INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, note, tracking_number,
                                        carrier, at)
            SELECT merchant_id, order_id, version, status, payment_status, $10, $6, tracking_number, carrier, updated_at FROM o
        )
        SELECT {_COLUMNS} FROM o
        """,
        order.merchant_id, order.order_id, order.version, after, payment_status, note, tracking_number, carrier,
        external_id, after != order.status,
    )  # fmt: skip
    return _order(row, order.lines) if row else None


async def write_url(tx: Tx, order: Order, payment_url: str | None) -> Order:
    """Set the link of a pending order."""
    await tx.execute(
        "UPDATE orders SET payment_url = $3 WHERE merchant_id = $1 AND order_id = $2 AND status = 'pending'",
        order.merchant_id, order.order_id, payment_url,
    )  # fmt: skip
    return replace(order, payment_url=payment_url)


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
