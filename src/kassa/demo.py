"""The demo shop: every product, price and id that the contracts' examples use. Loaded once, never overwritten."""

from __future__ import annotations

from decimal import Decimal

from kassa.catalog import Channel, Publication, publish, publish_channel
from kassa.kit.context import Context
from kassa.kit.money import from_major

HOUSE = "1"
SHOP = Channel(
    HOUSE,
    "shop",
    "INR",
    5,
    frozenset({"credit_card", "upi", "net_banking", "cash_on_delivery", "link"}),
    frozenset({"stripe", "paypal", "adyen"}),
)
_IPHONE = "507f1f77bcf86cd799439012"
_PRODUCTS = (
    (_IPHONE, "iPhone 15 Pro", "99999", 5000),
    ("prod_001", "Wireless Mouse", "99.90", 5000),
    ("prod_002", "Mechanical Keyboard", "149.90", 5000),
    ("prod_003", "Desk Lamp", "250", 5000),
    ("prod_004", "Notebook A5", "12.50", 10000),
    ("prod_005", "Paper Clip", "0.01", 1000000),
    ("prod_006", "Headphones", "1499", 1000),
    ("prod_007", "Coffee Mug", "29.99", 3000),
    ("prod_008", "Backpack", "799", 1000),
    ("prod_009", "Water Bottle", "19.95", 3000),
    ("prod_010", "27-inch Monitor", "24990", 200),
    ("prod_011", "USB-C Cable", "49", 5000),
    ("prod_012", "Diamond Ring", "9999999.99", 2000),
    ("prod_few", "Limited Print", "500", 5),
    ("prod_last", "Signed Poster", "500", 1),
    ("prod_soldout", "Sold-out Sneakers", "4999", 0),
    ("prod_gift", "Gift Voucher", "100", None),
)


async def load(ctx: Context) -> int:
    """Load the demo shop; returns how many products were new. Called twice, the second adds nothing."""
    products = [
        Publication(product_id, name, from_major(Decimal(price), SHOP.currency), stock, [_image(product_id)])
        for product_id, name, price, stock in _PRODUCTS
    ]
    async with ctx.db.transaction("seed") as tx:
        await publish_channel(tx, "Demo Merchant", SHOP)
        return await publish(tx, SHOP, products)


def _image(product_id: str) -> str:
    return f"https://example.com/{'iphone15pro1' if product_id == _IPHONE else product_id}.jpg"
