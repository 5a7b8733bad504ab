"""Every question that carts ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from kassa.carts.model import MAX_QUANTITY, Cart, CartLine
from kassa.kit.database import Reader, Row, Tx
from kassa.kit.ids import new_id
from kassa.kit.writes import Write

if TYPE_CHECKING:
    from kassa.carts.model import Offered

_LINES = """(SELECT array_agg(ROW (l.line_id, l.product_id, l.quantity, l.seen_price_minor, l.seen_name, l.seen_image,
                                   l.added_at)
                              ORDER BY l.added_at, l.line_id)
               FROM cart_lines l WHERE l.merchant_id = c.merchant_id AND l.cart_id = c.cart_id) AS lines"""
_COLUMNS = "c.merchant_id, c.cart_id, c.channel, c.buyer_id, c.version, c.created_at, c.updated_at"


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """A line on its way back into a cart."""

    product_id: str
    quantity: int
    price_minor: int
    name: str
    image: str | None


def _cart(row: Row) -> Cart:
    values = dict(row.items())
    lines = values.pop("lines") or ()
    return Cart(**values, lines=tuple(CartLine(*line) for line in lines))


async def read_cart(reader: Reader, merchant_id: str, channel: str, buyer_id: str) -> Cart | None:
    """The buyer's cart with its lines in the order they were first added, or None."""
    row = await reader.row(
        f"SELECT {_COLUMNS}, {_LINES} FROM carts c WHERE c.merchant_id = $1 AND c.channel = $2 AND c.buyer_id = $3",
        merchant_id, channel, buyer_id,
    )  # fmt: skip
    return _cart(row) if row else None


async def open_cart(reader: Reader, merchant_id: str, channel: str, buyer_id: str) -> Cart:
    """The buyer's cart, made if there is none yet; two at once make one."""
    found = await read_cart(reader, merchant_id, channel, buyer_id)
    if found is not None:
        return found
    return Cart(**dict((await _make_or_lock(reader, merchant_id, channel, buyer_id)).items()), lines=())


async def lock_cart(tx: Tx, merchant_id: str, channel: str, buyer_id: str) -> Cart:
    """The buyer's cart under its row lock, made if there is none yet.

    The lines are read by a statement of their own after the lock: read in the same one they could be older than it.
    """
    row = await _make_or_lock(tx, merchant_id, channel, buyer_id)
    lines = await tx.rows(
        """
        SELECT line_id, product_id, quantity, seen_price_minor, seen_name, seen_image, added_at FROM cart_lines
         WHERE merchant_id = $1 AND cart_id = $2 ORDER BY added_at, line_id
        """,
        merchant_id, row["cart_id"],
    )  # fmt: skip
    return Cart(**dict(row.items()), lines=tuple(CartLine(**dict(line.items())) for line in lines))


async def lock_cart_alone(tx: Tx, merchant_id: str, channel: str, buyer_id: str) -> Cart:
    """The buyer's cart under its row lock, without its lines."""
    return Cart(**dict((await _make_or_lock(tx, merchant_id, channel, buyer_id)).items()), lines=())


async def _make_or_lock(reader: Reader, merchant_id: str, channel: str, buyer_id: str) -> Row:
    row = await reader.row(
        f"""
        INSERT INTO carts AS c (merchant_id, cart_id, channel, buyer_id, created_at, updated_at)
        VALUES ($1, $2, $3, $4, kassa_now(), kassa_now())
        ON CONFLICT (merchant_id, channel, buyer_id) DO UPDATE SET updated_at = c.updated_at
        RETURNING {_COLUMNS}
        """,
        merchant_id, new_id(), channel, buyer_id,
    )  # fmt: skip
    assert row is not None
    return row


