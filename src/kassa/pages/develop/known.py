"""What the demo data hold at this moment, for samples that work as they stand: a token, a key, the newest ids."""

from __future__ import annotations

import re

from kassa import carts, demo, merchants, orders, webhooks
from kassa.api.call import Call, header
from kassa.kit.context import Context
from kassa.pages.options import PageOptions
from kassa.payments import requests
from kassa.payments.model import Filter

BUYER, STAFF = "1", "900"
"""The users of demo tokens."""
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")
_PLACEHOLDER = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
_NAMES = ("ITEM_ID", "ORDER_ID", "CHECKOUT_ID", "PAYMENT_ID", "ENDPOINT_ID", "DELIVERY_ID", "KEY_ID")


async def known_values(call: Call, options: PageOptions) -> dict[str, str]:
    """Values by the names that samples use. Outside development only where the server is: who may call is the caller's to know."""
    fixed = {"API": address_of(call, options), "PRODUCT_ID": "prod_001", "MERCHANT_ID": demo.HOUSE}
    unknown = dict.fromkeys(_NAMES, _PLACEHOLDER)
    if options.demo_token is None:
        return {**fixed, "TOKEN": "", "STAFF": "", "KEY": "", **unknown}
    shown = {
        "TOKEN": options.demo_token(BUYER, "user"),
        "STAFF": options.demo_token(STAFF, "staff"),
        "KEY": f"sk_demo_{demo.HOUSE}",
    }
    return {**fixed, **shown, **unknown, **await _newest(call.ctx)}


def address_of(call: Call, options: PageOptions) -> str:
    """How this server is reached, as far as can be told: its public address, else the one that the caller used."""
    host = header(call.scope, b"host") or ""
    return options.public_url or f"http://{host if _HOST.fullmatch(host) else 'localhost'}"


async def _newest(ctx: Context) -> dict[str, str]:
    db = ctx.db
    found: dict[str, str] = {}
    page = await orders.page_of_buyer(db, demo.HOUSE, demo.SHOP.channel, BUYER, 1, 1, None)
    for order in page.orders:
        found |= {"ORDER_ID": str(order.order_id), "CHECKOUT_ID": str(order.checkout_id)}
    cart = await carts.read_cart(db, demo.HOUSE, demo.SHOP.channel, BUYER)
    for line in cart.lines if cart else ():
        found["ITEM_ID"] = str(line.line_id)
    for payment in await requests.page(db, demo.HOUSE, Filter(), 0, 1):
        found["PAYMENT_ID"] = str(payment.payment_id)
    for endpoint in (await webhooks.endpoints_of(db, demo.HOUSE))[-1:]:
        found["ENDPOINT_ID"] = str(endpoint.endpoint_id)
        for delivery in await webhooks.list_deliveries(db, demo.HOUSE, endpoint.endpoint_id, (), None, 1):
            found["DELIVERY_ID"] = str(delivery.delivery_id)
    # The keys of the demo data are not offered: the one call that takes a key's id revokes it.
    for key in await merchants.find_keys(db, demo.HOUSE):
        if key.revoked_at is None and not key.name.startswith("demo"):
            found["KEY_ID"] = str(key.key_id)
    return found
