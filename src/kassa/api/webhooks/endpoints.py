"""A merchant's endpoints (webhooks contract, section 2). A secret is in one answer only, and that answer is never kept."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import APIRouter

from kassa import audit, webhooks
from kassa.api.answers import Answer, json_answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY
from kassa.api.keys import once_in
from kassa.api.payments.answers import Problem
from kassa.api.payments.callers import caller_for, hand_of
from kassa.api.payments.errors import AlreadyAnswered
from kassa.api.payments.told import called, told
from kassa.api.webhooks import shapes
from kassa.api.webhooks.answers import EndpointMade, Endpoints, EndpointShown, Sent
from kassa.api.webhooks.models import ChangeEndpoint, CreateEndpoint, RotateSecret
from kassa.api.webhooks.reading import ENDPOINT_ID, SCOPE, endpoint_of, key_in, read_or_nothing
from kassa.kit import once
from kassa.kit.database import Tx
from kassa.webhooks import Change, Endpoint, Wish

router = APIRouter(tags=["webhooks"])

Act = Callable[[Tx], Awaitable[Endpoint]]
Make = Callable[[Tx], Awaitable[tuple[Endpoint, str]]]
Switch = Callable[..., Awaitable[Endpoint]]

_ENDPOINT = {
    "endpoint_id": "019b76dc-0002-7d90-a2b6-4c7f1e3d5b62",
    "url": "https://shop.example.com/hooks/kassa",
    "events": ["payment.paid", "refund.*"],
    "format": "payment",
    "ordered": True,
    "description": "the books",
    "status": "enabled",
    "disabled_reason": None,
    "created_at": "2026-01-01T00:00:00.000000Z",
    "updated_at": "2026-01-01T00:00:00.000000Z",
}
_SECRET = {"secret": "whsec_" + "A" * 43 + "="}
_SENT = {"event_id": "019b76dc-0003-7d90-a2b6-4c7f1e3d5b62", "delivery_id": "019b76dc-0003-7d90-a4c1-9f2e7d3b5a60"}
_MISSING = ("endpoint_not_found",)
_KEY_WRONG = ("idempotency_key_invalid",)
_SWITCHED_WRONG = {400: _KEY_WRONG, 404: _MISSING, 409: ("idempotency_in_progress",), 422: ("idempotency_mismatch",)}
_BODY_WRONG = ("validation_error", "idempotency_mismatch")
_TOO_LARGE = ("too_large",)


@router.post(
    "/api/v1/webhook-endpoints",
    response_model=None,
    status_code=201,
    responses=told(
        201,
        EndpointMade,
        "The endpoint, whose `secret` is shown this once.",
        _ENDPOINT | _SECRET,
        {
            400: ("callback_url_refused", "endpoint_limit", *_KEY_WRONG),
            409: ("already_answered",),
            413: _TOO_LARGE,
            422: _BODY_WRONG,
        },
    ),
    openapi_extra=called(IDEMPOTENCY_KEY, body=CreateEndpoint, example={"url": _ENDPOINT["url"], "events": _ENDPOINT["events"]}),
)
async def create_endpoint(call: Call) -> Answer:
    """Make an endpoint. It gets the events that are recorded from now on."""
    caller = await caller_for(call, SCOPE)
    merchant_id = caller.merchant.merchant_id
    data = await read_json(call)
    body = fit(CreateEndpoint, data)
    key = key_in(call, merchant_id, data)
    await _not_answered(call, key)
    await webhooks.check_url(call.ctx, body.url)
    wish = Wish(body.url, body.events, body.format, body.ordered, body.description)

    async def make(tx: Tx) -> tuple[Endpoint, str]:
        made, secret = await webhooks.add_endpoint(tx, call.ctx.keys, merchant_id, wish)
        subject, facts = f"endpoint:{made.endpoint_id}", {"host": _host(made), "events": list(made.events)}
        audit.note(tx, hand_of(call, caller), merchant_id, "endpoint.add", subject, **facts)
        return made, secret

    return await _with_secret(call, "webhooks.create", key, 201, make)


@router.get(
    "/api/v1/webhook-endpoints",
    response_model=None,
    responses=told(200, Endpoints, "Oldest first; never a secret.", {"items": [_ENDPOINT]}),
    openapi_extra=called(),
)
async def list_endpoints(call: Call) -> Answer:
    """List the merchant's endpoints."""
    caller = await caller_for(call, SCOPE)
    found = await webhooks.endpoints_of(call.ctx.db, caller.merchant.merchant_id)
    return json_answer(200, {"items": [shapes.endpoint(each) for each in found]})


