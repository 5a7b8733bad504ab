"""Lists, a page at a time: orders, payments, products with their journals, deliveries, merchants.

A page begins behind a key and is read along an index, so the thousandth is as quick as the first. What no index leads to is a
filter: it goes through a bounded number of rows and says how many.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kassa.desk.model import (
    COUNTED,
    LOOKED_AT,
    At,
    DeliveryRow,
    MerchantRow,
    OrderRow,
    Page,
    PaymentRow,
    ProductRow,
    StockChange,
)
from kassa.kit.database import Reader, Row

T = TypeVar("T")
ORDER_STATUSES = ("pending", "paid", "processing", "shipped", "delivered", "cancelled")
PAYMENT_STATUSES = (
    "opened", "waiting", "unknown", "parked", "paid", "declined", "expired", "cancelled", "refunding", "refunded", "reversed",
)  # fmt: skip
DELIVERY_STATUSES = ("pending", "processing", "retrying", "blocked", "failed", "success")
_INDEXED = frozenset({"blocked", "failed"})
"""States of deliveries that have an index of their own."""

_ORDER = (
    """merchant_id, order_id, order_number, channel, status, payment_status, payment_method, currency, total_minor, created_at"""
)
_PAYMENT = """merchant_id, payment_id, ref_kind, ref, coalesce(routed_to, provider) AS account, method, status, currency,
    amount_minor, captured_minor, refunded_minor, card_last4, created_at"""
_PRODUCT = "merchant_id, channel, product_id, sku, name, price_minor, currency, sold"
_DELIVERY = """merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, status, replayed, attempts, next_at,
    last_status_code, last_error, created_at, ended_at"""


@dataclass(frozen=True, slots=True)
class _List:
    """A list along an index: `key` orders it and is of a `kind` of PostgreSQL's, `fixed` is the condition that holds throughout."""

    table: str
    columns: str
    key: str
    kind: str
    fixed: str
    down: bool = True

    def rows(self, at: At, place: int) -> tuple[str, str]:
        """All rows behind where the page begins, whose key is parameter `place`, and how they are ordered."""
        upwards = (at.newer is not None) == self.down
        order = f"ORDER BY {self.key} {'ASC' if upwards else 'DESC'}"
        beyond = f" AND {self.key} {'>' if upwards else '<'} ${place}::text::{self.kind}" if at.newer or at.older else ""
        return f"SELECT * FROM {self.table} WHERE {self.fixed}{beyond} {order}", order


async def _page(
    reader: Reader,
    of: _List,
    make: Callable[[Row], T],
    at: At,
    limit: int,
    fixed: Sequence[Any],
    wanted: str = "",
    value: Any = None,
) -> Page[T]:
    """One page of a list. `wanted` is a filter without an index, about `value`, which is the parameter behind the fixed ones."""
    given = [*fixed, *([value] if wanted else []), *filter(None, [at.newer or at.older])]
    behind, order = of.rows(at, len(fixed) + (2 if wanted else 1))
    inner = f"SELECT * FROM ({behind} LIMIT {LOOKED_AT}) seen WHERE {wanted} {order}" if wanted else behind
    rows = await reader.rows(f"SELECT {of.columns} FROM ({inner} LIMIT {limit + 1}) page {order}", *given)
    total = await reader.value(f"SELECT count(*) FROM (SELECT FROM {of.table} WHERE {of.fixed} LIMIT {COUNTED + 1}) c", *fixed)
    more, backwards = len(rows) > limit, at.newer is not None
    rows = rows[:limit][::-1] if backwards else rows[:limit]
    ahead = str(rows[0 if backwards else -1][of.key]) if more else None
    if wanted and not more:
        ahead = await _edge(reader, of, at, fixed)
    behind_us = (str(rows[-1 if backwards else 0][of.key]) if rows else None) if at.newer or at.older else None
    newer, older = (ahead, behind_us) if backwards else (behind_us, ahead)
    return Page([make(row) for row in rows], newer, older, total, LOOKED_AT if wanted else None)


async def _edge(reader: Reader, of: _List, at: At, fixed: Sequence[Any]) -> str | None:
    """Where a filter stopped looking, if it did before the end."""
    behind, _ = of.rows(at, len(fixed) + 1)
    edge = await reader.value(
        f"SELECT {of.key}::text FROM ({behind} OFFSET {LOOKED_AT - 1} LIMIT 1) edge", *fixed, *filter(None, [at.newer or at.older])
    )
    return str(edge) if edge is not None else None


def _one_of(status: str | None, known: Sequence[str]) -> str | None:
    return status if status in known else None


async def orders(reader: Reader, merchant_id: str, at: At, *, status: str | None = None, limit: int = 50) -> Page[OrderRow]:
    """A merchant's orders, newest first, of one status or of all."""
    of = _List("orders", _ORDER, "order_id", "uuid", "merchant_id = $1")
    status = _one_of(status, ORDER_STATUSES)
    return await _page(
        reader, of, lambda row: OrderRow(**dict(row.items())), at, limit, [merchant_id], "status = $2" if status else "", status
    )


async def payments(reader: Reader, merchant_id: str, at: At, *, status: str | None = None, limit: int = 50) -> Page[PaymentRow]:
    """A merchant's payments, newest first, of one status or of all."""
    columns = _PAYMENT
    of = _List("payments", columns, "payment_id", "uuid", "merchant_id = $1")
    status = _one_of(status, PAYMENT_STATUSES)
    return await _page(
        reader, of, lambda row: PaymentRow(**dict(row.items())), at, limit, [merchant_id], "status = $2" if status else "", status
    )


