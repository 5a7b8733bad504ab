"""Deliveries: each event to each endpoint that wants it, at least once and in the order of its subject."""

from kassa.webhooks.delivery.again import Request, request_of
from kassa.webhooks.delivery.attempt import signed_headers
from kassa.webhooks.delivery.deliverer import Deliverer
from kassa.webhooks.delivery.model import Due

__all__ = ["Deliverer", "Due", "Request", "request_of", "signed_headers"]
