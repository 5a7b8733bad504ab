"""The purchases contract over HTTP: its routes, its shapes, its words for errors."""

from kassa.api.purchases import cart, history, starting
from kassa.api.purchases.problems import Brief

ROUTERS = (cart.router, starting.router, history.router)

__all__ = ["ROUTERS", "Brief"]
