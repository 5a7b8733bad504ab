"""The shop's front: what can be bought, a page at a time. And the orders of whoever looks."""

from __future__ import annotations

from kassa import catalog, orders
from kassa.api.answers import Answer
from kassa.api.call import Call, whole
from kassa.api.shop import MERCHANT, SHOP, the_shop
from kassa.pages.buyer import tokens
from kassa.pages.buyer.visitor import visitor_of
from kassa.pages.options import PageOptions
from kassa.pages.shop import desk

_A_PAGE = 24
_ORDERS = 20
_LAST_PAGE = 10**6


async def show(call: Call, options: PageOptions) -> Answer:
    """`/shop`."""
    visitor = visitor_of(call, options)
    channel = await the_shop(call.ctx)
    found = await catalog.browse(call.ctx, channel, whole(call.asked(), "page", 1, _LAST_PAGE), _A_PAGE)
    return await desk.show(call, options, visitor, "shop/products.html", found=found, more=found.page * _A_PAGE < found.total)


async def show_orders(call: Call, options: PageOptions) -> Answer:
    """`/shop/orders`: the visitor's own, newest first."""
    visitor = visitor_of(call, options)
    number = whole(call.asked(), "page", 1, _LAST_PAGE)
    found = await orders.page_of_buyer(call.ctx.db, MERCHANT, SHOP, visitor.buyer_id, number, _ORDERS, None)
    rows = [(order, tokens.make(options.keys, tokens.ORDER, MERCHANT, order.order_id)) for order in found.orders]
    more = number * _ORDERS < found.total
    return await desk.show(call, options, visitor, "shop/orders.html", rows=rows, number=number, more=more)
