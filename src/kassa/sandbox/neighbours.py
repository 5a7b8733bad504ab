"""All the strangers in one list."""

from __future__ import annotations

from kassa.sandbox import inventory, links, notifications, orders, payme_api, payment, products, users
from kassa.sandbox.model import Act
from kassa.sandbox.payme import player

ACTS: tuple[Act, ...] = (
    *payment.ACTS,
    *inventory.ACTS,
    *orders.ACTS,
    *products.ACTS,
    *users.ACTS,
    *notifications.ACTS,
    *links.ACTS,
    *payme_api.ACTS,
)

CALLING: tuple[Act, ...] = tuple(player.ACTS.values())
"""What a neighbour does to Kassa of its own accord. It has no route here; it can be scripted."""

SETTINGS = {
    "payment": "PAYMENT_SERVICE_URL",
    "inventory": "INVENTORY_SERVICE_URL",
    "order": "ORDER_SERVICE_URL",
    "product": "PRODUCT_SERVICE_URL",
    "user": "USER_SERVICE_URL",
    "notification": "NOTIFICATION_SERVICE_URL",
    "link": "PROVIDER_URL",
    payme_api.SERVICE: "PAYME_API_URL",
}
"""Which setting of an operator takes `<base>/sandbox/<service>`."""
