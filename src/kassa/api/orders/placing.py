"""Place an order over HTTP (orders contract, section 5)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from kassa import checkout
from kassa.api.answers import Answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.cards import refusals_counted
from kassa.api.describe import ACCEPT_LANGUAGE, IDEMPOTENCY_KEY, operation, parameter
from kassa.api.errors import InvalidInput
from kassa.api.keys import MONTH, canonical, given_key, key_of, replay
from kassa.api.orders import shapes, shown
from kassa.api.orders.cart import named_version
from kassa.api.orders.models import CARD_TOKEN, PlaceOrder, trace_of, without_nulls, without_secrets
from kassa.api.orders.problems import envelope
from kassa.api.shop import the_shop
from kassa.catalog import Channel
from kassa.checkout.wishes import CartWish, Replayed
from kassa.kit.secrets import Keys

router = APIRouter(tags=["orders"])

_IF_MATCH = parameter("header", "If-Match", 'Order exactly this version of the cart, `"3"`; the same as `cartVersion`.')


@router.post(
    "/api/orders",
    status_code=201,
    response_model=None,
    responses={
        **shown.answers(201, shown.OrderAnswer, "The order, pending.", shown.ORDER, shown.PLACE_ERRORS),
        200: {"model": shown.OrderAnswer, "description": "This cart version is an order already; the same one."},
    },
    openapi_extra=operation(IDEMPOTENCY_KEY, ACCEPT_LANGUAGE, _IF_MATCH, body=PlaceOrder, example=shown.PLACE),
)
async def place_order(call: Call) -> Answer:
    """Turn the cart into one order and begin to pay it.

    One cart version becomes one order, from any number of tabs, with or without a key. The answer says `pending`; what
    follows is seen by reading, tracking or live events.
    """
    caller = call.caller
    sent, tag = given_key(call), named_version(call)
    data = await read_json(call)
    channel = await the_shop(call.ctx)
    asked = fit(PlaceOrder, data, currency=channel.currency)
    if tag is not None and asked.cart_version is not None and tag != asked.cart_version:
        raise InvalidInput.at("cartVersion", problem="must be the version that If-Match names", kind="differs")
    address = without_nulls(data["shippingAddress"])
    fingerprint = call.ctx.keys.fingerprint
    wish = CartWish(
        channel=channel,
        buyer_id=caller.user,
        email=caller.email,
        name=caller.name,
        token=caller.token,
        shipping_address=address,
        method=asked.payment_method,
        card_token=_card_token(asked),
        card=trace_of(asked.payment_details.card_number if asked.payment_details else None, fingerprint),
        asked=hashes_of(call.ctx.keys, address, asked.payment_method),
        version=tag if tag is not None else asked.cart_version,
        expected_total=asked.expected_total,
        address=call.address,
        language=call.language,
        key=key_of(call, sent, lambda hashed: (caller.scope, without_secrets(data, hashed)), MONTH),
    )
    return await _place(call, wish, channel)


def _card_token(asked: PlaceOrder) -> str | None:
    """The token of a card at Payme, where the order is paid there. A card's number in its place is refused and goes nowhere."""
    given = asked.payment_details.card_token if asked.payment_details and asked.payment_method == "payme" else None
    if given is None:
        return None
    if not isinstance(given, str) or not CARD_TOKEN.fullmatch(given):
        raise InvalidInput.at("paymentDetails", "cardToken", problem="must be a token of Payme's", kind="card_token")
    return given


def hashes_of(keys: Keys, address: dict[str, Any], method: str) -> tuple[bytes, ...]:
    """Address and method as keyed hashes, under the present secret and the one that it replaces."""
    said = canonical({"address": address, "method": method})
    return tuple(each.fingerprint(said) for each in (keys, keys.before) if each is not None)


async def _place(call: Call, wish: CartWish, channel: Channel) -> Answer:
    try:
        with refusals_counted():
            found = await checkout.order_from_cart(call.ctx, wish, shapes.placed)
    except checkout.PriceChanged as error:
        details: Any = error.details
        return envelope(error, shapes.price_change(details["total_minor"], details["problems"], channel.currency))
    if isinstance(found, Replayed):
        return replay(found.status, found.body)
    return Answer(*(found.answer or shapes.placed(found)))