def _stock_of(name: str) -> str:
    """Columns with what can be had of the product `name` and what open checkouts hold of it."""
    this = f"merchant_id = {name}.merchant_id AND channel = {name}.channel AND product_id = {name}.product_id"
    return f"""(SELECT available FROM stock_levels WHERE {this}) AS available,
        (SELECT coalesce(sum(quantity), 0)::bigint FROM reservations
          WHERE {this} AND state = 'held' AND source = 'own') AS reserved"""


async def products(reader: Reader, merchant_id: str, channel: str, at: At, *, limit: int = 50) -> Page[ProductRow]:
    """A channel's products by their ids, with their stock; those that are not sold any more, too."""
    columns = f"{_PRODUCT}, {_stock_of('page')}"
    of = _List("products", columns, "product_id", "text", "merchant_id = $1 AND channel = $2", down=False)
    return await _page(reader, of, lambda row: ProductRow(**dict(row.items())), at, limit, [merchant_id, channel])


async def stock_changes(reader: Reader, merchant_id: str, channel: str, product_id: str, *, limit: int = 100) -> Page[StockChange]:
    """The newest changes of a product's stock, of `LOOKED_AT` at most; the journal is kept by what it is about and not by time."""
    rows = await reader.rows(
        f"""
        SELECT kind, reference, quantity, at, count(*) OVER () AS total
          FROM (SELECT * FROM stock_journal WHERE merchant_id = $1 AND channel = $2 AND product_id = $3
                 ORDER BY kind DESC, reference DESC LIMIT {LOOKED_AT}) j
         ORDER BY at DESC, reference DESC LIMIT $4
        """,
        merchant_id, channel, product_id, limit,
    )  # fmt: skip
    shown = [StockChange(row["kind"], row["reference"], row["quantity"], row["at"]) for row in rows]
    return Page(shown, None, None, rows[0]["total"] if rows else 0)


async def product(reader: Reader, merchant_id: str, channel: str, product_id: str) -> ProductRow | None:
    """One product with its stock, or None."""
    row = await reader.row(
        f"SELECT {_PRODUCT}, {_stock_of('p')} FROM products p WHERE merchant_id = $1 AND channel = $2 AND product_id = $3",
        merchant_id, channel, product_id,
    )  # fmt: skip
    return ProductRow(**dict(row.items())) if row else None


async def channels(reader: Reader, merchant_id: str) -> list[str]:
    """The channels in which a merchant sells."""
    rows = await reader.rows("SELECT channel FROM channels WHERE merchant_id = $1 ORDER BY channel DESC", merchant_id)
    return [row["channel"] for row in rows]


async def deliveries(
    reader: Reader, merchant_id: str, endpoint_id: uuid.UUID, at: At, *, status: str | None = None, limit: int = 50
) -> Page[DeliveryRow]:
    """What an endpoint was told or is to be told, newest first, of one state or of all."""
    fixed, wanted = "merchant_id = $1 AND endpoint_id = $2", ""
    status = _one_of(status, DELIVERY_STATUSES)
    if status in _INDEXED:
        fixed += f" AND status = '{status}'"
    elif status:
        wanted = "status = $3"
    of = _List("deliveries", _DELIVERY, "delivery_id", "uuid", fixed)
    return await _page(
        reader, of, lambda row: DeliveryRow(**dict(row.items())), at, limit, [merchant_id, endpoint_id], wanted, status
    )


async def delivery_counts(reader: Reader, merchant_id: str) -> dict[uuid.UUID, tuple[int, int, int]]:
    """How many deliveries of each living endpoint wait to be made, are held back, and were given up."""
    rows = await reader.rows(
        """
        SELECT p.endpoint_id,
               (SELECT count(*) FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                   AND d.status IN ('pending', 'retrying')) AS waiting,
               (SELECT count(*) FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                   AND d.status = 'blocked') AS blocked,
               (SELECT count(*) FROM deliveries d WHERE d.merchant_id = p.merchant_id AND d.endpoint_id = p.endpoint_id
                   AND d.status = 'failed') AS failed
          FROM endpoints p WHERE p.merchant_id = $1 AND p.deleted_at IS NULL
        """,
        merchant_id,
    )
    return {row["endpoint_id"]: (row["waiting"], row["blocked"], row["failed"]) for row in rows}


async def merchants(reader: Reader, reach: str | None, at: At, *, limit: int = 50) -> Page[MerchantRow]:
    """Merchants by their ids: the one of `reach`, or all for an operator."""
    columns = """merchant_id, name, currency, created_at,
        (SELECT count(*) FROM api_keys k WHERE k.merchant_id = page.merchant_id AND k.revoked_at IS NULL) AS keys,
        (SELECT count(*) FROM endpoints e WHERE e.merchant_id = page.merchant_id AND e.deleted_at IS NULL) AS endpoints,
        (SELECT count(*) FROM endpoints e WHERE e.merchant_id = page.merchant_id AND e.deleted_at IS NULL
            AND e.status = 'disabled') AS disabled"""
    of = _List("merchants", columns, "merchant_id", "text", "($1::text IS NULL OR merchant_id = $1)", down=False)
    return await _page(reader, of, lambda row: MerchantRow(**dict(row.items())), at, limit, [reach])
