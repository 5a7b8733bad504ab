"""What a buyer is told of an order: written with the event, sent afterwards, at least once and in order."""

from kassa.notices.address import address, forget
from kassa.notices.again import send_again
from kassa.notices.learn import Users, learn
from kassa.notices.model import Contact
from kassa.notices.send import send_due, sweep_sent
from kassa.notices.store import NOTICE_WRITTEN, NOTICE_WRITTEN_AFTER_ASKING, notices_of
from kassa.notices.ways.way import Notifier

__all__ = [
    "NOTICE_WRITTEN",
    "NOTICE_WRITTEN_AFTER_ASKING",
    "Contact",
    "Notifier",
    "Users",
    "address",
    "forget",
    "learn",
    "notices_of",
    "send_again",
    "send_due",
    "sweep_sent",
]
