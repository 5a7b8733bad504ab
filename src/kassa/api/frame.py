"""The outermost layer: every answer has a request id and safe headers, every request is counted and noted without personal data.

What nobody caught ends here as a 500 in the shape of its address; a stack trace goes to the log, never to the caller.
"""

from __future__ import annotations

import logging
import re
import time
from http import HTTPStatus

from kassa.api import metrics
from kassa.api.answers import Header
from kassa.api.call import ROUTE, header
from kassa.api.dialect import Dialects
from kassa.api.errors import CallerGone, InternalError
from kassa.api.options import ASGIApp, Message, Receive, Scope, Send
from kassa.kit import trace
from kassa.kit.context import request_id
from kassa.kit.ids import new_id

_log = logging.getLogger("kassa.api")
_access = logging.getLogger("kassa.access")

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_GONE = 499
"""How the log calls a request whose caller left; nobody is sent this."""
_UNTRACED = frozenset({"/health", "/ready", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAFE: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Given to every answer that does not say otherwise itself."""
_HTTPS_ONLY: Header = (b"strict-transport-security", b"max-age=31536000")
"""For a year. Of other hosts below this one nothing is known here."""


class Frame:
    """Wraps the application; a pure ASGI layer."""

    def __init__(self, inner: ASGIApp, dialects: Dialects, *, https_only: bool = False) -> None:
        self._inner = inner
        self._dialects = dialects
        self._safe = (*_SAFE, _HTTPS_ONLY) if https_only else _SAFE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        began = time.perf_counter()
        mine = _id_of(scope)
        token = request_id.set(mine)
        answer = _Noted(send, mine, self._safe)
        metrics.IN_FLIGHT.inc()
        with _traced(scope) as span:
            try:
                await self._inner(scope, receive, answer)
            except CallerGone:
                answer.status = answer.status or _GONE
            except Exception:
                _log.exception("a request ended unexpectedly")
                if answer.status:  # half an answer is out already: cutting the connection tells the caller that it is no whole one
                    raise
                await self._dialects.at(scope["path"]).refuse(InternalError())(scope, receive, answer)
            finally:
                metrics.IN_FLIGHT.dec()
                _note(scope, answer.status, time.perf_counter() - began)
                if span.on:
                    _tell(span, scope, answer.status)
                request_id.reset(token)


class _Noted:
    """`send`, with the headers that every answer has; remembers the status."""

    __slots__ = ("_request_id", "_safe", "_send", "status")

    def __init__(self, send: Send, request_id: str, safe: tuple[Header, ...]) -> None:
        self._send = send
        self._safe = safe
        self._request_id = request_id.encode("latin-1")
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", ())
            names = {name for name, _ in given}
            safe = [each for each in self._safe if each[0] not in names]
            message = {**message, "headers": [*given, *safe, (b"x-request-id", self._request_id)]}
        await self._send(message)


def _id_of(scope: Scope) -> str:
    sent = header(scope, b"x-request-id")
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else str(new_id())


def _traced(scope: Scope) -> trace.Span:
    """The request's place in its caller's trace, or in a new one. Who only looks whether we live is no part of any."""
    if scope["path"] in _UNTRACED:
        return trace.NOTHING
    for name, _ in scope["headers"]:  # most callers send none, and pay for this loop alone
        if name == b"traceparent":
            return trace.arrive(header(scope, name), header(scope, b"tracestate"), scope["method"])
    return trace.arrive(None, None, scope["method"])


def _tell(span: trace.Span, scope: Scope, status: int) -> None:
    """What a span says of a request: the template and not the path, as in the log."""
    method, route = scope["method"] if scope["method"] in _METHODS else "_OTHER", scope.get(ROUTE, "-")
    span.rename(f"{method} {route}")
    span.mark("http.request.method", method)
    span.mark("http.route", route)
    span.mark("http.response.status_code", status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail()


def _note(scope: Scope, status: int, seconds: float) -> None:
    route = scope.get(ROUTE, "-")
    metrics.note(scope["method"], route, status, seconds)
    if _access.isEnabledFor(logging.INFO):
        # The template and not the path: ids, and whatever else a caller writes into an address, stay out of the log.
        level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        _access.log(
            level, "request", extra={"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 2)}
        )
