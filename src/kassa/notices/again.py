"""Send a message to a buyer once more, by somebody's hand: as another message, so that no receiver takes it for a repetition.

It has its turn in the order of its order's messages. One that is older than three days is tried once.
"""

from __future__ import annotations

import uuid

from kassa import audit
from kassa.audit import Hand
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict, NotFound
from kassa.notices import store


async def send_again(tx: Tx, hand: Hand, merchant_id: str, order_id: uuid.UUID, event_id: uuid.UUID) -> None:
    """Make a message due once more. Called twice before it went out, the second raises `NoticeWaits`. Raises `NoticeMissing`."""
    moved = await store.send_again(tx, merchant_id, order_id, event_id)
    if moved is None:
        raise NoticeMissing
    if not moved:
        raise NoticeWaits
    audit.note(tx, hand, merchant_id, "notice.again", f"order:{order_id}", event_id=str(event_id))


class NoticeMissing(NotFound):
    """There is no such message; those that were sent are kept for 90 days."""

    code = "notice_missing"


class NoticeWaits(Conflict):
    """This message is on its way already."""

    code = "notice_waits"
