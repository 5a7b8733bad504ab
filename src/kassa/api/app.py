"""The HTTP application: surfaces behind layers of plain ASGI, from the outside in.

- frame: request id, safe headers, figures, access log, and the last word on what nobody caught
- sandbox: everything under `/sandbox` leaves here, unchanged
- Payme: every verb and body at `/payme/webhook` is answered here, in Payme's words
- CORS: only when browsers of other origins may call
- rate: 429 before anything is claimed
- patience: an answer that has not begun after 60 s is not waited for
- body: 64 KiB, counted while it is read
- doors: finds the handler, says errors in the words of the address
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp as StarletteApp

from kassa.api import checkout, health, orders, pages, payme, payments, purchases, webhooks
from kassa.api.auth import Tokens
from kassa.api.call import ROUTE, Desk
from kassa.api.dialect import Dialect, Dialects
from kassa.api.doors import Doors
from kassa.api.frame import Frame
from kassa.api.health import Watch
from kassa.api.limits import BodyLimit, Proxies, RateLimit
from kassa.api.options import ApiOptions, ASGIApp, Message, Receive, Scope, Send
from kassa.api.patience import Patience
from kassa.api.problems import Problems
from kassa.api.streams import Closing
from kassa.collect import payme as verbs
from kassa.kit.context import Context
from kassa.kit.readiness import Readiness

_SURFACES: dict[str, tuple[APIRouter, ...]] = {
    "orders": orders.ROUTERS,
    "checkout": checkout.ROUTERS,
    "purchases": purchases.ROUTERS,
    "payments": (*payments.ROUTERS, *webhooks.ROUTERS),
}
_ALLOWED_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "X-Request-Id"]
_EXPOSED_HEADERS = ["ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-Id"]


class Api:
    """The ASGI application.

    Whoever stops the process calls `leave` first, so that no new requests are sent here, then `close`, so that live streams end in
    good time.
    """

    def __init__(self, served: ASGIApp, closing: Closing, readiness: Readiness) -> None:
        self._served = served
        self._closing = closing
        self._readiness = readiness
        self._leaving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._served(scope, receive, _last(send) if self._leaving else send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    def leave(self) -> None:
        """Say no at `/ready`, and with each answer that its connection ends. Requests are served; a second time changes nothing."""
        self._leaving = True
        self._readiness.leave()

    def close(self) -> None:
        """End live streams; requests are still served. A second time changes nothing."""
        self._closing.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.close()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(ctx: Context, options: ApiOptions) -> Api:
    """Put the application together: the surfaces that `options` names, behind the layers of every request."""
    tokens, proxies, closing = Tokens(options.tokens), Proxies(options.trusted_proxies), Closing()
    dialects = _dialects(options)
    routers = [router for name, of_surface in _SURFACES.items() if name in options.surfaces for router in of_surface]
    if options.provider_webhook_secret:
        routers.append(payments.provider_router)
    routers += [health.router, *([pages.docs_router(options.surfaces)] if options.docs else [])]
    routers += options.pages.routers if options.pages else ()
    watch = Watch(options, proxies)
    inner: ASGIApp = Doors(_desk(ctx, tokens, closing, watch, options, proxies), routers, dialects)
    inner = Patience(BodyLimit(inner), dialects, options.request_s)
    if options.rate_limit is not None and options.rate_limit != "off":
        trusted = options.trust_merchant_header
        inner = RateLimit(inner, options.rate_limit, tokens, dialects, proxies, trusted=trusted, redis=options.redis)
    if options.cors_origins:
        inner = _with_cors(inner, options)
    inner = payme.Door(inner, ctx, options.payme, proxies, verbs)
    if options.sandbox is not None:
        inner = _Sandboxed(inner, options.sandbox)
    return Api(Frame(inner, dialects, https_only=options.https_only), closing, watch.readiness)


def create_watch(ctx: Context, options: ApiOptions) -> Api:
    """What a process without an HTTP surface says of itself: `/health`, `/ready`, and `/metrics` to whom `options` lets in."""
    tokens, proxies, closing = Tokens(options.tokens), Proxies(options.trusted_proxies), Closing()
    dialects, watch = Dialects({}, otherwise=Problems()), Watch(options, proxies)
    doors = Doors(_desk(ctx, tokens, closing, watch, options, proxies), [health.router], dialects)
    return Api(Frame(Patience(BodyLimit(doors), dialects, options.request_s), dialects), closing, watch.readiness)


def _last(send: Send) -> Send:
    """`send`, saying that the connection ends with this answer: the caller's next request goes to another process."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_last


def _desk(ctx: Context, tokens: Tokens, closing: Closing, watch: Watch, options: ApiOptions, proxies: Proxies) -> Desk:
    return Desk(
        ctx,
        tokens,
        closing,
        watch,
        trusted=options.trust_merchant_header,
        webhook_secrets=tuple(
            each.encode() for each in (options.provider_webhook_secret, options.provider_webhook_secret_old) if each
        ),
        address_of=proxies.address_of,
    )


def _dialects(options: ApiOptions) -> Dialects:
    # `/checkout` itself belongs to another contract than what is below it.
    envelope: Dialect = orders.Envelope()
    of_purchases = dict.fromkeys(("/checkout", "/cart", "/purchases"), purchases.Brief())
    others = {"/api/v1": payments.Plain(), "/api": envelope, "/checkout/": checkout.Detail(), "/payme": payme.Rpc()}
    of_pages: dict[str, Dialect] = dict.fromkeys(options.pages.prefixes, options.pages.dialect) if options.pages else {}
    return Dialects({**others, **of_purchases, **of_pages}, otherwise=Problems())


def _with_cors(inner: ASGIApp, options: ApiOptions) -> ASGIApp:
    app: StarletteApp = CORSMiddleware(
        inner,
        allow_origins=list(options.cors_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        max_age=600,
    )
    return app


class _Sandboxed:
    """Hands everything under `/sandbox` to the sandbox as it came."""

    def __init__(self, inner: ASGIApp, sandbox: ASGIApp) -> None:
        self._inner = inner
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/sandbox" or path.startswith("/sandbox/"):
            scope[ROUTE] = "/sandbox"
            await self._sandbox(scope, receive, send)
        else:
            await self._inner(scope, receive, send)
