"""The servers of merchants, and of a company that sends letters: one listener that keeps a book of all it heard.

How it answers stands in the path, so that it needs no word from a story: `/ok/…` says 200, `/fails/…` says 500 to the first request
of each `webhook-id`, `/gone/…` says 410 and `/dead/…` 500 until the path is mended (`DELETE`). `/v3/…` takes letters, and refuses
those to nobody.

Worse servers: `/slow/30/…` thinks for so many seconds, `/late/3/…` too, but at the first request of each id only; `/says/502/…` says that at first, `/busy/3/…`
says 429 with `Retry-After: 3` at first; `/moved/…` points elsewhere (`elsewhere`); `/endless/…` and `/drips/…` answer with a body that never ends.
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
    signature: str = ""
    timestamp: str = ""


@dataclass(frozen=True)
class Reply:
    """What a server says: the status, a header beside it, after how long, and with which body (`endless`, `drips`, or nothing of note)."""

    status: int
    header: tuple[str, str] | None = None
    after_s: float = 0.0
    body: str = ""


@dataclass
class Hooks:
    """The listener. `url` is where it is; `heard` are merchants' requests and `letters` letters, both in the order they came."""

    heard: list[Heard] = field(default_factory=list)
    letters: list[dict[str, str]] = field(default_factory=list)
    elsewhere: str = ""
    """Where servers that have moved say that they are now."""
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

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Note a request; returns what to say."""
        if path.startswith(LETTERS):
            return self._take_letter(body)
        at = time.monotonic()
        with self._turn:
            webhook_id = headers["webhook-id"]
            self._times[path, webhook_id] += 1
            reply = self._answer(path, self._times[path, webhook_id])
            sequence, attempt = int(headers["kassa-sequence"]), int(headers["kassa-attempt"])
            signed = headers.get("webhook-signature", ""), headers.get("webhook-timestamp", "")
            self.heard.append(Heard(path, webhook_id, headers["kassa-subject"], sequence, attempt, body, reply.status, at, *signed))
        return reply

    def _answer(self, path: str, times: int) -> Reply:
        kind, number = path.split("/")[1], path.split("/")[2]
        if path in self._mended:
            return Reply(200)
        match kind:
            case "fails":
                return Reply(500 if times == 1 else 200)
            case "says":
                return Reply(int(number) if times == 1 else 200)
            case "busy":
                return Reply(429, ("Retry-After", number)) if times == 1 else Reply(200)
            case "moved":
                return Reply(int(number), ("Location", self.elsewhere))
            case "slow":
                return Reply(200, after_s=float(number))
            case "late":
                return Reply(200, after_s=float(number) if times == 1 else 0)
            case "endless" | "drips":
                return Reply(200, body=kind)
            case _:
                return Reply({"gone": 410, "dead": 500}.get(kind, 200))

    def _take_letter(self, body: bytes) -> Reply:
        letter = dict(parse_qsl(body.decode(), keep_blank_values=True))
        if "nobody" in letter["to"]:
            return Reply(400)
        with self._turn:
            self.letters.append(letter)
        return Reply(200)


def _handler(hooks: Hooks) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._say(hooks.hear(self.path, headers, body))

        def do_DELETE(self) -> None:
            hooks.mend(self.path)
            self._say(Reply(200))

        def _say(self, reply: Reply) -> None:
            time.sleep(reply.after_s)
            try:
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                if reply.header:
                    self.send_header(*reply.header)
                if not reply.body:
                    self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                while reply.body:
                    self.wfile.write(b"x" * (65_536 if reply.body == "endless" else 1))
                    time.sleep(0 if reply.body == "endless" else 0.2)
            except OSError:
                self.close_connection = True  # the caller has had enough

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Nothing: the book is the log."""

    return Handler
