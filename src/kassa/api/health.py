"""Is it alive, can it work, and how much does it do: `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

import hmac
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from kassa.api import metrics
from kassa.api.answers import Answer, json_answer, retry_after
from kassa.api.call import Call, header
from kassa.api.describe import operation
from kassa.api.errors import Forbidden, Unauthorized
from kassa.api.gauges import Gauges
from kassa.api.limits import Proxies
from kassa.api.options import ApiOptions
from kassa.kit.readiness import Readiness

router = APIRouter(tags=["operation"])

_ALIVE = json_answer(200, {"message": "ok", "status": "ok"})
_READY = json_answer(200, {"message": "ready"})
_NOT_READY = json_answer(503, {"message": "not ready", "code": "unavailable"}, retry_after(2))


class Health(BaseModel):
    """The process lives."""

    message: Literal["ok"]
    status: Literal["ok"]


class Ready(BaseModel):
    """The database answers, and its schema is current."""

    message: Literal["ready"]


class NotReady(BaseModel):
    """The database does not answer, or its schema is another one."""

    message: Literal["not ready"]
    code: Literal["unavailable"]


class Watch:
    """What the routes here need beside the desk of all handlers."""

    def __init__(self, options: ApiOptions, proxies: Proxies) -> None:
        self.readiness = Readiness(options.schema_is_current)
        self.gauges = Gauges(self.readiness)
        self.proxies = proxies
        self.metrics_token = options.metrics_token


@router.head("/health", response_model=None, include_in_schema=False)
@router.get(
    "/health",
    response_model=None,
    responses={200: {"model": Health, "description": "The process lives."}},
    openapi_extra=operation(secured=False),
)
async def health(_call: Call) -> Answer:
    """Say that the process lives."""
    return _ALIVE


@router.head("/ready", response_model=None, include_in_schema=False)
@router.get(
    "/ready",
    response_model=None,
    responses={
        200: {"model": Ready, "description": "The database answers and its schema is current."},
        503: {"model": NotReady, "description": "It does not, or it is not."},
    },
    openapi_extra=operation(secured=False),
)
async def ready(call: Call) -> Answer:
    """Say whether requests can be served. The database is really asked."""
    watch: Watch = call.watch
    return _READY if await watch.readiness.look(call.ctx.db) else _NOT_READY


@router.get("/metrics", response_model=None, include_in_schema=False)
async def figures(call: Call) -> Answer:
    """Show the figures of this process: to loopback, else to whoever shows `METRICS_TOKEN`."""
    watch: Watch = call.watch
    if not watch.proxies.is_loopback(call.scope):
        _check_token(call, watch.metrics_token)
    await watch.gauges.refresh(call.ctx)
    body, content_type = metrics.page()
    return Answer(200, body, content_type=content_type)


def _check_token(call: Call, token: str | None) -> None:
    if token is None:
        raise Forbidden
    given = header(call.scope, b"authorization") or ""
    if not hmac.compare_digest(given.encode("latin-1"), f"Bearer {token}".encode()):
        raise Unauthorized
