"""The lowest floor of the sandbox: reading a request from ASGI, playing an answer, cutting the connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from kassa.sandbox import exact
from kassa.sandbox.model import Call, Played, Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MOST_BYTES = 1024 * 1024
_MOST_LOOKED_AT = 300
_UNDER = ("__self__", "__wrapped__", "func", "send", "_send", "receive", "_receive")


class TooLarge(Exception):
    """The body is over 1 MiB."""


class Gone(Exception):
    """The caller left before the whole request was here."""


def segments_of(scope: Scope) -> tuple[str, ...]:
    """The path cut at its slashes, each part decoded, so that a key with `%2F` stays one part."""
    raw = scope.get("raw_path") or str(scope["path"]).encode()
    return tuple(unquote(part.decode("latin-1"), errors="replace") for part in raw.split(b"?")[0].split(b"/")[1:])


async def read_call(scope: Scope, receive: Receive, params: Mapping[str, str], public_url: str | None) -> Call:
    """The whole request. A body that is no JSON leaves `body` at `None`."""
    raw = await _read_body(receive)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        body = exact.loads(raw) if raw else None
    except ValueError:
        body = None
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
    return Call(
        method=scope["method"],
        path=(scope.get("raw_path") or scope["path"].encode()).decode("latin-1"),
        params=params,
        query=query,
        headers=headers,
        raw=raw,
        body=body,
        base_url=(public_url or f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}").rstrip("/"),
        key=_key(headers, body),
    )


async def play(played: Played, receive: Receive, send: Send) -> bool:
    """Send the answer as it is scripted. False: the caller left first."""
    if played.wait and await _leaves_within(receive, played.wait):
        return False
    if played.cut:
        await cut(receive, send)
        return True
    if not played.gap:
        await send_reply(played.reply, send)
        return True
    await send(_start(played.reply))
    body = played.reply.body
    for place in range(len(body)):
        if place and await _leaves_within(receive, played.gap):
            return False
        await send({"type": "http.response.body", "body": body[place : place + 1], "more_body": place + 1 < len(body)})
    return True


async def send_reply(reply: Reply, send: Send) -> None:
    """Send a whole answer."""
    await send(_start(reply))
    await send({"type": "http.response.body", "body": reply.body})


async def cut(receive: Receive, send: Send) -> None:
    """Reset the TCP connection without an answer.

    ASGI has no word for it, so the server's transport is looked for behind the two channels. A server that hides it
    gets half an answer, and then closes the connection by itself.
    """
    transport = _transport_behind(receive, send)
    if transport is None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        return
    # With nothing to linger for, closing sends a reset: the caller can tell it from a polite goodbye.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        link = transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _leaves_within(receive, 1.0)


async def _read_body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MOST_BYTES:
            raise TooLarge
        if not message.get("more_body", False):
            return b"".join(parts)


def _key(headers: Mapping[str, str], body: Any) -> str | None:
    """The idempotency key: the header, bare or quoted, else the member of the body."""
    key = headers.get("idempotency-key") or (body.get("idempotency_key") if isinstance(body, dict) else None)
    if not isinstance(key, str):
        return None
    quoted = len(key) > 1 and key.startswith('"') and key.endswith('"')
    return (key[1:-1] if quoted else key) or None


def _start(reply: Reply) -> Message:
    headers = [(b"content-type", reply.content_type.encode()), (b"content-length", str(len(reply.body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _leaves_within(receive: Receive, seconds: float) -> bool:
    """Wait; true as soon as the caller has gone."""
    watch = asyncio.ensure_future(_until_gone(receive))
    try:
        done, _ = await asyncio.wait({watch}, timeout=seconds)
    finally:
        watch.cancel()
    return bool(done)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport_behind(*channels: Any) -> Any:
    """The first thing with a transport that can be aborted, looked for behind wrappers of the two channels."""
    seen: set[int] = set()
    left = list(channels)
    while left and len(seen) < _MOST_LOOKED_AT:
        one = left.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        transport = getattr(one, "transport", None)
        if hasattr(transport, "abort") and hasattr(transport, "get_extra_info"):
            return transport
        left += [getattr(one, name) for name in _UNDER if hasattr(one, name)]
        for cell in getattr(one, "__closure__", None) or ():
            with contextlib.suppress(ValueError):
                left.append(cell.cell_contents)
    return None
