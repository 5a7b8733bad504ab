"""A merchant's server on a real port that answers what a test tells it, per path, and writes everything down.

Told nothing it answers 200. What it is told is a list of replies for one path; the last one stays.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final


@dataclass(frozen=True)
class Reply:
    """What the merchant does with one call."""

    status: int = 200
    body: bytes = b"thank you"
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0  # seconds of thought
    gate: threading.Event | None = None  # no answer before this is set
    cut: bool = False  # no answer: the connection ends
    half: bool = False  # the head and half of the body, then the connection ends
    drip: bool = False  # a head, then a body of one byte every fifth of a second
    slow_head: bool = False  # the head itself drips
    endless: bool = False  # a body that never ends


FINE: Final = Reply()
BROKEN: Final = Reply(500, b"we are sorry")
CUT: Final = Reply(cut=True)


def says(status: int, body: bytes = b"", **headers: str) -> Reply:
    """A plain answer; `_` in a header's name stands for `-`."""
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    path: str
    version: str
    names: list[str]  # of the headers, in lower case, in order
    headers: Mapping[str, str]  # names in lower case
    raw: bytes
    at: float  # when it was read whole, by the clock that only goes forward
    wall: float  # the same, as seconds since 1970
    connection: int  # connections are counted
    over_at: float = 0.0  # when it had its answer, or had hung up
    sent: int = 0  # bytes of the body that were taken from us

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return self.headers["kassa-event-type"]

    @property
    def subject(self) -> str:
        return self.headers["kassa-subject"]

    @property
    def sequence(self) -> int:
        return int(self.headers["kassa-sequence"])

    @property
    def attempt(self) -> int:
        return int(self.headers["kassa-attempt"])

    @property
    def took(self) -> float:
        return self.over_at - self.at


class FakeMerchant:
    """The merchant's server: its script and its book."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._calls: list[Call] = []
        self._plans: dict[str, list[Reply]] = {}
        self._rules: dict[str, Callable[[Call], Reply]] = {}
        self._busy: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._connections = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self._server: _Server | None = None
        self.open()

    @property
    def port(self) -> int:
        return self._port

    def url(self, path: str) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}{path}"

    def open(self) -> None:
        """Listen (again, on the same port)."""
        self._server = _Server(("127.0.0.1", self._port), _Desk)
        self._server.merchant = self
        self._server.tls = self._tls
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening, and hang up on everybody: the next call is refused by the machine."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def stop(self) -> None:
        self._over.set()
        self.close()

    # What a test tells it

    def will(self, path: str, *replies: Reply) -> None:
        """From now on the calls of this path are answered so, one after another; the last reply stays."""
        with self._lock:
            self._plans[path] = list(replies)

    def judges(self, path: str, rule: Callable[[Call], Reply]) -> None:
        """The calls of this path are answered by a rule."""
        with self._lock:
            self._rules[path] = rule

    # What a test asks it

    def calls(self, path: str) -> list[Call]:
        with self._lock:
            return [call for call in self._calls if call.path == path]

    def everything(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    def most_at_once(self, path: str) -> int:
        """How many calls of this path were open at the same time, at most."""
        return self._most[path]

    def connections(self) -> int:
        """How many connections were ever opened."""
        return self._connections

    # How it works

    def met(self) -> int:
        with self._lock:
            self._connections += 1
            return self._connections

    def begin(self, call: Call) -> Reply:
        """Write a call down and find what was told for it."""
        with self._lock:
            self._calls.append(call)
            self._busy[call.path] += 1
            self._most[call.path] = max(self._most[call.path], self._busy[call.path])
            rule, plan = self._rules.get(call.path), self._plans.get(call.path)
            if rule is None:
                return FINE if not plan else plan.pop(0) if len(plan) > 1 else plan[0]
        return rule(call)

    def end(self, call: Call) -> None:
        with self._lock:
            self._busy[call.path] -= 1
            call.over_at = time.monotonic()

    def think(self, reply: Reply) -> None:
        if reply.gate is not None:
            reply.gate.wait(30)
        if reply.after:
            self._over.wait(reply.after)

    def pause(self, seconds: float) -> bool:
        """Wait; whether it is time to go home."""
        return self._over.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256
    merchant: FakeMerchant
    tls: ssl.SSLContext | None = None

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)
            if self.tls is not None:
                request.close()

    def hang_up(self) -> None:
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who hung up is no trouble of ours."""


class _Desk(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self.number = self.server.merchant.met()

    def do_POST(self) -> None:
        merchant = self.server.merchant
        raw = self._read()
        names = [name.lower() for name in self.headers]
        headers = {name.lower(): text for name, text in self.headers.items()}
        call = Call(self.command, self.path, self.request_version, names, headers, raw, time.monotonic(), time.time(), self.number)
        reply = merchant.begin(call)
        try:
            merchant.think(reply)
            self._answer(call, reply)
        finally:
            merchant.end(call)

    def do_GET(self) -> None:
        self.do_POST()

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, call: Call, reply: Reply) -> None:
        if reply.cut or reply.half or reply.drip or reply.slow_head or reply.endless:
            self.close_connection = True
        if reply.cut:
            return
        if reply.slow_head:
            self._drip(call, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + b" " * 400)
            return
        self.send_response(reply.status)
        length = {} if reply.endless else {"Content-Length": str(1000 if reply.drip else len(reply.body))}
        for name, text in {**length, **reply.headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if reply.drip:
            self._drip(call, b"x" * 1000)
        elif reply.endless:
            while not self.server.merchant.pause(0.01):
                self._send(call, b"y" * 1024)
        else:
            self._send(call, reply.body[: len(reply.body) // 2] if reply.half else reply.body)

    def _drip(self, call: Call, text: bytes) -> None:
        for place in range(len(text)):
            self._send(call, text[place : place + 1])
            if self.server.merchant.pause(0.2):
                return

    def _send(self, call: Call, part: bytes) -> None:
        self.wfile.write(part)
        self.wfile.flush()
        call.sent += len(part)

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""
