"""Write the notices that events call for, in the events' own transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.events import Event
from kassa.kit.database import Tx
from kassa.notices import store
from kassa.notices.model import TYPE_OF_EVENT


async def write_notices(tx: Tx, told: Sequence[tuple[uuid.UUID, Event]]) -> None:
    """Note what the buyer is to hear of `told`; one event makes at most one notice."""
    wanted = [(event_id, event, TYPE_OF_EVENT[event.type]) for event_id, event in told if event.type in TYPE_OF_EVENT]
    if wanted:
        await store.insert(tx, wanted)
