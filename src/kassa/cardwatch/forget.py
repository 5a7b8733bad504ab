"""Forget a buyer's measure, when the buyer is to be forgotten. Measures of cards and addresses name nobody, and run empty."""

from __future__ import annotations

from kassa.cardwatch import store
from kassa.cardwatch.model import BUYER, key_of_buyer
from kassa.kit.database import Tx
from kassa.kit.secrets import Keys


async def forget(tx: Tx, keys: Keys, merchant_id: str, buyer: str, *, is_guest: bool) -> None:
    """Take away what is counted of a buyer, by id, or of a guest, by e-mail address; under either secret of a rotation.

    Call it last: whoever tries a card in that name waits until `tx` ends. Done twice, the second finds nothing.
    """
    known = [each for each in (keys, keys.before) if each is not None]
    await store.remove(tx, merchant_id, BUYER, [key_of_buyer(each, buyer, is_guest=is_guest) for each in known])
