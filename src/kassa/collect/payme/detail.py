"""What is in an order, as a fiscal receipt must say it (Merchant API, 9.1)."""

from __future__ import annotations

import uuid
from typing import Any

from kassa import catalog, orders
from kassa.catalog.model import FiscalCode
from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.orders import Line
from kassa.payments import Payment


class NoFiscalData(KassaError):
    """A cashbox that makes fiscal receipts is to take a payment of which they can say nothing; set codes for its products."""

    code = "no_fiscal_data"


async def detail_of(ctx: Context, payment: Payment) -> dict[str, Any]:
    """`receipt_type` and `items` with prices in tiyin; their sum is the payment's. Raises `NoFiscalData`.

    A payment of no order of ours has no lines, and so no receipt.
    """
    order = await orders.find(ctx.db, payment.merchant_id, uuid.UUID(payment.ref)) if payment.ref_kind == "order" else None
    if order is None:
        raise NoFiscalData
    codes = await catalog.fiscal_codes_of(ctx.db, order.merchant_id, order.channel, [line.product_id for line in order.lines])
    if any(line.product_id not in codes for line in order.lines):
        raise NoFiscalData
    items = [_item(line, codes[line.product_id]) for line in order.lines]
    if sum(item["price"] * item["count"] - item["discount"] for item in items) != payment.amount_minor:
        raise NoFiscalData
    return {"receipt_type": 0, "items": items}


def _item(line: Line, code: FiscalCode) -> dict[str, Any]:
    item: dict[str, Any] = {
        "title": line.product_name,
        "price": line.price_minor,
        "count": line.quantity,
        "code": code.code,
        "package_code": code.package_code,
        "vat_percent": code.vat_percent,
        "discount": 0,
    }
    return item if code.units is None else item | {"units": code.units}
