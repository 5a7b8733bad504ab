"""The checkout contract over HTTP: its routes, its shapes, its words for errors."""

from kassa.api.checkout import routes
from kassa.api.checkout.problems import Detail

ROUTERS = (routes.router,)

__all__ = ["ROUTERS", "Detail"]
