"""Every question that the catalogue asks the database."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kassa.catalog.here import OfferHere
from kassa.catalog.model import OWN, Channel, FiscalCode, Hold, Offer, Page, Published, Shortage
from kassa.kit.database import Reader, Row, Tx
from kassa.kit.errors import Conflict
from kassa.kit.money import Money
from kassa.kit.writes import Write

if TYPE_CHECKING:
    from kassa.catalog.publish import Publication


async def channel(reader: Reader, merchant_id: str, name: str) -> Channel | None:
    """One channel, or None."""
    row = await reader.row(
        "SELECT currency, delivery_days, methods, aliases FROM channels WHERE merchant_id = $1 AND channel = $2",
        merchant_id, name,
    )  # fmt: skip
    if row is None:
        return None
    return Channel(merchant_id, name, row["currency"], row["delivery_days"], frozenset(row["methods"]), frozenset(row["aliases"]))


async def own_offers(reader: Reader, channel: Channel, product_ids: Sequence[str], here: OfferHere) -> Mapping[str, Offer]:
    """What is sold of `product_ids`, with prices and stock of one moment."""
    # The list stands in a SELECT of its own, so that one plan fits every number of products, and is kept.
    rows = await reader.rows(
        f"""
        SELECT {here.columns}, kassa_now() AS at FROM products p
         WHERE p.merchant_id = $1 AND p.channel = $2 AND p.product_id = ANY ((SELECT $3::text[])::text[])
        """,
        channel.merchant_id, channel.channel, product_ids,
    )  # fmt: skip
    offers = (here.offer(row[:8], row["at"]) for row in rows)
    return {offer.product_id: offer for offer in offers if offer is not None}


async def own_page(reader: Reader, channel: Channel, page: int, limit: int, *, counted: bool) -> Page:
    """A page of what is sold, by name, then id, and how many there are in all."""
    total = await reader.value(
        "SELECT count(*) FROM products WHERE merchant_id = $1 AND channel = $2 AND sold",
        channel.merchant_id, channel.channel,
    )  # fmt: skip
    rows = await reader.rows(
        """
        SELECT p.product_id, p.sku, p.name, p.price_minor, p.currency, p.images, s.available AS stock
          FROM products p LEFT JOIN stock_levels s USING (merchant_id, channel, product_id)
         WHERE p.merchant_id = $1 AND p.channel = $2 AND p.sold
         ORDER BY p.name, p.product_id LIMIT $4 OFFSET $3
        """,
        channel.merchant_id, channel.channel, (page - 1) * limit, limit,
    )  # fmt: skip
    return Page([_offer(row, counted=counted) for row in rows], page, limit, total)


def _offer(row: Row, *, counted: bool, at: datetime | None = None) -> Offer:
    return Offer(
        product_id=row["product_id"],
        sku=row["sku"],
        name=row["name"],
        price=Money(row["price_minor"], row["currency"]),
        images=tuple(row["images"]),
        stock=row["stock"] if counted else None,
        counted_by=OWN if counted else "elsewhere",
        at=at,
    )


class StockMoved(Conflict):
    """Somebody took the stock first; look again."""

    code = "stock_moved"


# The lists stand in a SELECT of their own, so that the planner does not see how long they are: up to PostgreSQL 17 it would plan a
# beginning of a purchase anew each time (decision 0040).
_HOLD = Write(
    "stock_held",
    """
    stock_wanted AS (
        SELECT * FROM unnest((SELECT $4::text[]), (SELECT $5::bigint[])) AS w (product_id, quantity)
    ), stock_locked AS (
        SELECT s.product_id, w.quantity FROM stock_levels s JOIN stock_wanted w USING (product_id)
         WHERE s.merchant_id = $1 AND s.channel = $2
         ORDER BY s.product_id FOR NO KEY UPDATE OF s
    ), stock_held AS (
        UPDATE stock_levels s SET available = s.available - l.quantity
          FROM stock_locked l
         WHERE s.merchant_id = $1 AND s.channel = $2 AND s.product_id = l.product_id
           AND s.available >= l.quantity
        RETURNING s.product_id, l.quantity
    ), stock_noted AS (
        INSERT INTO reservations (merchant_id, checkout_id, product_id, channel, source, quantity, state, held_until)
        SELECT $1, $3, product_id, $2, 'own', quantity, 'held', $6 FROM stock_held)
    """,
    expects="cardinality($4)",
    unmet=StockMoved,
)
_HOLD_NOW = _HOLD.selecting("count(*)")


async def hold_own(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> list[Shortage]:
    """Take all lines from what can be had or none, under locks taken in product order; returns what is short.

    Whether there is enough is a condition of the update itself, so it is judged again on the newest row after any wait.
    """
    held = await tx.value(_HOLD_NOW, *_held(channel, checkout_id, holds, held_until))
    if held == len(holds):
        return []
    short = await _short_of(tx, channel, checkout_id, holds)
    await drop_holds(tx, channel, checkout_id)
    return short


async def hold_own_later(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> None:
    """The same, later. `StockMoved` if not all of it can be had then."""
    await tx.later(_HOLD, *_held(channel, checkout_id, holds, held_until))


def _held(channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None) -> tuple[Any, ...]:
    products, quantities = [hold.offer.product_id for hold in holds], [hold.quantity for hold in holds]
    return channel.merchant_id, channel.channel, checkout_id, products, quantities, held_until


async def _short_of(tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold]) -> list[Shortage]:
    rows = await tx.rows(
        """
        SELECT w.product_id, w.quantity, coalesce(s.available, 0) AS available
          FROM unnest($4::text[], $5::bigint[]) AS w (product_id, quantity)
          LEFT JOIN stock_levels s ON s.merchant_id = $1 AND s.channel = $2 AND s.product_id = w.product_id
         WHERE NOT EXISTS (SELECT 1 FROM reservations r
                            WHERE r.merchant_id = $1 AND r.checkout_id = $3 AND r.product_id = w.product_id)
         ORDER BY w.product_id
        """,
        channel.merchant_id, channel.channel, checkout_id,
        [hold.offer.product_id for hold in holds], [hold.quantity for hold in holds],
    )  # fmt: skip
    return [Shortage(row["product_id"], row["quantity"], row["available"]) for row in rows]


async def drop_holds(tx: Tx, channel: Channel, checkout_id: uuid.UUID) -> None:
    """Take back the holds that this very transaction has made, as if they had never been."""
    await tx.execute(
        """
        WITH dropped AS (
            DELETE FROM reservations WHERE merchant_id = $1 AND checkout_id = $3 AND source = 'own' RETURNING product_id, quantity
        )
        UPDATE stock_levels s SET available = s.available + d.quantity
          FROM dropped d WHERE s.merchant_id = $1 AND s.channel = $2 AND s.product_id = d.product_id
        """,
        channel.merchant_id, channel.channel, checkout_id,
    )  # fmt: skip


async def hold_remote(
    tx: Tx, channel: Channel, checkout_id: uuid.UUID, holds: Sequence[Hold], held_until: datetime | None
) -> list[Shortage]:
    """Hold against what the product service said, minus our holds that it could not know of when it was asked."""
    ids = [hold.offer.product_id for hold in holds]
    await tx.execute(
        """
        INSERT INTO remote_stock (merchant_id, channel, product_id)
        SELECT $1, $2, product_id FROM unnest($3::text[]) AS w (product_id) ORDER BY product_id
        ON CONFLICT DO NOTHING
        """,
        channel.merchant_id, channel.channel, ids,
    )  # fmt: skip
    await tx.rows(
        """
        SELECT product_id FROM remote_stock
         WHERE merchant_id = $1 AND channel = $2 AND product_id = ANY ($3) ORDER BY product_id FOR UPDATE
        """,
        channel.merchant_id, channel.channel, ids,
    )  # fmt: skip
    open_holds = await remote_holds(tx, channel, [(hold.offer.product_id, hold.offer.read_at) for hold in holds])
    short = []
    for hold in holds:
        available = max(0, (hold.offer.read_stock or 0) - open_holds.get(hold.offer.product_id, 0))
        if available < hold.quantity:
            short.append(Shortage(hold.offer.product_id, hold.quantity, available))
    if not short:
        await tx.execute(
            """
            INSERT INTO reservations (merchant_id, checkout_id, product_id, channel, source, quantity, state, held_until)
            SELECT $1, $3, w.product_id, $2, 'product_service', w.quantity, 'held', $6
              FROM unnest($4::text[], $5::bigint[]) AS w (product_id, quantity)
            """,
            channel.merchant_id, channel.channel, checkout_id, ids, [hold.quantity for hold in holds], held_until,
        )  # fmt: skip
    return short


async def remote_holds(reader: Reader, channel: Channel, asked: Sequence[tuple[str, datetime | None]]) -> Mapping[str, int]:
    """Pieces that our open checkouts hold of each product, with those whose hold ended after `asked` was read."""
    rows = await reader.rows(
        """
        SELECT r.product_id, sum(r.quantity)::bigint AS held
          FROM unnest($3::text[], $4::timestamptz[]) AS a (product_id, read_at)
          JOIN reservations r ON r.merchant_id = $1 AND r.channel = $2 AND r.product_id = a.product_id
                             AND r.source = 'product_service' AND (r.ended_at IS NULL OR r.ended_at >= a.read_at)
         WHERE r.state <> 'released'
         GROUP BY r.product_id
        """,
        channel.merchant_id, channel.channel, [each[0] for each in asked], [each[1] for each in asked],
    )  # fmt: skip
    return {row["product_id"]: row["held"] for row in rows}


_CONSUME = Write(
    "stock_sold",
    """
    stock_moment AS MATERIALIZED (SELECT clock_timestamp() AS at), stock_ended AS (
        UPDATE reservations r SET state = 'consumed', ended_at = m.at
          FROM stock_moment m WHERE r.merchant_id = $1 AND r.checkout_id = $2 AND r.state = 'held'
        RETURNING r.channel, r.product_id, r.source, r.quantity
    ), stock_sold AS (
        INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
        SELECT $1, channel, product_id, 'sold', $3, quantity, kassa_now() FROM stock_ended WHERE source = 'own'
        RETURNING 1)
    """,
)


async def consume_held(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> None:
    """What was held becomes sold, later: reservation and journal. What can be had stays as it is."""
    await tx.later(_CONSUME, merchant_id, checkout_id, str(checkout_id))


async def release_held(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """What was held is free again."""
    released: int = await tx.value(
        """
        WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at), ended AS (
            UPDATE reservations r SET state = 'released', ended_at = m.at
              FROM moment m WHERE r.merchant_id = $1 AND r.checkout_id = $2 AND r.state = 'held'
            RETURNING r.channel, r.product_id, r.source, r.quantity
        ), locked AS (
            SELECT s.channel, s.product_id, e.quantity
              FROM stock_levels s JOIN ended e USING (channel, product_id)
             WHERE s.merchant_id = $1 AND e.source = 'own'
             ORDER BY s.product_id FOR NO KEY UPDATE OF s
        ), raised AS (
            UPDATE stock_levels s SET available = s.available + l.quantity
              FROM locked l
             WHERE s.merchant_id = $1 AND s.channel = l.channel AND s.product_id = l.product_id
        )
        SELECT count(*) FROM ended
        """,
        merchant_id, checkout_id,
    )  # fmt: skip
    return released


async def return_sold(tx: Tx, merchant_id: str, checkout_id: uuid.UUID) -> int:
    """What the checkout sold from own stock comes back, less what did before; never more than was sold, however often."""
    return await _return(tx, merchant_id, checkout_id, str(checkout_id), None)


async def return_up_to(tx: Tx, merchant_id: str, checkout_id: uuid.UUID, reference: str, pieces: Mapping[str, int]) -> int:
    """So many pieces of each product are back then, with those that were before, and never more than were sold."""
    return await _return(tx, merchant_id, checkout_id, f"{checkout_id}:{reference}", pieces)


async def _return(tx: Tx, merchant_id: str, checkout_id: uuid.UUID, reference: str, pieces: Mapping[str, int] | None) -> int:
    returned: int = await tx.value(
        """
        WITH wanted AS (
            SELECT r.channel, r.product_id, least(coalesce(w.quantity, r.quantity), r.quantity) - r.returned AS quantity
              FROM reservations r LEFT JOIN unnest($4::text[], $5::bigint[]) AS w (product_id, quantity) USING (product_id)
             WHERE r.merchant_id = $1 AND r.checkout_id = $2 AND r.state = 'consumed' AND r.source = 'own'
               AND ($4::text[] IS NULL OR w.quantity IS NOT NULL)
               AND least(coalesce(w.quantity, r.quantity), r.quantity) > r.returned
             ORDER BY r.product_id FOR NO KEY UPDATE OF r
        ), locked AS (
            SELECT s.channel, s.product_id, w.quantity
              FROM stock_levels s JOIN wanted w USING (channel, product_id)
             WHERE s.merchant_id = $1 ORDER BY s.product_id FOR NO KEY UPDATE OF s
        ), counted AS (
            UPDATE reservations r SET returned = r.returned + l.quantity
              FROM locked l
             WHERE r.merchant_id = $1 AND r.checkout_id = $2 AND r.product_id = l.product_id
            RETURNING r.channel, r.product_id, l.quantity
        ), noted AS (
            INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
            SELECT $1, channel, product_id, 'returned', $3, quantity, kassa_now() FROM counted
            RETURNING channel, product_id, quantity
        ), raised AS (
            UPDATE stock_levels s SET available = s.available + n.quantity
              FROM noted n
             WHERE s.merchant_id = $1 AND s.channel = n.channel AND s.product_id = n.product_id
            RETURNING 1
        )
        SELECT count(*) FROM raised
        """,
        merchant_id, checkout_id, reference, list(pieces) if pieces is not None else None,
        list(pieces.values()) if pieces is not None else None,
    )  # fmt: skip
    return returned


async def add_channel(tx: Tx, merchant_name: str, channel: Channel) -> bool:
    """Insert merchant and channel where they are missing; whether the channel was."""
    await tx.execute(
        "INSERT INTO merchants (merchant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        channel.merchant_id, merchant_name,
    )  # fmt: skip
    made = await tx.execute(
        """
        INSERT INTO channels (merchant_id, channel, currency, delivery_days, methods, aliases)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
        """,
        channel.merchant_id, channel.channel, channel.currency, channel.delivery_days,
        sorted(channel.methods), sorted(channel.aliases),
    )  # fmt: skip
    return made == 1


async def add_products(tx: Tx, channel: Channel, products: Sequence[Publication]) -> int:
    """Insert missing products with their first stock and the journal line that explains it."""
    added = 0
    for product in products:
        added += await tx.value(
            """
            WITH made AS (
                INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency, images)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING product_id
            ), levelled AS (
                INSERT INTO stock_levels (merchant_id, channel, product_id, available)
                SELECT $1, $2, product_id, $9 FROM made WHERE $9::bigint IS NOT NULL
            ), noted AS (
                INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
                SELECT $1, $2, product_id, 'initial', 'published', $9, kassa_now() FROM made WHERE $9::bigint IS NOT NULL
            )
            SELECT count(*) FROM made
            """,
            channel.merchant_id, channel.channel, product.product_id, product.sku or product.product_id, product.name,
            product.price.minor, product.price.currency, list(product.images), product.stock,
        )  # fmt: skip
    return added


async def lock_published(tx: Tx, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Published]:
    """What the channel has of `product_ids`, sold or not; locked in their order, so that two who publish do not meet head-on."""
    rows = await tx.rows(
        """
        SELECT product_id, sku, name, price_minor, images, sold FROM products
         WHERE merchant_id = $1 AND channel = $2 AND product_id = ANY ($3) ORDER BY product_id FOR NO KEY UPDATE
        """,
        channel.merchant_id, channel.channel, list(product_ids),
    )  # fmt: skip
    return {
        row["product_id"]: Published(row["sku"], row["name"], row["price_minor"], tuple(row["images"]), row["sold"]) for row in rows
    }


async def write_products(tx: Tx, channel: Channel, products: Mapping[str, Published]) -> None:
    """Give products that are there what buyers see of them. Their stock is left as it is."""
    for product_id, product in products.items():
        await tx.execute(
            """
            UPDATE products SET sku = $4, name = $5, price_minor = $6, images = $7, sold = $8, updated_at = kassa_now()
             WHERE merchant_id = $1 AND channel = $2 AND product_id = $3
            """,
            channel.merchant_id, channel.channel, product_id, product.sku, product.name, product.price_minor,
            list(product.images), product.sold,
        )  # fmt: skip


async def write_fiscal_code(tx: Tx, merchant_id: str, channel: str, product_id: str, code: FiscalCode) -> None:
    """Set the codes of a product, or of all of a channel (`*`)."""
    await tx.execute(
        """
        INSERT INTO fiscal_codes (merchant_id, channel, product_id, code, package_code, vat_percent, units)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (merchant_id, channel, product_id)
           DO UPDATE SET code = $4, package_code = $5, vat_percent = $6, units = $7
        """,
        merchant_id, channel, product_id, code.code, code.package_code, code.vat_percent, code.units,
    )  # fmt: skip


async def fiscal_codes(reader: Reader, merchant_id: str, channel: str, product_ids: Sequence[str]) -> dict[str, FiscalCode]:
    """The codes of these products, with those of the channel under `*`."""
    rows = await reader.rows(
        """
        SELECT product_id, code, package_code, vat_percent, units FROM fiscal_codes
         WHERE merchant_id = $1 AND channel = $2 AND product_id = ANY ($3)
        """,
        merchant_id, channel, [*product_ids, "*"],
    )  # fmt: skip
    return {row["product_id"]: FiscalCode(row["code"], row["package_code"], row["vat_percent"], row["units"]) for row in rows}


async def retire(tx: Tx, merchant_id: str, channel: str, product_ids: Sequence[str]) -> int:
    """Mark products as not sold; how many were until now."""
    return await tx.execute(
        """
        UPDATE products SET sold = false, updated_at = kassa_now()
         WHERE merchant_id = $1 AND channel = $2 AND product_id = ANY ($3) AND sold
        """,
        merchant_id, channel, list(product_ids),
    )  # fmt: skip


async def adjust_stock(tx: Tx, merchant_id: str, channel: str, product_id: str, change: int, reference: str) -> bool:
    """Change stock on hand unless less would remain than is reserved (False); noted, and done, once per reference."""
    row = await tx.row(
        """
        WITH level AS (
            SELECT merchant_id, channel, product_id, available + $4 >= 0 AS enough FROM stock_levels
             WHERE merchant_id = $1 AND channel = $2 AND product_id = $3 FOR NO KEY UPDATE
        ), noted AS (
            INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
            SELECT merchant_id, channel, product_id, 'adjusted', $5, $4, kassa_now() FROM level WHERE enough
            ON CONFLICT DO NOTHING RETURNING product_id
        ), changed AS (
            UPDATE stock_levels s SET available = s.available + $4 FROM noted
             WHERE s.merchant_id = $1 AND s.channel = $2 AND s.product_id = noted.product_id
        )
        SELECT level.enough OR EXISTS (
                   SELECT 1 FROM stock_journal WHERE merchant_id = $1 AND channel = $2 AND product_id = $3
                      AND kind = 'adjusted' AND reference = $5) AS done
          FROM level
        """,
        merchant_id, channel, product_id, change, reference,
    )  # fmt: skip
    return row is not None and row["done"]
