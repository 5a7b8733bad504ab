"""What happened: recorded with the fact, numbered without gaps per subject."""

from kassa.events.model import Event
from kassa.events.outbox import FanOut, record

__all__ = ["Event", "FanOut", "record"]