async def add_to_line(tx: Tx, cart: Cart, product_id: str, quantity: int, offer: Offered) -> tuple[Cart, CartLine, int] | None:
    """Add pieces to the product's line, made if there is none; the last figure counts the cart's other lines.

    None when the line would hold more than 999. The cart is locked by the caller.
    """
    row = await tx.row(
        """
        WITH put AS (
            INSERT INTO cart_lines AS l (merchant_id, cart_id, line_id, product_id, quantity, seen_price_minor, seen_name,
                                         seen_image, added_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, kassa_now())
            ON CONFLICT (merchant_id, cart_id, product_id) DO UPDATE
               SET quantity = l.quantity + excluded.quantity, seen_price_minor = excluded.seen_price_minor,
                   seen_name = excluded.seen_name, seen_image = excluded.seen_image
             WHERE l.quantity + excluded.quantity <= $9
            RETURNING line_id, quantity, added_at
        ), moved AS (
            UPDATE carts SET version = version + 1, updated_at = kassa_now()
             WHERE merchant_id = $1 AND cart_id = $2 RETURNING version
        )
        SELECT put.line_id, put.quantity, put.added_at, moved.version,
               (SELECT count(*) FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2 AND product_id <> $4) AS others
          FROM put, moved
        """,
        cart.merchant_id, cart.cart_id, new_id(), product_id, quantity, offer.price.minor, offer.name, offer.image,
        MAX_QUANTITY,
    )  # fmt: skip
    if row is None:
        return None
    line = CartLine(row["line_id"], product_id, row["quantity"], offer.price.minor, offer.name, offer.image, row["added_at"])
    return replace(cart, version=row["version"]), line, row["others"]


async def put_line(tx: Tx, cart: Cart, product_id: str, offer: Offered) -> tuple[Cart, CartLine, int] | None:
    """Make a line of one piece and move the version; the last figure counts the cart's other lines.

    None when the product has a line already, which stays as it is. The cart is locked by the caller.
    """
    row = await tx.row(
        """
        WITH put AS (
            INSERT INTO cart_lines (merchant_id, cart_id, line_id, product_id, quantity, seen_price_minor, seen_name, seen_image,
                                    added_at)
            VALUES ($1, $2, $3, $4, 1, $5, $6, $7, kassa_now())
            ON CONFLICT (merchant_id, cart_id, product_id) DO NOTHING
            RETURNING line_id, added_at
        ), moved AS (
            UPDATE carts SET version = version + 1, updated_at = kassa_now()
             WHERE merchant_id = $1 AND cart_id = $2 AND EXISTS (SELECT FROM put) RETURNING version
        )
        SELECT put.line_id, put.added_at, moved.version,
               (SELECT count(*) FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2) AS others
          FROM put, moved
        """,
        cart.merchant_id, cart.cart_id, new_id(), product_id, offer.price.minor, offer.name, offer.image,
    )  # fmt: skip
    if row is None:
        return None
    line = CartLine(row["line_id"], product_id, 1, offer.price.minor, offer.name, offer.image, row["added_at"])
    return replace(cart, version=row["version"]), line, row["others"]


async def line_with(reader: Reader, cart: Cart, product_id: str) -> CartLine | None:
    """The product's line, or None."""
    row = await reader.row(
        """
        SELECT line_id, product_id, quantity, seen_price_minor, seen_name, seen_image, added_at FROM cart_lines
         WHERE merchant_id = $1 AND cart_id = $2 AND product_id = $3
        """,
        cart.merchant_id, cart.cart_id, product_id,
    )  # fmt: skip
    return CartLine(**dict(row.items())) if row else None


async def set_line(tx: Tx, cart: Cart, line: CartLine, quantity: int, offer: Offered) -> tuple[Cart, CartLine]:
    """Set the quantity of a line, as the buyer sees it now, and move the version."""
    changed = CartLine(line.line_id, line.product_id, quantity, offer.price.minor, offer.name, offer.image, line.added_at)
    version = await tx.value(
        """
        WITH put AS (
            UPDATE cart_lines SET quantity = $4, seen_price_minor = $5, seen_name = $6, seen_image = $7
             WHERE merchant_id = $1 AND cart_id = $2 AND line_id = $3
        )
        UPDATE carts SET version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND cart_id = $2 RETURNING version
        """,
        cart.merchant_id, cart.cart_id, line.line_id, quantity, changed.seen_price_minor, changed.seen_name,
        changed.seen_image,
    )  # fmt: skip
    lines = tuple(changed if old.line_id == line.line_id else old for old in cart.lines)
    return replace(cart, version=version, lines=lines), changed


