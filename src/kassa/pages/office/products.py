"""`/office/products`: products and their stock; one product with its stock journal."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import desk
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.pages.office.look import look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions


def router(options: PageOptions) -> APIRouter:
    """The list and one product."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/products", response_model=None)
    async def all_products(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        channels = await desk.lists.channels(look.reader, look.merchant_id)
        wanted = look.asked.get("channel")
        channel = wanted if wanted in channels else next(iter(channels), "")
        page = await desk.lists.products(look.reader, look.merchant_id, channel, look.at(by_id=False))
        return await look.page("office/products.html", page=page, channels=channels, channel=channel)

    @made.get("/office/products/{channel}/{product_id}", response_model=None)
    async def one(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        product = await desk.lists.product(look.reader, look.merchant_id, call.in_path["channel"], call.in_path["product_id"])
        if product is None:
            raise NotHere
        page = await desk.lists.stock_changes(look.reader, look.merchant_id, product.channel, product.product_id)
        return await look.page("office/product.html", product=product, page=page)

    return made
