"""The cart of ambassadors over HTTP (purchases contract, section 4).

The source is asked before the transaction, once for all lines; who only looks may be told prices of a moment ago.
"""

from __future__ import annotations

from fastapi import APIRouter

from kassa import carts, catalog
from kassa.api.answers import Answer, json_answer
from kassa.api.body import fit, json_of, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY, operation
from kassa.api.keys import MONTH, given_key, key_for, once_in, or_first_answer
from kassa.api.purchases import shapes, shown
from kassa.api.purchases.models import NamedAmbassador, named_in
from kassa.api.purchases.storefront import the_ambassadors
from kassa.api.shop import MERCHANT
from kassa.kit.database import Tx
from kassa.kit.errors import KassaError
from kassa.orders import AMBASSADORS

router = APIRouter(tags=["cart"])


@router.get("/cart", response_model=None, responses=shown.CART_ANSWERS, openapi_extra=operation())
async def read_cart(call: Call) -> Answer:
    """Look at the cart at live prices. It is made at first use; ambassadors that are no longer sold are named in `invalid_ids`."""
    buyer = call.caller.user
    channel = await the_ambassadors(call.ctx)
    cart = await carts.open_cart(call.ctx.db, MERCHANT, AMBASSADORS, buyer)
    offers = await catalog.recent_offers_of(call.ctx, channel, [line.product_id for line in cart.lines])
    return json_answer(200, shapes.whole_cart(cart, offers))


@router.post(
    "/cart/items",
    status_code=201,
    response_model=None,
    responses=shown.ADD_ANSWERS,
    openapi_extra=operation(IDEMPOTENCY_KEY, body=NamedAmbassador, example=shown.NAMED),
)
async def add_item(call: Call) -> Answer:
    """Put an ambassador into the cart. One that is there already stays as it is and is answered with 200."""
    buyer = call.caller.user
    sent = given_key(call)
    data = await read_json(call)
    product_id = str(fit(NamedAmbassador, data).ambassador_id)
    key = key_for(call, sent, call.caller.scope, data, MONTH)
    channel = await the_ambassadors(call.ctx)
    try:
        offer = await catalog.offer_of(call.ctx, channel, product_id)
    except KassaError as error:
        return await or_first_answer(call.ctx, key, error)

    async def work(tx: Tx) -> Answer:
        _, line, is_new = await carts.put_once(tx, MERCHANT, AMBASSADORS, buyer, product_id, offer)
        return json_answer(201 if is_new else 200, shapes.item(line, offer.price.minor))

    return await once_in(call.ctx, "cart.add", key, work)


@router.delete(
    "/cart/items",
    status_code=204,
    response_model=None,
    responses=shown.REMOVE_ANSWERS,
    openapi_extra=operation(shown.NAMED_IN_QUERY, body=NamedAmbassador, example=shown.NAMED, body_required=False),
)
async def remove_item(call: Call) -> Answer:
    """Take an ambassador out of the cart, also one that is no longer sold. Named in the body, else in the query."""
    buyer = call.caller.user
    raw = await call.read()
    ambassador_id = fit(NamedAmbassador, json_of(raw)).ambassador_id if raw else named_in(call.asked())
    async with call.ctx.db.transaction("cart.remove") as tx:
        await carts.drop_product(tx, MERCHANT, AMBASSADORS, buyer, str(ambassador_id))
    return Answer(204)
