"""The demo shop: the products, prices and stock of `orders.md` section 3, as the strangers know them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the stand-ins. `price` is in major units (demo: INR), `stock` in pieces, `None` for untracked."""

    id: str
    name: str
    price: Decimal
    stock: int | None
    image: str | None = None


def _demo(id_: str, name: str, price: str, stock: int | None, picture: str | None = None) -> Product:
    return Product(id_, name, Decimal(price), stock, f"https://example.com/{picture or id_}.jpg")


DEMO_PRODUCTS: tuple[Product, ...] = (
    _demo("507f1f77bcf86cd799439012", "iPhone 15 Pro", "99999", 5000, "iphone15pro1"),
    _demo("prod_001", "Wireless Mouse", "99.90", 5000),
    _demo("prod_002", "Mechanical Keyboard", "149.90", 5000),
    _demo("prod_003", "Desk Lamp", "250", 5000),
    _demo("prod_004", "Notebook A5", "12.50", 10000),
    _demo("prod_005", "Paper Clip", "0.01", 1000000),
    _demo("prod_006", "Headphones", "1499", 1000),
    _demo("prod_007", "Coffee Mug", "29.99", 3000),
    _demo("prod_008", "Backpack", "799", 1000),
    _demo("prod_009", "Water Bottle", "19.95", 3000),
    _demo("prod_010", "27-inch Monitor", "24990", 200),
    _demo("prod_011", "USB-C Cable", "49", 5000),
    _demo("prod_012", "Diamond Ring", "9999999.99", 2000),
    _demo("prod_few", "Limited Print", "500", 5),
    _demo("prod_last", "Signed Poster", "500", 1),
    _demo("prod_soldout", "Sold-out Sneakers", "4999", 0),
    _demo("prod_gift", "Gift Voucher", "100", None),
)
