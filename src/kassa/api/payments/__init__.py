"""The payments contract over HTTP: its routes, its callers, its shapes, its words for errors."""

from kassa.api.payments import creating, keys, me, reading, refunds, timeline
from kassa.api.payments.problems import Plain
from kassa.api.payments.webhook import router as provider_router

ROUTERS = (creating.router, reading.router, timeline.router, refunds.router, me.router, keys.router)

__all__ = ["ROUTERS", "Plain", "provider_router"]
