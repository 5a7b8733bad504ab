"""A provider on a real port that does what a test tells it, per order (links) or per payment (refunds).

Told nothing it is honest: a link is `https://pay.example.com/<payment id>`, a refund is done at once. What it is told is
a list of replies for one order or payment; the last one stays. Everything that arrives is written down.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final


@dataclass(frozen=True)
class Reply:
    """What the provider does with one call."""

    status: int = 200
    body: Any = None  # JSON; bytes go out as they are
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0  # seconds of thought
    gate: threading.Event | None = None  # no answer before this is set
    cut: bool = False  # no answer: the connection ends
    half: bool = False  # half of the answer, then the connection ends
    drip: bool = False  # one byte at a time, for a long time


HONEST: Final = Reply(body="honest")
CUT: Final = Reply(cut=True)
SILENT: Final = Reply(body="honest", after=5.0)


def says(status: int, body: Any = None, **headers: str) -> Reply:
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def link(payment_id: str) -> str:
    """Where an honest provider lets a buyer pay."""
    return f"https://pay.example.com/{payment_id}"


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    raw: bytes
    at: float

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Provider:
    """The provider: its script and its book."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._plans: dict[tuple[str, str], list[Reply]] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self._server: _Server | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Listen (again, on the same port)."""
        self._server = _Server(("127.0.0.1", self._port), _Desk)
        self._server.provider = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening: the next call is refused by the machine."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def stop(self) -> None:
        self._over.set()
        self.close()

    # What a test tells it

    def for_link(self, order_id: object, *replies: Reply) -> None:
        self._plans["/payment-links", str(order_id)] = list(replies)

    def for_refund(self, payment_id: str, *replies: Reply) -> None:
        self._plans["/refunds", payment_id] = list(replies)

    # What a test asks it

    def links(self, order_id: object) -> list[Call]:
        """The links that were asked for, for one order id."""
        return [call for call in self._seen("/payment-links") if str(call.body.get("order_id")) == str(order_id)]

    def links_of(self, payment_id: str) -> list[Call]:
        return [call for call in self._seen("/payment-links") if call.body["payment_id"] == payment_id]

    def refunds(self, payment_id: str) -> list[Call]:
        return [call for call in self._seen("/refunds") if call.body["payment_id"] == payment_id]

    def everything(self) -> list[Call]:
        return list(self._calls)

    def _seen(self, path: str) -> list[Call]:
        return [call for call in list(self._calls) if call.path == path]

    # How it works

    def note(self, call: Call) -> Reply:
        """Write a call down and find what was told for it."""
        with self._lock:
            self._calls.append(call)
            with contextlib.suppress(ValueError, AttributeError):
                member = "payment_id" if call.path == "/refunds" else "order_id"
                plan = self._plans.get((call.path, str(call.body.get(member))))
                if plan:
                    return plan.pop(0) if len(plan) > 1 else plan[0]
            return HONEST

    def think(self, reply: Reply) -> None:
        if reply.gate is not None:
            reply.gate.wait(30)
        if reply.after:
            self._over.wait(reply.after)

    def answer(self, call: Call, reply: Reply) -> bytes:
        if reply.body == "honest":
            found = {"status": "refunded"} if call.path == "/refunds" else {"payment_url": link(call.body["payment_id"])}
            return json.dumps(found).encode()
        return reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()

    def is_over(self) -> bool:
        return self._over.is_set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256
    provider: Provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who hung up is no trouble of ours."""


class _Desk(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        provider = self.server.provider
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): text for name, text in self.headers.items()}
        call = Call(self.command, self.path, headers, raw, time.monotonic())
        reply = provider.note(call)
        provider.think(reply)
        self.close_connection = True
        if reply.cut:
            return
        body = provider.answer(call, reply)
        self.send_response(reply.status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if reply.drip:
            for place in range(len(body)):
                self.wfile.write(body[place : place + 1])
                self.wfile.flush()
                time.sleep(0.0 if provider.is_over() else 0.4)
        else:
            self.wfile.write(body[: len(body) // 2] if reply.half else body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""
