"""A story, its entries, and what it is put together from. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kassa.checkout import Journal
from kassa.events import Told
from kassa.kit.errors import NotFound
from kassa.notices.model import NoticeSent
from kassa.orders import Happening
from kassa.webhooks.model import Delivery


class StoryMissing(NotFound):
    """There is no such order, payment or checkout."""

    code = "not_found"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a story. It keeps its place; where it tells of something that goes on, it says how far that is now.

    `kind` is `checkout`, `step`, `order`, `payment`, `refund`, `delivery` or `notice`. `title` is a short sentence, `details` has
    no personal data and no secret.
    """

    number: int
    at: datetime
    kind: str
    title: str
    subject: str
    sequence: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """What belongs together, and what happened to it, oldest first."""

    merchant_id: str
    checkout_id: uuid.UUID | None
    order_id: uuid.UUID | None
    payment_ids: Sequence[uuid.UUID]
    entries: Sequence[Entry]

    @property
    def trace_ids(self) -> list[str]:
        """The traces in which it happened, in the order of their first events."""
        return list(dict.fromkeys(each.details["trace_id"] for each in self.entries if "trace_id" in each.details))


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a story is told from; `moves` are the lines of the order's timeline."""

    told: Sequence[Told]
    journal: Journal | None = None
    moves: Sequence[Happening] = ()
    deliveries: Sequence[Delivery] = field(default_factory=tuple)
    notices: Sequence[NoticeSent] = ()
