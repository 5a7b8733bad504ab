"""`/office/orders`: orders, and one order with everything that belongs to it."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import desk, orders
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.orders import MOVES, Order
from kassa.pages.frame import see_other
from kassa.pages.office.look import Look, look_at, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.office.story import Family, read_family
from kassa.pages.options import PageOptions

STATUSES = ("pending", "paid", "processing", "shipped", "delivered", "cancelled")


def router(options: PageOptions) -> APIRouter:
    """The list, an order, and the way from a purchase to its order."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/orders", response_model=None)
    async def all_orders(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        status = look.asked.get("status")
        status = status if status in STATUSES else None
        page = await desk.lists.orders(look.reader, look.merchant_id, look.at(), status=status)
        return await look.page("office/orders.html", page=page, wanted=status, statuses=STATUSES)

    @made.get("/office/orders/{order_id}", response_model=None)
    async def one(call: Call) -> Answer:
        look, order_id = await look_at(call, await staff_of(call, options), "order_id")
        order = await orders.find(look.reader, look.merchant_id, order_id)
        if order is None:
            raise NotHere
        family = await read_family(look, order_id)
        return await look.page("office/order.html", order=order, family=family, acts=_acts(look, order, family))

    @made.get("/office/checkouts/{checkout_id}", response_model=None)
    async def purchase(call: Call) -> Answer:
        """A purchase that became an order is shown as that; one that did not, by itself."""
        look, checkout_id = await look_at(call, await staff_of(call, options), "checkout_id")
        order = await orders.find_by_checkout(look.reader, look.merchant_id, checkout_id)
        if order is not None:
            return see_other(look.link(f"/office/orders/{order.order_id}"))
        return await look.page("office/checkout.html", checkout_id=checkout_id, family=await read_family(look, checkout_id))

    return made


def _acts(look: Look, order: Order, family: Family) -> list[tuple[str, str]]:
    """What may be done now by whoever looks, by its name; the pages of the acts judge again."""
    may = {what for at, what in MOVES.table if at == order.status}
    acts = [("Ship", "ship")] if order.status == "paid" or "shipped" in may else []
    acts += [("Prepare", "process")] if order.status == "paid" else []
    acts += [("Mark as delivered", "deliver")] if "delivered" in may else []
    if look.who.is_admin and any(each.payment.refundable_minor > 0 for each in family.money):
        acts.append(("Give money back", "refund"))
    if look.who.is_admin and "cancelled" in may:
        acts.append(("Cancel", "cancel"))
    acts.append(("Leave a note", "note"))
    return [(name, look.link(f"/office/orders/{order.order_id}/{act}")) for name, act in acts]
