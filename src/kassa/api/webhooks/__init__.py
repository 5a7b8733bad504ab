"""Webhooks over HTTP: a merchant's endpoints, their deliveries, the feed of its events; in the words of the payments contract."""

from kassa.api.webhooks import deliveries, endpoints, feed

ROUTERS = (endpoints.router, deliveries.router, feed.router)

__all__ = ["ROUTERS"]
