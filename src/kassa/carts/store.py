"""Every question that carts ask the database."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from kassa.carts.model import MAX_LINES, MAX_QUANTITY, Cart, CartLine, ReturnedLine
from kassa.catalog import Offer, OfferHere
from kassa.kit.database import Database, Reader, Row, Tx
from kassa.kit.errors import Conflict
from kassa.kit.ids import new_id
from kassa.kit.writes import Write

if TYPE_CHECKING:
    from kassa.carts.model import Offered

_LINES = """(SELECT array_agg(ROW (l.line_id, l.product_id, l.quantity, l.seen_price_minor, l.seen_name, l.seen_image,
                                   l.added_at)
                              ORDER BY l.added_at, l.line_id)
               FROM cart_lines l WHERE l.merchant_id = c.merchant_id AND l.cart_id = c.cart_id) AS lines"""
_COLUMNS = "c.merchant_id, c.cart_id, c.channel, c.buyer_id, c.version, c.created_at, c.updated_at"
_PATIENCE_S = 10.0
"""Seconds that an edit of its own waits for another edit of the same cart."""


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


async def read_offered(
    reader: Reader, merchant_id: str, channel: str, buyer_id: str, here: OfferHere
) -> tuple[Cart, Mapping[str, Offer]] | None:
    """The buyer's cart with the offers of its lines, by product, all of one moment; what is not sold is missing.

    None without a cart.
    """
    row = await reader.row(_offered_lines(here), merchant_id, channel, buyer_id)
    if row is None:
        return None
    lines, offers = [], {}
    for line in row["lines"] or ():
        lines.append(CartLine(*line[:7]))
        offer = here.offer(line[7], row["at"]) if line[7] is not None else None
        if offer is not None:
            offers[offer.product_id] = offer
    merchant_id, cart_id, channel, buyer_id, version, created_at, updated_at = row[:7]
    return Cart(merchant_id, cart_id, channel, buyer_id, version, created_at, updated_at, tuple(lines)), offers


@cache
def _offered_lines(here: OfferHere) -> str:
    return f"""
        SELECT {_COLUMNS}, kassa_now() AS at,
               (SELECT array_agg(ROW (l.line_id, l.product_id, l.quantity, l.seen_price_minor, l.seen_name, l.seen_image,
                                      l.added_at, (SELECT ROW ({here.columns}) FROM products p
                                                    WHERE p.merchant_id = $1 AND p.channel = $2 AND p.product_id = l.product_id))
                                 ORDER BY l.added_at, l.line_id)
                  FROM cart_lines l WHERE l.merchant_id = c.merchant_id AND l.cart_id = c.cart_id) AS lines
          FROM carts c WHERE c.merchant_id = $1 AND c.channel = $2 AND c.buyer_id = $3
    """


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


_GIVEN = "SELECT $9::bigint AS price_minor, $10::text AS name, $11::text AS image, $12::bigint AS stock, true AS sold"


@cache
def _add(offer: OfferHere | None) -> str:
    """All of an edit in one statement: nothing of it happens when the database says that it must not.

    The lines are counted as they were when the statement began. Who waited for another edit may have counted too few, by one for
    each version that came meanwhile; near the limit it is done again.
    """
    offered = _GIVEN
    if offer is not None:
        offered = f"""SELECT p.price_minor, p.name, p.images[1] AS image, {offer.stock} AS stock, p.sold
          FROM products p WHERE p.merchant_id = $1 AND p.channel = $2 AND p.product_id = $3"""
    return f"""
    WITH seen AS (
        SELECT version, (SELECT count(*) FROM cart_lines o
                          WHERE o.merchant_id = $1 AND o.cart_id = c.cart_id AND o.product_id <> $3) AS others
          FROM carts c WHERE merchant_id = $1 AND channel = $2 AND buyer_id = $4
    ), offer AS (
        {offered}
    ), cart AS (
        INSERT INTO carts AS c (merchant_id, cart_id, channel, buyer_id, version, created_at, updated_at)
        VALUES ($1, $5, $2, $4, 1, kassa_now(), kassa_now())
        ON CONFLICT (merchant_id, channel, buyer_id) DO UPDATE SET version = c.version + 1, updated_at = excluded.updated_at
        RETURNING {_COLUMNS}
    ), put AS (
        INSERT INTO cart_lines AS l (merchant_id, cart_id, line_id, product_id, quantity, seen_price_minor, seen_name, seen_image,
                                     added_at)
        SELECT $1, cart.cart_id, $6, $3, $7, o.price_minor, o.name, o.image, kassa_now() FROM cart, offer o WHERE o.sold
        ON CONFLICT (merchant_id, cart_id, product_id) DO UPDATE
           SET quantity = l.quantity + excluded.quantity, seen_price_minor = excluded.seen_price_minor,
               seen_name = excluded.seen_name, seen_image = excluded.seen_image
         WHERE l.quantity + excluded.quantity <= {MAX_QUANTITY}
        RETURNING line_id, quantity, added_at
    ), judged AS (
        SELECT cart.*, put.line_id, put.quantity, o.price_minor, o.name, o.image, put.added_at, o.stock, o.sold,
               coalesce(seen.others, 0) AS others, cart.version - 1 AS was, cart.version - 1 - coalesce(seen.version, 0) AS unseen
          FROM cart LEFT JOIN offer o ON true LEFT JOIN put ON true LEFT JOIN seen ON true
    )
    SELECT *, CASE WHEN NOT coalesce(sold, false) THEN kassa_unmet('not_sold')
                   WHEN was <> $8 THEN kassa_unmet('cart_changed ' || was)
                   WHEN line_id IS NULL THEN kassa_unmet('line_too_long')
                   WHEN others + unseen >= {MAX_LINES} AND unseen = 0 THEN kassa_unmet('cart_full')
                   WHEN others + unseen >= {MAX_LINES} THEN kassa_unmet('cart_moved')
                   WHEN quantity > stock THEN kassa_unmet('too_few ' || quantity || ' ' || stock) ELSE true END
      FROM judged
    """


async def add_to_line(
    tx: Tx, merchant_id: str, channel: str, buyer_id: str, product_id: str, quantity: int, offer: Offered, version: int | None
) -> tuple[Cart, CartLine]:
    """Add pieces to the product's line, made with its cart if there is none, and move the version; the cart without its lines.

    Raises `Unmet`: `cart_changed` and the version, `line_too_long`, `cart_full`, `cart_moved` (do it again), `too_few` with the
    pieces and how many there are.
    """
    given = _added(merchant_id, channel, buyer_id, product_id, quantity, version)
    return _line_added(await tx.row(_add(None), *given, *_offered(offer)), product_id)


async def add_at_once(
    db: Database, merchant_id: str, channel: str, buyer_id: str, product_id: str, quantity: int, offer: Offered | OfferHere,
    version: int | None,
) -> tuple[Cart, CartLine]:  # fmt: skip
    """The same as a transaction of its own, `cart.add`, in one round trip. Raises `Blocked` and `CommitUnknown`, too.

    Where the statement reads the offer, `Unmet` may say `not_sold` as well.
    """
    given = _added(merchant_id, channel, buyer_id, product_id, quantity, version)
    sql, given = (_add(offer), given) if isinstance(offer, OfferHere) else (_add(None), (*given, *_offered(offer)))
    return _line_added(await db.at_once("cart.add", sql, *given, patience_s=_PATIENCE_S), product_id)


def _added(merchant_id: str, channel: str, buyer_id: str, product_id: str, quantity: int, version: int | None) -> tuple[Any, ...]:
    return merchant_id, channel, product_id, buyer_id, new_id(), new_id(), quantity, version


def _offered(offer: Offered) -> tuple[Any, ...]:
    return offer.price.minor, offer.name, offer.image, offer.stock


def _line_added(row: Row | None, product_id: str) -> tuple[Cart, CartLine]:
    assert row is not None
    merchant_id, cart_id, channel, buyer_id, version, created_at, updated_at = row[:7]
    line_id, quantity, minor, name, image, added_at = row[7:13]
    line = CartLine(line_id, product_id, quantity, minor, name, image, added_at)
    return Cart(merchant_id, cart_id, channel, buyer_id, version, created_at, updated_at, ()), line


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
               (SELECT count(*) FROM cart_lines WHERE merchant_id = $1 AND cart_id = $2 AND product_id <> $4) AS others
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


class CartMoved(Conflict):
    """The cart moved while it was being ordered."""

    code = "cart_moved"


_TAKE = Write(
    "cart_taken",
    """
    cart_taken AS (
        UPDATE carts SET version = version + 1, updated_at = kassa_now()
         WHERE merchant_id = $1 AND cart_id = $2 AND version = $3 RETURNING cart_id
    ), cart_emptied AS (
        DELETE FROM cart_lines l USING cart_taken t WHERE l.merchant_id = $1 AND l.cart_id = t.cart_id)
    """,
    expects="1",
    unmet=CartMoved,
)


async def take(tx: Tx, cart: Cart) -> None:
    """Empty the cart and move its version, if it still is the version that was read, later. `CartMoved` if it is not."""
    await tx.later(_TAKE, cart.merchant_id, cart.cart_id, cart.version)


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
