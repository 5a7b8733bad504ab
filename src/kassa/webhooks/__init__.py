"""Webhooks: where merchants want to be told, what each is to be told, and the operator's default for those who said nothing."""

from kassa.webhooks.backlog import Backlog, read_backlog
from kassa.webhooks.callback import callback_secret, ensure_callbacks
from kassa.webhooks.endpoints import add_endpoint, change_endpoint, check_url, delete_endpoint, rotate_secret
from kassa.webhooks.list import find_endpoint, list_deliveries, read_delivery
from kassa.webhooks.model import Attempt, Change, Delivery, Endpoint, WebhookRules, Wish
from kassa.webhooks.ping import send_test
from kassa.webhooks.replay import replay_delivery, replay_range
from kassa.webhooks.store import DELIVERY_MADE, all_endpoints, deliveries_of, delivery_anywhere, delivery_made, endpoints_of
from kassa.webhooks.switch import disable_endpoint, enable_endpoint, follow_up

__all__ = [
    "DELIVERY_MADE",
    "Attempt",
    "Backlog",
    "Change",
    "Delivery",
    "Endpoint",
    "WebhookRules",
    "Wish",
    "add_endpoint",
    "all_endpoints",
    "callback_secret",
    "change_endpoint",
    "check_url",
    "delete_endpoint",
    "deliveries_of",
    "delivery_anywhere",
    "delivery_made",
    "disable_endpoint",
    "enable_endpoint",
    "endpoints_of",
    "ensure_callbacks",
    "find_endpoint",
    "follow_up",
    "list_deliveries",
    "read_backlog",
    "read_delivery",
    "replay_delivery",
    "replay_range",
    "rotate_secret",
    "send_test",
]
