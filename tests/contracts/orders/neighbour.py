"""A neighbour service of our own making, in this process: it keeps a diary and can be told to misbehave.

Deliberately not the sandbox: what Kassa says on the wire is read here by somebody who shares no code with it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: Any

    @property
    def key(self) -> str | None:
        return self.headers["Idempotency-Key"]


@dataclass(frozen=True)
class Reply:
    """What to do with a call: answer this, maybe late, maybe after doing the work all the same."""

    status: int = 200
    body: bytes = b""
    headers: Json = field(default_factory=dict)
    delay: float = 0
    works: bool = False
    cut: bool = False


def saying(status: int, /, **body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())


BROKEN = saying(500, success=False, message="broken")


@dataclass
class Neighbour:
    """What it was asked, and how it will answer next."""

    url: str = ""
    diary: list[Call] = field(default_factory=list)
    plans: defaultdict[tuple[str, str], deque[Reply]] = field(default_factory=lambda: defaultdict(deque))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def topic(self, call: Call) -> str:
        """What a call is about: plans are made for a topic."""
        raise NotImplementedError

    def work(self, call: Call) -> Reply:
        """Do as a healthy service does."""
        raise NotImplementedError

    def will(self, method: str, topic: str, *replies: Reply) -> None:
        """Meet the next calls about this so; afterwards as usual."""
        with self.lock:
            self.plans[method, topic] = deque(replies)

    def forgive(self) -> None:
        with self.lock:
            self.plans.clear()

    def calls(self, method: str, topic: str) -> list[Call]:
        with self.lock:
            return [call for call in self.diary if call.method == method and self.topic(call) == topic]

    def answer(self, call: Call) -> Reply:
        with self.lock:
            self.diary.append(call)
            plan = self.plans[call.method, self.topic(call)]
            planned = plan.popleft() if plan else None
            if planned is None:
                return self.work(call)
            if not planned.works:
                return planned
            done = self.work(call)
            body = planned.body or done.body
            return Reply(planned.status, body, planned.headers, planned.delay, works=True, cut=planned.cut)


def handler_of(neighbour: Neighbour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

        def serve(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = json.loads(raw) if raw else None
            call = Call(self.command, unquote(url.path), parse_qs(url.query), self.headers, said)
            reply = neighbour.answer(call)
            time.sleep(reply.delay)
            if reply.cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_PATCH = do_POST = do_PUT = serve  # noqa: N815 - the base class looks for these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing: the diary has it all."""

    return Handler


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


N = TypeVar("N", bound=Neighbour)


@contextmanager
def open_for_business(neighbour: N) -> Iterator[N]:
    """Let it listen on a port of its own."""
    with QuietServer(("127.0.0.1", 0), handler_of(neighbour)) as server:
        neighbour.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield neighbour
        finally:
            server.shutdown()
            thread.join()
