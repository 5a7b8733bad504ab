"""Buy items with a card in one call, and ask how it went (checkout contract)."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from kassa import checkout
from kassa.api.answers import Answer, json_answer
from kassa.api.auth import Caller
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.cards import refusals_counted
from kassa.api.checkout import shapes, shown
from kassa.api.checkout.models import ProcessCheckout, lines_of, without_secrets
from kassa.api.describe import ACCEPT_LANGUAGE, IDEMPOTENCY_KEY, operation, parameter
from kassa.api.errors import NotHere
from kassa.api.keys import MONTH, Fingerprint, given_key, key_of, replay
from kassa.api.shop import MERCHANT, the_shop
from kassa.checkout.model import CheckoutView
from kassa.checkout.wishes import ItemAsked, ItemsWish, Replayed
from kassa.kit import ids
from kassa.payments.model import Card

router = APIRouter(tags=["checkout"])


@router.post(
    "/checkout/process",
    response_model=None,
    responses=shown.PROCESS_ANSWERS,
    openapi_extra=operation(IDEMPOTENCY_KEY, ACCEPT_LANGUAGE, body=ProcessCheckout, example=shown.PURCHASE, secured=None),
)
async def process_checkout(call: Call) -> Answer:
    """Buy items with a card: one call, one charge, one order.

    Answers when the purchase is done, refused, or after ten seconds. Without an `Idempotency-Key` every call is a purchase of
    its own.
    """
    caller = call.caller_or_guest
    sent = given_key(call)
    data = await read_json(call)
    channel = await the_shop(call.ctx)
    asked = fit(ProcessCheckout, data, currency=channel.currency)
    method = asked.payment_method
    card = Card(method.type, method.digits, method.card_expiry, method.card_cvv)

    def said(fingerprint: Fingerprint) -> tuple[str, Any]:
        # Guests are told apart by a keyed hash of their address, which itself is not kept there.
        scope = caller.scope if caller else f"guest:{fingerprint(asked.customer_email.encode()).hex()}"
        return scope, without_secrets(data, fingerprint(card.number.encode()))

    wish = ItemsWish(
        channel=channel,
        buyer_id=caller.user if caller else None,
        email=asked.customer_email,
        name=caller.name if caller else None,
        shipping_address=data["shipping_address"],
        items=[ItemAsked(product, quantity, price) for product, (quantity, price) in lines_of(asked.items).items()],
        card=card,
        key=key_of(call, sent, said, MONTH),
        address=call.address,
        language=call.language,
    )
    with refusals_counted():
        bought = await checkout.buy_items(call.ctx, wish)
    if isinstance(bought, Replayed):
        return replay(bought.status, bought.body)
    answer = Answer(*shapes.render_checkout(bought.view))
    return answer if answer.status != 202 else answer.with_headers(shapes.location(bought.view))


@router.get(
    "/checkout/{checkout_id}",
    response_model=None,
    responses=shown.READ_ANSWERS,
    openapi_extra=operation(parameter("path", "checkout_id", "The checkout's id."), secured=None),
)
async def read_checkout(call: Call) -> Answer:
    """Ask how a checkout stands. A guest's is readable by whoever has its id, a buyer's by that buyer and staff."""
    caller = call.caller_or_guest
    checkout_id = ids.parse(call.in_path["checkout_id"])
    view = await checkout.read_checkout(call.ctx, MERCHANT, checkout_id) if checkout_id is not None else None
    if view is None or not _may_see(caller, view):
        raise NotHere
    return json_answer(200, shapes.whole_checkout(view))


def _may_see(caller: Caller | None, view: CheckoutView) -> bool:
    if view.surface != "checkout":
        return False
    if view.buyer_id is None:
        return True
    return caller is not None and (caller.is_staff or caller.user == view.buyer_id)
