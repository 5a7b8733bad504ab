"""The demo shop and merchants: every product, price, id and key of the contracts' examples. Loaded once, never overwritten."""

from __future__ import annotations

import contextlib
from decimal import Decimal

from kassa import merchants, staff
from kassa.catalog import Channel, Publication, publish, publish_channel
from kassa.kit.context import Context
from kassa.kit.database import Tx
from kassa.kit.money import Money, from_major
from kassa.merchants.model import SCOPES, Plan
from kassa.payments import requests
from kassa.staff.model import AccountExists

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

AMBASSADORS = Channel(HOUSE, "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())
AMBASSADOR_PRICES = {1: 5_000_000, 2: 7_500_000, 3: 10_000_000, 4: 2_500_000, 5: 15_000_000}
"""Tiyin."""

_PLANS = (
    Plan("1", "Basic", 999, "USD", 1_000_000),
    Plan("2", "Premium", 1999, "USD", 10_000_000),
    Plan("3", "Enterprise", 4999, "USD", 100_000_000),
    Plan("4", "Trial", 0, "USD", 100),
    Plan("5", "Taster", 0, "USD", 3),
)
_MERCHANTS = (
    (HOUSE, "Demo Merchant", "demo@example.com", "USD", "1", True),
    ("2", "Test Merchant", "test@example.com", "EUR", "2", True),
    ("3", "Sample Merchant", "sample@example.com", "GBP", "3", True),
    ("4", "Trial Merchant", "trial@example.com", "USD", "4", True),
    ("5", "Yen Merchant", "yen@example.com", "JPY", "1", True),
    ("6", "Dinar Merchant", "dinar@example.com", "KWD", "1", True),
    ("7", "Lapsed Merchant", "lapsed@example.com", "USD", "1", False),
    ("8", "Taster Merchant", "taster@example.com", "USD", "5", True),
)

_STAFF = (("operator", "staff"), ("admin", "admin"))


async def load(ctx: Context) -> int:
    """Load the demo shop and merchants; returns how many products were new. Called twice, the second adds nothing."""
    products = [
        Publication(product_id, name, from_major(Decimal(price), SHOP.currency), stock, [_image(product_id)])
        for product_id, name, price, stock in _PRODUCTS
    ]
    ambassadors = [
        Publication(str(number), f"Ambassador #{number}", Money(price, AMBASSADORS.currency), None)
        for number, price in AMBASSADOR_PRICES.items()
    ]
    async with ctx.db.transaction("seed") as tx:
        await publish_channel(tx, "Demo Merchant", SHOP)
        await publish_channel(tx, "Demo Merchant", AMBASSADORS)
        await _load_merchants(tx)
        return await publish(tx, SHOP, products) + await publish(tx, AMBASSADORS, ambassadors)


async def load_staff(ctx: Context, password: str) -> None:
    """Make the accounts `operator` and `admin` of the back office. Called twice, or where there are accounts, it adds nothing."""
    if await staff.accounts_of(ctx.db, HOUSE):
        return
    kept = await staff.hashed(password)
    with contextlib.suppress(AccountExists):  # another process was quicker
        async with ctx.db.transaction("seed") as tx:
            for name, role in _STAFF:
                await staff.add_account(tx, None, HOUSE, name, f"{name}@example.com", role, kept)


async def _load_merchants(tx: Tx) -> None:
    for alias in sorted(SHOP.aliases):
        await requests.add_route(tx, "*", alias, requests.Rule(1, alias))
    for plan in _PLANS:
        await merchants.add_plan(tx, plan)
    for merchant_id, name, email, currency, plan_id, active in _MERCHANTS:
        if not await merchants.add_merchant(tx, merchant_id, name, email, currency):
            continue
        await merchants.subscribe(tx, merchant_id, plan_id, active=active)
        await merchants.issue_key(tx, merchant_id, "demo", SCOPES, secret=f"sk_demo_{merchant_id}")
        if merchant_id == HOUSE:
            await merchants.issue_key(tx, merchant_id, "demo, reading only", ["payments:read"], secret="sk_demo_1_read")  # noqa: S106 - demo data


def _image(product_id: str) -> str:
    return f"https://example.com/{'iphone15pro1' if product_id == _IPHONE else product_id}.jpg"
