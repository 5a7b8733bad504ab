"""Carts that keep their lines while an order made from them is paid: what happens to lines and version then."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from kassa.carts import store
from kassa.kit.database import Reader, Tx


async def lock_version(tx: Tx, merchant_id: str, cart_id: uuid.UUID) -> int:
    """The version of a cart, which nobody changes until this transaction ends."""
    return await store.lock_version(tx, merchant_id, cart_id)


async def leave_version(tx: Tx, merchant_id: str, cart_id: uuid.UUID, version: int) -> None:
    """Nothing came of the order that was made from `version`: the cart moves on, unless it has done so by itself."""
    await store.move_version(tx, merchant_id, cart_id, version)


async def drop_paid(tx: Tx, merchant_id: str, cart_id: uuid.UUID, product_ids: Sequence[str], ordered_at: datetime) -> None:
    """Take what was paid out of the locked cart, later; lines that were added after the order was made stay."""
    await store.drop_products_later(tx, merchant_id, cart_id, product_ids, ordered_at)


async def drop_withdrawn(tx: Tx, merchant_id: str, cart_id: uuid.UUID, product_ids: Sequence[str]) -> int:
    """Take products that are sold no longer out of the cart; how many lines there were."""
    return await store.drop_products(tx, merchant_id, cart_id, product_ids)


async def carts_with(
    reader: Reader, merchant_id: str, channel: str, product_ids: Sequence[str], after: uuid.UUID, limit: int
) -> list[uuid.UUID]:
    """Carts that hold one of these products, behind `after` in the order of ids."""
    return await store.carts_with(reader, merchant_id, channel, product_ids, after, limit)


async def products_in_carts(reader: Reader, merchant_id: str, channel: str, after: str, limit: int) -> list[str]:
    """Products that lie in carts of a channel, behind `after` in the order of ids."""
    return await store.products_in_carts(reader, merchant_id, channel, after, limit)


async def forget(tx: Tx, merchant_id: str, buyer_id: str) -> int:
    """Empty all carts of a buyer; returns how many lines there were. The carts stay, with their versions."""
    return await store.empty_all(tx, merchant_id, buyer_id)
