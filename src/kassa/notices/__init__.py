"""What a buyer is told of an order: written with the event, sent afterwards, at least once and in order."""

from kassa.notices.model import Notice
from kassa.notices.send import Notifier, send_due
from kassa.notices.write import write_notices

__all__ = ["Notice", "Notifier", "send_due", "write_notices"]