async def drop_lines(tx: Tx, cart: Cart, line_ids: Sequence[uuid.UUID]) -> Cart:
    """Delete lines and move the version."""
    version = await tx.value(
        """
        WITH gone AS (
            DELETE FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2 AND line_id = ANY ($3)
        )
        UPDATE carts SET version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND cart_id = $2 RETURNING version
        """,
        cart.merchant_id, cart.cart_id, list(line_ids),
    )  # fmt: skip
    return replace(cart, version=version, lines=tuple(line for line in cart.lines if line.line_id not in set(line_ids)))


async def drop_product(tx: Tx, cart: Cart, product_id: str) -> Cart | None:
    """Delete the product's line and move the version, which the cart that is returned has; None when there is no such line.

    The cart is locked by the caller and was read without its lines.
    """
    version = await tx.value(
        """
        WITH gone AS (
            DELETE FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2 AND product_id = $3 RETURNING line_id
        )
        UPDATE carts SET version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND cart_id = $2 AND EXISTS (SELECT FROM gone) RETURNING version
        """,
        cart.merchant_id, cart.cart_id, product_id,
    )  # fmt: skip
    return replace(cart, version=version) if version is not None else None


async def empty_all(tx: Tx, merchant_id: str, buyer_id: str) -> int:
    """Remove all lines of all carts of a buyer, under their row locks; returns how many there were."""
    await tx.rows(
        "SELECT true FROM carts WHERE merchant_id = $1 AND buyer_id = $2 ORDER BY cart_id FOR UPDATE", merchant_id, buyer_id
    )
    removed: int = await tx.value(
        """
        WITH gone AS (
            DELETE FROM cart_lines l USING carts c
             WHERE c.merchant_id = $1 AND c.buyer_id = $2 AND l.merchant_id = $1 AND l.cart_id = c.cart_id
            RETURNING l.cart_id
        ), moved AS (
            UPDATE carts SET version = version + 1, updated_at = kassa_now()
             WHERE merchant_id = $1 AND cart_id IN (SELECT cart_id FROM gone))
        SELECT count(*) FROM gone
        """,
        merchant_id, buyer_id,
    )  # fmt: skip
    return removed


async def take(tx: Tx, cart: Cart) -> bool:
    """Empty the cart and move its version, if it still is the version that was read."""
    return bool(
        await tx.value(
            """
            WITH taken AS (
                UPDATE carts SET version = version + 1, updated_at = kassa_now()
                 WHERE merchant_id = $1 AND cart_id = $2 AND version = $3 RETURNING cart_id
            ), gone AS (
                DELETE FROM cart_lines l USING taken WHERE l.merchant_id = $1 AND l.cart_id = taken.cart_id
            )
            SELECT true FROM taken
            """,
            cart.merchant_id, cart.cart_id, cart.version,
        )
    )  # fmt: skip


async def lock_version(tx: Tx, merchant_id: str, cart_id: uuid.UUID) -> int:
    """A cart's version, under its row lock."""
    version: int = await tx.value(
        "SELECT version FROM carts WHERE merchant_id = $1 AND cart_id = $2 FOR NO KEY UPDATE", merchant_id, cart_id
    )
    return version


async def move_version(tx: Tx, merchant_id: str, cart_id: uuid.UUID, version: int) -> None:
    """Move the version of a cart by one if it still is `version`."""
    await tx.execute(
        "UPDATE carts SET version = version + 1, updated_at = kassa_now() WHERE merchant_id = $1 AND cart_id = $2 AND version = $3",
        merchant_id, cart_id, version,
    )  # fmt: skip


