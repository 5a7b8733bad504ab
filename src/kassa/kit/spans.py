"""Record spans and send them to a collector: OpenTelemetry over OTLP/HTTP. Loaded only where a collector is named.

Spans wait in a queue of this process and are sent from a thread of their own, so that a collector which is slow or away costs a
purchase nothing: what finds the queue full is dropped, and counted. What Kassa has no setting for (`OTEL_BSP_*`,
`OTEL_RESOURCE_ATTRIBUTES`, certificates and so on) the library reads from the environment itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass, field
from typing import Any, Final, Self

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter

from kassa.kit.context import about
from kassa.kit.errors import KassaError
from kassa.kit.trace import Belonging, Kind, Span, Trace, current, record_with

SPANS: Final = Counter("kassa_spans", "Spans of traces: sent to the collector, failed to be sent, or dropped before", ["outcome"])
CLOSE_S = 3.0
"""Seconds for which the end of a process waits until the last spans are sent."""
_SAY_AGAIN_S = 60.0
_KINDS: Final[Mapping[Kind, otel.SpanKind]] = {
    "internal": otel.SpanKind.INTERNAL,
    "server": otel.SpanKind.SERVER,
    "client": otel.SpanKind.CLIENT,
    "producer": otel.SpanKind.PRODUCER,
}
log = logging.getLogger("kassa.traces")


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go and which are recorded. `url` is the whole address, `sampler` a name of OpenTelemetry's with its `ratio`."""

    url: str
    service: str | None = None
    version: str = ""
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@contextlib.asynccontextmanager
async def recording(collector: Collector) -> AsyncIterator[None]:
    """Inside the block the spans of this process are recorded. Its end sends the last ones, in a few seconds at most."""
    exporter = _Counted(OTLPSpanExporter(collector.url, headers=dict(collector.headers)))
    for library in ("opentelemetry.exporter", "opentelemetry.sdk"):  # what they would say is said below, once, without an address
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    provider = TracerProvider(_sampler(collector), _resource(collector), shutdown_on_exit=False)
    provider.add_span_processor(_Queue(exporter))
    record_with(_Otel(provider.get_tracer("kassa", collector.version)))
    try:
        yield
    finally:
        record_with(None)
        await _close(provider, exporter)


def _resource(collector: Collector) -> Resource:
    named = {SERVICE_NAME: collector.service} if collector.service else {}
    found = Resource.create({SERVICE_VERSION: collector.version, **named})
    nobody = str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found.merge(Resource({SERVICE_NAME: "kassa"})) if nobody else found


def _sampler(collector: Collector) -> sampling.Sampler:
    roots = {"on": sampling.ALWAYS_ON, "off": sampling.ALWAYS_OFF}
    root = roots.get(collector.sampler.rpartition("_")[2]) or sampling.TraceIdRatioBased(collector.ratio)
    return sampling.ParentBased(root) if collector.sampler.startswith("parentbased_") else root


async def _close(provider: TracerProvider, exporter: _Counted) -> None:
    """Send what waits. A thread of its own, and no executor's: the process does not wait for a collector that does not answer."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut() -> None:
        provider.shutdown()
        with contextlib.suppress(RuntimeError):  # the loop has not waited
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut, name="the last spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await done.wait()
            return
    exporter.shutdown()


class _Otel:
    """The recorder: see `trace.Recorder`."""

    def __init__(self, tracer: otel.Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, here: Trace | None, kind: Kind, links: tuple[str, ...] = ()) -> Span:
        """A span below `here`, or the first one of a new trace. What is not sampled is recorded no further."""
        above = Context() if here is None else otel.set_span_in_context(here.span or _remote(here), Context())
        linked = [otel.Link(_context_of(Trace(each))) for each in links]
        begun = self._tracer.start_span(name, above, _KINDS[kind], links=linked, record_exception=False)
        found = begun.get_span_context()
        parent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
        now = Trace(parent, found.trace_state.to_header() if found.trace_state else "", span=begun)
        first = here is None or here.span is None
        return _Recorded(now, first=first) if begun.is_recording() else Belonging(now._replace(span=None))


class _Recorded(Span):
    """A span that is recorded. One that is the first here of its trace is given the ids of what its work was about, at its end."""

    __slots__ = ("_first", "_here", "_token", "_told")
    on = True
    _token: Token[Trace | None]

    def __init__(self, here: Trace, *, first: bool) -> None:
        self._here = here
        self._first = first
        self._told: dict[str, str | float] = {}

    def __enter__(self) -> Self:
        self._token = current.set(self._here)
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        current.reset(self._token)
        if self._first:
            self.say(**about.get())
        if error is not None:
            # Its kind and not its text, which may quote what a caller sent. A refusal that is raised on purpose is no fault.
            self.mark("error.type", error.code if isinstance(error, KassaError) else type(error).__name__)
            if not isinstance(error, KassaError):
                self.fail()
        if self._told:
            self._here.span.set_attributes(self._told)  # all at once: the library takes its time for each time
        self._here.span.end()

    def say(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._told[f"kassa.{name}"] = value if isinstance(value, str | int | float) else str(value)

    def mark(self, name: str, value: str | float) -> None:
        self._told[name] = value

    def rename(self, name: str) -> None:
        self._here.span.update_name(name)

    def fail(self) -> None:
        self._here.span.set_status(otel.StatusCode.ERROR)


def _remote(here: Trace) -> otel.Span:
    return otel.NonRecordingSpan(_context_of(here))


def _context_of(here: Trace) -> otel.SpanContext:
    state = otel.TraceState.from_header([here.state]) if here.state else None
    flags = otel.TraceFlags(int(here.parent[53:], 16))
    return otel.SpanContext(int(here.trace_id, 16), int(here.span_id, 16), is_remote=True, trace_flags=flags, trace_state=state)


class _Queue(BatchSpanProcessor):
    """The queue before the exporter. It is as long as the library's; what finds it full is not put in, and counted."""

    def __init__(self, exporter: _Counted) -> None:
        super().__init__(exporter)
        self._most: int = self._default_max_queue_size()  # type: ignore[no-untyped-call]
        self._exporter = exporter
        self._put = 0
        self._dropped = SPANS.labels("dropped")

    def on_end(self, span: ReadableSpan) -> None:
        """Put an ended span in."""
        if self._put - self._exporter.taken >= self._most:
            self._dropped.inc()
            return
        self._put += 1
        super().on_end(span)


class _Counted(SpanExporter):
    """The exporter, counting what becomes of spans; a collector that does not take them is told of once a minute."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._ended = False
        self._said_at: float | None = None
        self.taken = 0
        """Spans that have left the queue for good."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the library, from its thread."""
        result = self._inner.export(spans)
        self.taken += len(spans)
        went_well = result is SpanExportResult.SUCCESS
        SPANS.labels("sent" if went_well else "failed").inc(len(spans))
        self._say(away=not went_well)
        return result

    def shutdown(self) -> None:
        """Send nothing more, and wait no longer for what is being sent. A second time changes nothing."""
        if not self._ended:
            self._ended = True
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here."""
        return self._inner.force_flush(timeout_millis)

    def _say(self, *, away: bool) -> None:
        if not away:
            if self._said_at is not None:
                log.info("traces: the collector takes them again")
            self._said_at = None
        elif self._said_at is None or time.monotonic() - self._said_at >= _SAY_AGAIN_S:
            self._said_at = time.monotonic()
            log.warning("traces: the collector does not take them")
