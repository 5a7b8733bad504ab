"""A small storefront for the demo channel: products, cart, checkout, sign-in. It acts through the verbs of the orders API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.pages.options import PageOptions
from kassa.pages.shop import cart, ordering, pictures, products, signing

Handler = Callable[[Call, PageOptions], Awaitable[Answer]]


def _bound(handler: Handler, options: PageOptions) -> Callable[[Call], Awaitable[Answer]]:
    async def handle(call: Call) -> Answer:
        return await handler(call, options)

    return handle


def router(options: PageOptions) -> APIRouter:
    """The routes of the shop."""
    made = APIRouter(include_in_schema=False)
    for method, path, handler in (
        ("GET", "/shop", products.show),
        ("GET", "/shop/orders", products.show_orders),
        ("GET", "/shop/cart", cart.show),
        ("POST", "/shop/cart/add", cart.add),
        ("POST", "/shop/cart/bring", cart.bring),
        ("POST", "/shop/cart/lines/{line_id}", cart.change),
        ("GET", "/shop/checkout", ordering.show),
        ("POST", "/shop/checkout", ordering.order),
        ("GET", "/shop/sign-in", signing.show),
        ("POST", "/shop/sign-in", signing.sign_in),
        ("POST", "/shop/sign-out", signing.sign_out),
    ):
        made.add_api_route(path, _bound(handler, options), methods=[method], response_model=None)
    made.add_api_route("/shop/pictures/{name}", pictures.show, methods=["GET"], response_model=None)
    return made