@router.get(
    "/api/v1/webhook-endpoints/{endpoint_id}",
    response_model=None,
    responses=told(200, EndpointShown, "The endpoint; never its secret.", _ENDPOINT, {404: _MISSING}),
    openapi_extra=called(ENDPOINT_ID),
)
async def read_endpoint(call: Call) -> Answer:
    """Read one endpoint."""
    caller = await caller_for(call, SCOPE)
    found = await webhooks.find_endpoint(call.ctx.db, caller.merchant.merchant_id, endpoint_of(call))
    return json_answer(200, shapes.endpoint(found))


@router.patch(
    "/api/v1/webhook-endpoints/{endpoint_id}",
    response_model=None,
    responses=told(
        200,
        EndpointShown,
        "The endpoint as it is now.",
        _ENDPOINT,
        {
            400: ("callback_url_refused", *_KEY_WRONG),
            404: _MISSING,
            409: ("idempotency_in_progress",),
            413: _TOO_LARGE,
            422: _BODY_WRONG,
        },
    ),
    openapi_extra=called(ENDPOINT_ID, IDEMPOTENCY_KEY, body=ChangeEndpoint, example={"events": ["payment.*"]}),
)
async def change_endpoint(call: Call) -> Answer:
    """Change an endpoint, for attempts that begin afterwards."""
    caller = await caller_for(call, SCOPE)
    merchant_id = caller.merchant.merchant_id
    data = await read_json(call)
    body = fit(ChangeEndpoint, data)
    said = body.model_fields_set
    key = key_in(call, merchant_id, data)
    endpoint_id = endpoint_of(call)
    if "url" in said:
        # A stranger's endpoint must not answer otherwise than one that does not exist.
        await webhooks.find_endpoint(call.ctx.db, merchant_id, endpoint_id)
        await webhooks.check_url(call.ctx, body.url)
    change = Change(
        url=body.url if "url" in said else None,
        events=body.events if "events" in said else None,
        ordered=body.ordered if "ordered" in said else None,
        description=body.description,
        describe="description" in said,
    )

    async def act(tx: Tx) -> Endpoint:
        after = await webhooks.change_endpoint(tx, merchant_id, endpoint_id, change)
        facts = {"changed": sorted(said), "host": _host(after)}
        audit.note(tx, hand_of(call, caller), merchant_id, "endpoint.change", f"endpoint:{endpoint_id}", **facts)
        return after

    return await _act(call, "webhooks.change", key, act)


@router.delete(
    "/api/v1/webhook-endpoints/{endpoint_id}",
    response_model=None,
    status_code=204,
    responses={
        204: {"description": "It is called no more; what was still to be delivered has failed."},
        401: {"model": Problem, "description": "`unauthorized` · `unknown_merchant` · `invalid_api_key`"},
        403: {"model": Problem, "description": "`insufficient_scope` · `merchant_mismatch`"},
        404: {"model": Problem, "description": "`endpoint_not_found`"},
        503: {"model": Problem, "description": "`unavailable`"},
    },
    openapi_extra=called(ENDPOINT_ID),
)
async def delete_endpoint(call: Call) -> Answer:
    """Delete an endpoint. Repeated, there is none."""
    caller = await caller_for(call, SCOPE)
    merchant_id, endpoint_id = caller.merchant.merchant_id, endpoint_of(call)
    async with call.ctx.db.transaction("webhooks.delete") as tx:
        await webhooks.delete_endpoint(tx, merchant_id, endpoint_id)
        audit.note(tx, hand_of(call, caller), merchant_id, "endpoint.delete", f"endpoint:{endpoint_id}")
    _follow_up(call, merchant_id, endpoint_id)
    return Answer(204)


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/rotate-secret",
    response_model=None,
    responses=told(
        200,
        EndpointMade,
        "The endpoint with its new `secret`, shown this once.",
        _ENDPOINT | _SECRET,
        {400: _KEY_WRONG, 404: _MISSING, 409: ("already_answered",), 413: _TOO_LARGE, 422: _BODY_WRONG},
    ),
    openapi_extra=called(ENDPOINT_ID, IDEMPOTENCY_KEY, body=RotateSecret, example={"overlap_s": 86400}),
)
async def rotate_secret(call: Call) -> Answer:
    """Give an endpoint a new secret; for `overlap_s` both sign. The body may be left out."""
    caller = await caller_for(call, SCOPE)
    merchant_id = caller.merchant.merchant_id
    data = await read_or_nothing(call)
    body = fit(RotateSecret, data)
    key, endpoint_id = key_in(call, merchant_id, data), endpoint_of(call)

    async def make(tx: Tx) -> tuple[Endpoint, str]:
        rotated = await webhooks.rotate_secret(tx, call.ctx.keys, merchant_id, endpoint_id, body.overlap_s)
        facts = {"overlap_s": body.overlap_s}
        audit.note(tx, hand_of(call, caller), merchant_id, "endpoint.rotate", f"endpoint:{endpoint_id}", **facts)
        return rotated

    return await _with_secret(call, "webhooks.rotate", key, 200, make)


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/disable",
    response_model=None,
    responses=told(200, EndpointShown, "The endpoint as it is now.", _ENDPOINT, _SWITCHED_WRONG),
    openapi_extra=called(ENDPOINT_ID, IDEMPOTENCY_KEY),
)
async def disable_endpoint(call: Call) -> Answer:
    """Call an endpoint no more. Its events are kept, blocked."""
    return await _switch(call, webhooks.disable_endpoint)


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/enable",
    response_model=None,
    responses=told(200, EndpointShown, "The endpoint as it is now.", _ENDPOINT, _SWITCHED_WRONG),
    openapi_extra=called(ENDPOINT_ID, IDEMPOTENCY_KEY),
)
async def enable_endpoint(call: Call) -> Answer:
    """Call an endpoint again; what was blocked is due at once, in order."""
    return await _switch(call, webhooks.enable_endpoint)


