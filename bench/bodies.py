"""What buyers send."""

from __future__ import annotations

import json
import random

from bench.town import SPREAD

CARD = {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/25", "card_cvv": "123"}
TOWN = {"street": "Rua das Flores", "number": "123", "city": "Sao Paulo", "state": "SP", "zip_code": "01234-567"}
PRICE = 1.0


def checkout(*products: str, priced: bool = False) -> str:
    """One of each of the products, to `/checkout/process`; `priced` says the price too, as some services want it."""
    price = {"price": PRICE} if priced else {}
    items = [{"product_id": product, "quantity": 1, **price} for product in products]
    return json.dumps({"payment_method": CARD, "customer_email": "customer@example.com", "shipping_address": TOWN, "items": items})


def two() -> tuple[str, str]:
    """Two of the products that everybody can have."""
    first, second = random.sample(range(1, SPREAD + 1), 2)
    return f"p{first}", f"p{second}"
