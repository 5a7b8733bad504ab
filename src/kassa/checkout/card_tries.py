"""A purchase that tries a card: admitted before its first commit, and noted when it is known what became of it.

Only what sends a card, or its token, to somebody tries one: nothing is learnt from a method that pretends.
"""

from __future__ import annotations

from kassa import cardwatch
from kassa.cardwatch import Attempt, Tried
from kassa.checkout.held import Held
from kassa.kit.context import Context

_GOOD = frozenset({"paid", "refunding", "refunded"})
_WENT_NOWHERE = "payment_unavailable"


async def admit_card(
    ctx: Context, merchant_id: str, card: bytes, *, buyer_id: str | None, email: str | None, address: str | None
) -> Tried | None:
    """Count a card that is about to be tried for a buyer, or for a guest with that e-mail address; None where none are counted.

    `card` is its keyed fingerprint, `address` where the request came from. Raises `TooManyTries`.
    """
    who = buyer_id if buyer_id is not None else email or ""
    return await cardwatch.admit(ctx, Attempt(merchant_id, card, who, buyer_id is None, address or "unknown"))


def note_card(tried: Tried | None, held: Held) -> None:
    """Note what became of the card of a checkout that was led as far as it goes. One in doubt stays counted as failed."""
    if tried is None:
        return
    if held.payment.status in _GOOD:
        tried.paid()
    elif held.payment.status == "declined" and held.checkout.error_code == _WENT_NOWHERE:
        tried.never_was()
    elif held.payment.status == "declined":
        tried.declined()