@router.post(
    "/api/v1/webhook-endpoints/{endpoint_id}/test",
    response_model=None,
    status_code=202,
    responses=told(202, Sent, "It is being sent.", _SENT, {400: ("endpoint_disabled",), 404: _MISSING}),
    openapi_extra=called(ENDPOINT_ID),
)
async def send_test(call: Call) -> Answer:
    """Send `test.ping`, whatever the endpoint wants otherwise."""
    caller = await caller_for(call, SCOPE)
    event_id, delivery_id = await webhooks.send_test(call.ctx, caller.merchant.merchant_id, endpoint_of(call))
    return json_answer(202, {"event_id": str(event_id), "delivery_id": str(delivery_id)})


async def _switch(call: Call, switch: Switch) -> Answer:
    caller = await caller_for(call, SCOPE)
    merchant_id = caller.merchant.merchant_id
    key, endpoint_id = key_in(call, merchant_id, {}), endpoint_of(call)
    hand = hand_of(call, caller)
    answer = await _act(call, "webhooks.switch", key, lambda tx: switch(tx, merchant_id, endpoint_id, hand=hand))
    _follow_up(call, merchant_id, endpoint_id)
    return answer


async def _act(call: Call, name: str, key: once.Key | None, act: Act) -> Answer:
    async def work(tx: Tx) -> Answer:
        return json_answer(200, shapes.endpoint(await act(tx)))

    return await once_in(call.ctx, name, key, work)


async def _with_secret(call: Call, name: str, key: once.Key | None, status: int, make: Make) -> Answer:
    """Do what makes a secret. Its answer is never kept: a repeat of its key is told only that there was one."""
    async with call.ctx.db.transaction(name) as tx:
        if key is not None and await once.claim(tx, call.ctx.keys, key) is not None:
            raise AlreadyAnswered
        made, secret = await make(tx)
        if key is not None:
            await once.answer(tx, call.ctx.keys, key, status, b"")
    return json_answer(status, shapes.endpoint(made) | {"secret": secret})


async def _not_answered(call: Call, key: once.Key | None) -> None:
    """Look at a key before names are resolved: the judgement of an address may have changed since the first answer."""
    if key is not None and await once.find(call.ctx.db, call.ctx.keys, key) is not None:
        raise AlreadyAnswered


def _host(endpoint: Endpoint) -> str | None:
    """Where it is, as far as that may be kept: a merchant may write secrets into the rest of an address."""
    return urlsplit(endpoint.url).hostname


def _follow_up(call: Call, merchant_id: str, endpoint_id: uuid.UUID) -> None:
    call.ctx.background.spawn(webhooks.follow_up(call.ctx, merchant_id, endpoint_id), name="deliveries of an endpoint")
