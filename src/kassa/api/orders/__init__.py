"""The orders contract over HTTP: its routes, its shapes, its words for errors."""

from kassa.api.orders import cart, events, moving, placing, products, reading
from kassa.api.orders.problems import Envelope

ROUTERS = (products.router, cart.router, placing.router, reading.router, moving.router, events.router)

__all__ = ["ROUTERS", "Envelope"]
