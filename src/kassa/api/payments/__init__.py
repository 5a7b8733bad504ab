"""The payments contract over HTTP, as far as the shop's own orders need it: what a link provider reports."""

from kassa.api.payments.webhook import provider_router

__all__ = ["provider_router"]
