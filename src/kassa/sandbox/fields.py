"""Reading what a caller sent: each returns the value, or `None` when it is not what the contract asks for."""

from __future__ import annotations

from typing import Any

_MOST_PIECES = 1_000_000_000
_MOST_LINES = 1000


def word(value: Any, most: int = 255) -> str | None:
    """Text of 1 to `most` characters."""
    return value if isinstance(value, str) and 0 < len(value) <= most else None


def pieces(value: Any) -> int | None:
    """A whole number that is not too large, of either sign."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_MOST_PIECES <= value <= _MOST_PIECES else None


def lines(value: Any) -> dict[str, int] | None:
    """`[{"product_id", "quantity"}]` as quantity per product, in product order; quantities are 1 or more."""
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_LINES:
        return None
    found: dict[str, int] = {}
    for line in value:
        product = word(line.get("product_id")) if isinstance(line, dict) else None
        quantity = pieces(line.get("quantity")) if isinstance(line, dict) else None
        if product is None or quantity is None or quantity < 1:
            return None
        found[product] = found.get(product, 0) + quantity
    return dict(sorted(found.items()))


def as_items(quantities: dict[str, int]) -> list[dict[str, Any]]:
    """The other way round, for the book."""
    return [{"product_id": product, "quantity": quantity} for product, quantity in quantities.items()]
