"""API keys: list, make, revoke (payments contract, section 2). A secret is in one answer only, and that answer is never kept."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

from fastapi import APIRouter

from kassa import audit, merchants
from kassa.api.answers import Answer, json_answer
from kassa.api.body import fit, read_json
from kassa.api.call import Call
from kassa.api.describe import IDEMPOTENCY_KEY, parameter
from kassa.api.keys import MONTH, given_key, key_of
from kassa.api.payments import shapes
from kassa.api.payments.answers import KeyMade, Keys, Problem
from kassa.api.payments.callers import caller_for, hand_of
from kassa.api.payments.errors import AlreadyAnswered
from kassa.api.payments.models import CreateKey
from kassa.api.payments.told import called, told
from kassa.kit import ids, once
from kassa.merchants.model import KeyMissing

router = APIRouter(tags=["API keys"])

_KEY = {
    "key_id": "019b76dc-0001-7d90-a2b6-4c7f1e3d5b62",
    "name": "reporting",
    "prefix": "sk_3fX9a",
    "scopes": ["payments:read"],
    "created_at": "2026-01-01T00:00:00.000000Z",
    "last_used_at": None,
    "revoked_at": None,
}


@router.get(
    "/api/v1/api-keys",
    response_model=None,
    responses=told(200, Keys, "Oldest first, revoked ones too; never a secret.", {"items": [_KEY]}),
    openapi_extra=called(),
)
async def list_keys(call: Call) -> Answer:
    """List the merchant's API keys."""
    caller = await caller_for(call, "keys:manage")
    found = await merchants.find_keys(call.ctx.db, caller.merchant.merchant_id)
    return json_answer(200, {"items": [shapes.api_key(key) for key in found]})


@router.post(
    "/api/v1/api-keys",
    response_model=None,
    status_code=201,
    responses=told(
        201,
        KeyMade,
        "The key, whose secret `key` is shown this once.",
        _KEY | {"key": "sk_" + "a" * 43},
        {
            400: ("idempotency_key_invalid",),
            409: ("already_answered",),
            413: ("too_large",),
            422: ("validation_error", "idempotency_mismatch"),
        },
    ),
    openapi_extra=called(IDEMPOTENCY_KEY, body=CreateKey, example={"name": "reporting", "scopes": ["payments:read"]}),
)
async def create_key(call: Call) -> Answer:
    """Make an API key with scopes that the caller itself has."""
    caller = await caller_for(call, "keys:manage")
    merchant_id = caller.merchant.merchant_id
    data = await read_json(call)
    body = fit(CreateKey, data)
    key = key_of(call, given_key(call), lambda _: ("merchant", data), MONTH, merchant_id)
    for scope in body.scopes:
        caller.needs(scope)
    async with call.ctx.db.transaction("api_keys.create") as tx:
        if key is not None and await once.claim(tx, call.ctx.keys, key) is not None:
            raise AlreadyAnswered
        made = await merchants.issue_key(tx, merchant_id, body.name, body.scopes)
        assert made is not None
        audit.note(tx, hand_of(call, caller), merchant_id, "key.make", f"key:{made[0].key_id}", scopes=list(made[0].scopes))
        if key is not None:
            await once.answer(tx, call.ctx.keys, key, 201, b"")
    issued, secret = made
    return json_answer(201, shapes.api_key(issued) | {"key": secret})


@router.delete(
    "/api/v1/api-keys/{key_id}",
    response_model=None,
    status_code=204,
    responses={
        204: {"description": "Refused from the next request on."},
        401: {"model": Problem, "description": "`unauthorized` · `unknown_merchant` · `invalid_api_key`"},
        403: {"model": Problem, "description": "`insufficient_scope` · `merchant_mismatch`"},
        404: {"model": Problem, "description": "`api_key_not_found`"},
        503: {"model": Problem, "description": "`unavailable`"},
    },
    openapi_extra=called(parameter("path", "key_id", "The key's id.")),
)
async def delete_key(call: Call) -> Answer:
    """Revoke an API key at once. Repeated, the answer is the same."""
    caller = await caller_for(call, "keys:manage")
    key_id = ids.parse(call.in_path["key_id"])
    if key_id is None:
        raise KeyMissing
    merchant_id = caller.merchant.merchant_id
    async with call.ctx.db.transaction("api_keys.revoke") as tx:
        if await merchants.revoke_key(tx, merchant_id, key_id):
            audit.note(tx, hand_of(call, caller), merchant_id, "key.revoke", f"key:{key_id}")
    return Answer(204)
