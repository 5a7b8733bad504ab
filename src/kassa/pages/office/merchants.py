"""`/office/merchants`: merchants with keys, plans and endpoints; an endpoint's deliveries; a delivery's attempts."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter

from kassa import desk, merchants, webhooks
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.pages.office.look import Look, id_in, look_of
from kassa.pages.office.session import staff_of
from kassa.pages.options import PageOptions
from kassa.webhooks import Endpoint

STATUSES = ("pending", "processing", "retrying", "blocked", "failed", "success")
_MOST = 200


def router(options: PageOptions) -> APIRouter:
    """The looks at merchants and at what they are told."""
    made = APIRouter(include_in_schema=False)

    @made.get("/office/merchants", response_model=None)
    async def all_merchants(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        page = await desk.lists.merchants(look.reader, look.who.reach, look.at(by_id=False))
        return await look.page("office/merchants.html", page=page, plans=await merchants.plans(look.reader))

    @made.get("/office/merchants/{merchant_id}", response_model=None)
    async def one(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options)).of(call.in_path["merchant_id"])
        merchant = await merchants.find(look.reader, look.merchant_id)
        if merchant is None or look.who.reach not in {None, merchant.merchant_id}:
            raise NotHere
        endpoints = await webhooks.all_endpoints(look.reader, merchant.merchant_id, _MOST)
        return await look.page(
            "office/merchant.html",
            merchant=merchant,
            keys=await merchants.find_keys(look.reader, merchant.merchant_id),
            subscriptions=await merchants.subscriptions_of(look.reader, merchant.merchant_id),
            endpoints=[(each, place_of(each)) for each in endpoints],
        )

    @made.get("/office/deliveries", response_model=None)
    async def all_deliveries(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        endpoints = await webhooks.all_endpoints(look.reader, look.merchant_id, _MOST)
        counts = await desk.lists.delivery_counts(look.reader, look.merchant_id)
        return await look.page(
            "office/deliveries.html",
            rows=[(each, place_of(each), counts[each.endpoint_id]) for each in endpoints if each.endpoint_id in counts],
        )

    @made.get("/office/endpoints/{endpoint_id}", response_model=None)
    async def endpoint(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        found = await _endpoint(look, call)
        status = look.asked.get("status")
        status = status if status in STATUSES else None
        page = await desk.lists.deliveries(look.reader, look.merchant_id, found.endpoint_id, look.at(), status=status)
        return await look.page(
            "office/endpoint.html", endpoint=found, place=place_of(found), page=page, wanted=status, statuses=STATUSES
        )

    @made.get("/office/deliveries/{delivery_id}", response_model=None)
    async def delivery(call: Call) -> Answer:
        look = look_of(call, await staff_of(call, options))
        found = await desk.find_delivery(look.reader, look.merchant_id, id_in(call, "delivery_id"))
        if found is None:
            raise NotHere
        return await look.page("office/delivery.html", delivery=found[0], attempts=found[1])

    return made


def place_of(endpoint: Endpoint) -> str:
    """Where an endpoint is, without what may be a secret in its address: scheme, host and path."""
    parts = urlsplit(endpoint.url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


async def _endpoint(look: Look, call: Call) -> Endpoint:
    wanted = id_in(call, "endpoint_id")
    for each in await webhooks.all_endpoints(look.reader, look.merchant_id, _MOST):
        if each.endpoint_id == wanted:
            return each
    raise NotHere
