"""Begin to buy what is in the cart (purchases contract, section 5)."""

from __future__ import annotations

from fastapi import APIRouter

from kassa import checkout
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.describe import ACCEPT_LANGUAGE, IDEMPOTENCY_KEY, operation
from kassa.api.keys import MONTH, given_key, key_for, replay
from kassa.api.purchases import shapes, shown
from kassa.api.purchases.storefront import the_ambassadors
from kassa.checkout.wishes import Replayed

router = APIRouter(tags=["purchases"])


@router.post(
    "/checkout",
    status_code=201,
    response_model=None,
    responses=shown.CHECKOUT_ANSWERS,
    openapi_extra=operation(IDEMPOTENCY_KEY, ACCEPT_LANGUAGE),
)
async def start_purchase(call: Call) -> Answer:
    """Freeze the prices of the cart and get a link to pay at Payme. The same cart again is the same purchase.

    There is no body, and one that is sent is not read.
    """
    caller = call.caller
    key = key_for(call, given_key(call), caller.scope, None, MONTH)
    channel = await the_ambassadors(call.ctx)
    wish = checkout.PurchaseWish(
        channel=channel, buyer_id=caller.user, key=key, email=caller.email, name=caller.name, language=call.language
    )
    found = await checkout.purchase(call.ctx, wish, shapes.started)
    if isinstance(found, Replayed):
        return replay(found.status, found.body)
    return Answer(*shapes.started(found))
