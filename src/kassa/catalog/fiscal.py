"""What receipts say of products to the tax authority (Payme's Merchant API, 9.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kassa.catalog import store
from kassa.catalog.model import FiscalCode
from kassa.kit.database import Reader, Tx

ALL = "*"
"""In place of a product: all of a channel that have no codes of their own."""


async def set_fiscal_code(tx: Tx, merchant_id: str, channel: str, product_id: str, code: FiscalCode) -> None:
    """Set the codes of a product, or of `ALL`. Set twice, the second counts."""
    await store.write_fiscal_code(tx, merchant_id, channel, product_id, code)


async def fiscal_codes_of(reader: Reader, merchant_id: str, channel: str, product_ids: Collection[str]) -> Mapping[str, FiscalCode]:
    """Codes by product id; one that has none, nor its channel, is missing."""
    found = await store.fiscal_codes(reader, merchant_id, channel, list(product_ids))
    return {each: found.get(each) or found[ALL] for each in product_ids if each in found or ALL in found}
