"""What happened at the demo merchant, newest first, and who was told of it, with body and signature. In development only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from fastapi import APIRouter

from kassa import demo, webhooks
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import UnknownPath
from kassa.events import Recorded, newest_events
from kassa.events.catalogue import FAMILIES, TYPES, is_pattern
from kassa.events.feed import recorded_events
from kassa.kit import ids
from kassa.pages.frame import page
from kassa.pages.options import PageOptions
from kassa.webhooks.delivery import Request, request_of
from kassa.webhooks.model import Attempt, Delivery, Endpoint, EndpointMissing, SecretLost

_SHOWN = 25


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery with its attempts, and its last request as it was sent; `endpoint` is None for the operator's own."""

    delivery: Delivery
    endpoint: Endpoint | None
    attempts: Sequence[Attempt]
    request: Request | None


def router(_options: PageOptions) -> APIRouter:
    """`/develop/events` and one of them."""
    made = APIRouter(include_in_schema=False)
    made.add_api_route("/develop/events", _show_events, methods=["GET"], response_model=None)
    made.add_api_route("/develop/events/{event_id}", _show_event, methods=["GET"], response_model=None)
    return made


async def _show_events(call: Call) -> Answer:
    """The newest events, of a type or family if `type` names one, older than `before` if that is given."""
    asked = call.asked()
    pattern = asked.get("type", "")
    pattern = pattern if is_pattern(pattern) else ""
    types = [name for name in TYPES if pattern in {name, f"{name.partition('.')[0]}.*"}]
    before = ids.parse(asked.get("before", ""))
    found = await newest_events(call.ctx.db, demo.HOUSE, types, before, _SHOWN + 1)
    shown = found[:_SHOWN]
    deliveries = await webhooks.deliveries_of(call.ctx.db, demo.HOUSE, [event.event_id for event in shown])
    return page(
        call,
        "develop/events.html",
        inspects=True,
        patterns=["*", *sorted(f"{family}.*" for family in FAMILIES), *TYPES],
        chosen=pattern,
        before=before,
        events=[(event, [each for each in deliveries if each.event_id == event.event_id]) for event in shown],
        older=shown[-1].event_id if len(found) > _SHOWN else None,
        endpoints=await webhooks.endpoints_of(call.ctx.db, demo.HOUSE),
    )


async def _show_event(call: Call) -> Answer:
    """One event: its envelope, and each delivery with attempts and the request as it was sent."""
    event_id = ids.parse(call.in_path["event_id"])
    found = await recorded_events(call.ctx.db, demo.HOUSE, [event_id] if event_id else [])
    event = found.get(event_id or uuid.UUID(int=0))
    if event is None:
        raise UnknownPath
    deliveries = await webhooks.deliveries_of(call.ctx.db, demo.HOUSE, [event.event_id])
    sent = [await _sent(call, event, delivery) for delivery in deliveries]
    return page(call, "develop/event.html", inspects=True, event=event, envelope=_pretty(event.envelope()), sent=sent)


async def _sent(call: Call, event: Recorded, delivery: Delivery) -> Sent:
    db, endpoint_id = call.ctx.db, delivery.endpoint_id
    try:
        endpoint = await webhooks.find_endpoint(db, demo.HOUSE, endpoint_id)
    except EndpointMissing:  # the operator's own, or deleted since
        return Sent(delivery, None, (), None)
    _, attempts = await webhooks.read_delivery(db, demo.HOUSE, endpoint_id, delivery.delivery_id)
    if not attempts:
        return Sent(delivery, endpoint, (), None)
    try:
        request = request_of(call.ctx, endpoint, event, at=attempts[-1].began_at, attempt=attempts[-1].number)
    except SecretLost:
        request = None
    return Sent(delivery, endpoint, attempts, request)


def _pretty(body: bytes) -> str:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
