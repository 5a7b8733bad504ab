"""A provider of links that reports a payment before, while or after it answers the request for its link.

It keeps a book as the sandbox does, so that the same judgement holds it against ours. What it is told to do with the next request
stands in the request itself: nobody's turn depends on another's.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Hasty:
    """The provider. `apart_s` says of a payment how long after its answer (before, if negative) it is reported as paid."""

    secret: str
    apart_s: Callable[[str], float]
    merchant_url: str = ""
    charged: dict[str, Decimal] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    """How often each answer was given to a report: its status and message."""
    at: dict[str, list[float]] = field(default_factory=dict)
    """When each payment was reported and when its link was answered, in this order."""
    _reports: list[threading.Thread] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hasty:
        self._server = _Server(("127.0.0.1", 0), _desk(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def done(self) -> None:
        """Wait until every report was answered."""
        while self._reports:
            self._reports.pop().join()

    def make_link(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Answer a request for a link when it is time, and report it as paid when it is time for that. Asked twice it is paid once."""
        payment, apart_s = str(wish["payment_id"]), self.apart_s(str(wish["payment_id"]))
        if payment not in self.charged:
            self.charged[payment] = Decimal(str(wish["price"]))
            self.at[payment] = [0.0, 0.0]
            reports = threading.Thread(target=self._report, args=(payment, max(0.0, apart_s)))
            reports.start()
            self._reports.append(reports)
        if apart_s < 0:
            time.sleep(-apart_s)
        self.at[payment][1] = time.monotonic()
        return {"payment_url": f"{self.url}/pay/{payment}"}

    def _report(self, payment: str, after_s: float) -> None:
        time.sleep(after_s)
        self.at[payment][0] = time.monotonic()
        body = json.dumps({"payment_id": payment, "status": "finished"}).encode()
        headers = {"X-Internal-Signature": hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()}
        parts = urlsplit(self.merchant_url)
        line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            line.request("POST", "/api/v1/payments/webhook", body, headers)
            answer = line.getresponse()
            said = json.loads(answer.read())
            self.told[f"{answer.status} {said['result']['message']}"] += 1
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            self.told[repr(error)] += 1
        finally:
            line.close()

    # What the sandbox of a town tells of its book

    def book(self, **_: str) -> dict[str, Any]:
        """Nothing but charges happens here."""
        return {}

    def summary(self) -> dict[str, Any]:
        """What was charged, by key."""
        keys = [
            {"service": "link", "key": key, "charges": 1, "charged": str(sum_), "refunded": "0", "net": str(sum_)}
            for key, sum_ in self.charged.items()
        ]
        return {"keys": keys, "double": [], "unbacked_refunds": []}

    def settings(self, *_: str) -> dict[str, str]:
        """How a Kassa finds it."""
        return {"PROVIDER_URL": self.url}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def _desk(hasty: Hasty) -> type[BaseHTTPRequestHandler]:
    class Desk(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._say(hasty.make_link(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def do_GET(self) -> None:
            self._say(hasty.summary())

        def _say(self, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Nothing: the book is the log."""

    return Desk
