"""The documents for people: `/docs` (Swagger UI) and `/redoc`, with every file from this server and none from elsewhere."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

import orjson
from fastapi import APIRouter

from kassa.api import asyncapi, openapi
from kassa.api.answers import Answer
from kassa.api.call import Call, header
from kassa.api.errors import UnknownPath
from kassa.api.options import Scope

_PACKAGE = "fastapi_standalone_docs"
_FILES = {
    "swagger-ui.css": ("swagger", b"text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger", b"text/javascript; charset=utf-8"),
    "redoc.standalone.js": ("redoc", b"text/javascript; charset=utf-8"),
}
_HTML = b"text/html; charset=utf-8"
_SOURCES = b"""default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"""
_POLICY = (b"content-security-policy", _SOURCES)
_KEPT = (b"cache-control", b"public, max-age=86400")
_SWAGGER = b"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kassa</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_REDOC = b"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kassa</title><link rel="icon" href="data:,"><style>body{margin:0}</style></head>
<body><div id="ui"></div>
<script src="/docs/redoc.standalone.js"></script><script src="/docs/start-redoc.js"></script></body></html>
"""
_START_SWAGGER = b"""SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null});
"""
_START_REDOC = b"""Redoc.init("/openapi.json", {disableSearch: false, hideLoading: true}, document.getElementById("ui"));
"""
_CONTRACT = re.compile(r"([a-z]+)\.json")


def docs_router(surfaces: Iterable[str]) -> APIRouter:
    """The pages and documents of the contracts that this process serves."""
    served = [name for name in openapi.CONTRACTS if name in set(surfaces)]
    router = APIRouter(include_in_schema=False)

    @cache
    def document(contract: str) -> Answer:
        return Answer(200, orjson.dumps(openapi.document(contract, served)))

    @router.get("/openapi.json", response_model=None)
    async def whole(_call: Call) -> Answer:
        return document("all")

    @router.get("/openapi/{name}", response_model=None)
    async def one(call: Call) -> Answer:
        found = _CONTRACT.fullmatch(call.in_path["name"])
        if found is None or found[1] not in served:
            raise UnknownPath
        return document(found[1])

    @router.get("/asyncapi.json", response_model=None)
    async def events(_call: Call) -> Answer:
        return Answer(200, orjson.dumps(asyncapi.document()))

    @router.get("/docs", response_model=None)
    async def swagger(_call: Call) -> Answer:
        return Answer(200, _SWAGGER, (_POLICY,), _HTML)

    @router.get("/redoc", response_model=None)
    async def redoc(_call: Call) -> Answer:
        return Answer(200, _REDOC, (_POLICY,), _HTML)

    @router.get("/docs/{name}", response_model=None)
    async def file(call: Call) -> Answer:
        return _file(call.in_path["name"], call.scope)

    return router


def _file(name: str, scope: Scope) -> Answer:
    script = b"text/javascript; charset=utf-8"
    if name == "start.js":
        return Answer(200, _START_SWAGGER, content_type=script)
    if name == "start-redoc.js":
        return Answer(200, _START_REDOC, content_type=script)
    if name not in _FILES:
        raise UnknownPath
    content_type = _FILES[name][1]
    if "gzip" in (header(scope, b"accept-encoding") or ""):
        return Answer(200, _squeezed(name), (_KEPT, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")), content_type)
    return Answer(200, _content(name), (_KEPT,), content_type)


@cache
def _squeezed(name: str) -> bytes:
    return gzip.compress(_content(name), mtime=0)


def _content(name: str) -> bytes:
    folder, _ = _FILES[name]
    return (resources.files(_PACKAGE) / "static" / folder / name).read_bytes()
