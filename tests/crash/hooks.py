"""The servers of merchants, and of a company that sends letters: one listener that keeps a book of all it heard.

How it answers stands in the path, so that it needs no word from a story: `/ok/…` says 200, `/fails/…` says 500 to the first request
of each `webhook-id`, `/gone/…` says 410 and `/dead/…` 500 until the path is mended (`DELETE`). `/v3/…` takes letters, and refuses
those to nobody.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

LETTERS = "/v3/"


@dataclass(frozen=True)
class Heard:
    """One request, and what it was answered."""

    path: str
    webhook_id: str
    subject: str
    sequence: int
    attempt: int
    body: bytes
    status: int
    at: float


@dataclass
class Hooks:
    """The listener. `url` is where it is; `heard` are merchants' requests and `letters` letters, both in the order they came."""

    heard: list[Heard] = field(default_factory=list)
    letters: list[dict[str, str]] = field(default_factory=list)
    _mended: set[str] = field(default_factory=set)
    _times: Counter[tuple[str, str]] = field(default_factory=Counter)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def open(self) -> None:
        """Listen, on a port that the system gives."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def mend(self, path: str) -> None:
        """From now on everything at this path is well."""
        self._mended.add(path)

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Note a request; returns what to say."""
        if path.startswith(LETTERS):
            return self._take_letter(body)
        with self._turn:
            webhook_id = headers["webhook-id"]
            self._times[path, webhook_id] += 1
            status = self._answer(path, self._times[path, webhook_id])
            sequence, attempt = int(headers["kassa-sequence"]), int(headers["kassa-attempt"])
            self.heard.append(Heard(path, webhook_id, headers["kassa-subject"], sequence, attempt, body, status, time.monotonic()))
        return status

    def _answer(self, path: str, times: int) -> int:
        kind = path.split("/")[1]
        if kind == "fails":
            return 500 if times == 1 else 200
        if path in self._mended:
            return 200
        return {"gone": 410, "dead": 500}.get(kind, 200)

    def _take_letter(self, body: bytes) -> int:
        letter = dict(parse_qsl(body.decode(), keep_blank_values=True))
        if "nobody" in letter["to"]:
            return 400
        with self._turn:
            self.letters.append(letter)
        return 200


def _handler(hooks: Hooks) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._say(hooks.hear(self.path, headers, body))

        def do_DELETE(self) -> None:
            hooks.mend(self.path)
            self._say(200)

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Nothing: the book is the log."""

    return Handler
