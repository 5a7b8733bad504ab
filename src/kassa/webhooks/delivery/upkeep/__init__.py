"""What keeps deliveries in order when nobody's act would: dead owners, endpoints that fail for days, and what became old."""

from kassa.webhooks.delivery.upkeep.reclaim import reclaim_lapsed
from kassa.webhooks.delivery.upkeep.tidy import tidy_up

__all__ = ["reclaim_lapsed", "tidy_up"]
