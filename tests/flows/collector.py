"""A collector of traces on loopback: takes OTLP over HTTP, as any collector does, and keeps what it was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was sent, its ids as hexadecimal digits."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    failed: bool
    attributes: Mapping[str, Any]
    links: tuple[str, ...]
    service: Mapping[str, Any] = field(repr=False)


class Collector:
    """What it was sent, by every process that knows its address."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self._turn = threading.Lock()
        outer = self

        class Desk(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                outer.take(raw, dict(self.headers.items()))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """The test says what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def settings(self) -> dict[str, str]:
        """The settings with which a process sends its spans here, soon after they end."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def close(self) -> None:
        """Take nothing more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, raw: bytes, headers: dict[str, str]) -> None:
        """Keep one batch."""
        sent = ExportTraceServiceRequest.FromString(raw)
        with self._turn:
            self.headers.append(headers)
            for resource in sent.resource_spans:
                service = _values(resource.resource.attributes)
                self.spans += [_span(each, service) for scope in resource.scope_spans for each in scope.spans]

    def of(self, trace_id: str, until: Callable[[list[Span]], bool], within_s: float = 10) -> list[Span]:
        """The spans of a trace as soon as they are what a test waits for."""
        end = time.monotonic() + within_s
        while True:
            with self._turn:
                found = [each for each in self.spans if each.trace_id == trace_id]
            if until(found):
                return found
            assert time.monotonic() < end, f"only {sorted(each.name for each in found)} within {within_s} s"
            time.sleep(0.02)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector until the block ends."""
    made = Collector()
    try:
        yield made
    finally:
        made.close()


def _span(sent: Any, service: Mapping[str, Any]) -> Span:
    return Span(
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        sent.name,
        sent.kind,
        sent.status.code == 2,
        _values(sent.attributes),
        tuple(f"{each.trace_id.hex()}-{each.span_id.hex()}" for each in sent.links),
        service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