async def drop_products(tx: Tx, merchant_id: str, cart_id: uuid.UUID, product_ids: Sequence[str]) -> int:
    """Delete lines by product and move the version if there were any; how many that were."""
    dropped: int = await tx.value(
        """
        WITH gone AS (
            DELETE FROM cart_lines
             WHERE merchant_id = $1 AND cart_id = $2 AND product_id = ANY ($3)
            RETURNING 1
        ), moved AS (
            UPDATE carts SET version = version + 1, updated_at = kassa_now()
             WHERE merchant_id = $1 AND cart_id = $2 AND EXISTS (SELECT FROM gone))
        SELECT count(*) FROM gone
        """,
        merchant_id, cart_id, list(product_ids),
    )  # fmt: skip
    return dropped


_DROPPED = Write(
    "lines_dropped",
    """
    lines_dropped AS (
        DELETE FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2 AND product_id = ANY ($3) AND added_at <= $4
        RETURNING 1
    ), cart_moved_on AS (
        UPDATE carts SET version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND cart_id = $2 AND EXISTS (SELECT FROM lines_dropped))
    """,
)


async def drop_products_later(tx: Tx, merchant_id: str, cart_id: uuid.UUID, product_ids: Sequence[str], before: datetime) -> None:
    """Delete lines by product that were added until `before`, and move the version if there were any, later."""
    await tx.later(_DROPPED, merchant_id, cart_id, list(product_ids), before)


async def carts_with(
    reader: Reader, merchant_id: str, channel: str, product_ids: Sequence[str], after: uuid.UUID, limit: int
) -> list[uuid.UUID]:
    """Carts of a channel that hold one of these products, behind `after` in the order of ids."""
    rows = await reader.rows(
        """
        SELECT DISTINCT l.cart_id FROM cart_lines l JOIN carts c ON c.merchant_id = $1 AND c.cart_id = l.cart_id
         WHERE l.merchant_id = $1 AND c.channel = $2 AND l.product_id = ANY ($3) AND l.cart_id > $4 ORDER BY l.cart_id LIMIT $5
        """,
        merchant_id, channel, list(product_ids), after, limit,
    )  # fmt: skip
    return [row["cart_id"] for row in rows]


async def products_in_carts(reader: Reader, merchant_id: str, channel: str, after: str, limit: int) -> list[str]:
    """Products that lie in carts of a channel, behind `after` in the order of ids."""
    rows = await reader.rows(
        """
        SELECT DISTINCT l.product_id FROM cart_lines l JOIN carts c ON c.merchant_id = $1 AND c.cart_id = l.cart_id
         WHERE l.merchant_id = $1 AND c.channel = $2 AND l.product_id > $3 ORDER BY l.product_id LIMIT $4
        """,
        merchant_id, channel, after, limit,
    )  # fmt: skip
    return [row["product_id"] for row in rows]


async def give_back(tx: Tx, merchant_id: str, cart_id: uuid.UUID, lines: Sequence[ReturnedLine]) -> None:
    """Add lines to the cart, summed with what it holds, and move the version.

    The lines are written after the cart was locked, as by everybody: a CTE that nobody reads would run last.
    """
    await tx.execute(
        """
        WITH moved AS (
            UPDATE carts SET version = version + 1, updated_at = kassa_now() WHERE merchant_id = $1 AND cart_id = $2
            RETURNING cart_id
        )
        INSERT INTO cart_lines AS l (merchant_id, cart_id, line_id, product_id, quantity, seen_price_minor, seen_name,
                                     seen_image, added_at)
        SELECT $1, $2, r.line_id, r.product_id, least(r.quantity, $9), r.price_minor, r.name, r.image,
               kassa_now() + r.place * interval '1 microsecond'
          FROM moved, unnest($3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[]) WITH ORDINALITY
            AS r (line_id, product_id, quantity, price_minor, name, image, place)
        ON CONFLICT (merchant_id, cart_id, product_id) DO UPDATE SET quantity = least(l.quantity + excluded.quantity, $9)
        """,
        merchant_id, cart_id, [new_id() for _ in lines], [line.product_id for line in lines],
        [line.quantity for line in lines], [line.price_minor for line in lines], [line.name for line in lines],
        [line.image for line in lines], MAX_QUANTITY,
    )  # fmt: skip
