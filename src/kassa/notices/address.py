"""Who is told of an order: noted, sealed, in the transaction that places it; erased when a buyer is to be forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kassa.events import FanOut
from kassa.kit.database import Tx
from kassa.kit.reseal import Sealed
from kassa.kit.secrets import Keys
from kassa.notices import store
from kassa.notices.model import Contact

RECIPIENTS = Sealed(
    "notice_recipients",
    "sealed",
    (("merchant_id", "text"), ("order_id", "uuid")),
    lambda row: row["order_id"].bytes,
    ("email_key", store.key_of_sealed),
)
"""Where addresses and names of buyers are sealed."""
_WRITTEN = frozenset({store.NOTICE_WRITTEN, store.NOTICE_WRITTEN_AFTER_ASKING})


async def address(tx: Tx, keys: Keys, merchant_id: str, order_id: uuid.UUID, payment_id: uuid.UUID, contact: Contact) -> None:
    """Note whom to tell of an order that `tx` places, together with what else it leaves for later. Once an order.

    Where no notices are written nothing is kept of the contact. Orders that were placed then stay without messages for good.
    """
    fan_out = tx.port(FanOut)
    if fan_out is not None and not _WRITTEN.isdisjoint(fan_out.parts):
        await store.insert_recipient(tx, keys, merchant_id, order_id, payment_id, contact.usable())


async def forget(tx: Tx, merchant_id: str, order_ids: Sequence[uuid.UUID]) -> int:
    """Erase who is told of these orders, and drop what is still to be sent. Returns how many were erased.

    What happens to the orders afterwards is told to nobody.
    """
    await store.drop_waiting(tx, merchant_id, order_ids)
    return await store.forget_recipients(tx, merchant_id, order_ids)
