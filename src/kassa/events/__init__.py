"""What happened: recorded with the fact, numbered without gaps per subject."""

from kassa.events.envelope import Recorded
from kassa.events.model import Event
from kassa.events.outbox import OUTBOX, FanOut, announce_first, first_event, record, ring
from kassa.events.read import Told, events_of, newest_events, trace_of

__all__ = [
    "OUTBOX",
    "Event",
    "FanOut",
    "Recorded",
    "Told",
    "announce_first",
    "events_of",
    "first_event",
    "newest_events",
    "record",
    "ring",
    "trace_of",
]
