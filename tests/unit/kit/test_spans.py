"""What is recorded, what is sent, and what happens when nobody takes it. A real exporter; the collector is a server of this test's."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests import rig
from tests.flows.collector import Collector, Span, collecting

from kassa.kit import trace
from kassa.kit.context import concerning
from kassa.kit.errors import Refused
from kassa.kit.spans import CLOSE_S, SPANS, recording
from kassa.kit.spans import Collector as Address

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{ID}-{SPAN}-01", f"00-{ID}-{SPAN}-00"
SERVER, CLIENT, PRODUCER = 2, 3, 4


class NoMoney(Refused):
    """The buyer has none."""

    code = "no_money"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


def address(collector: Collector, **wish: Any) -> Address:
    return Address(f"{collector.url}/v1/traces", **wish)


def named(collector: Collector) -> dict[str, Span]:
    return {each.name: each for each in collector.spans}


def counted(outcome: str) -> float:
    found: float = SPANS.labels(outcome)._value.get()
    return found


async def test_parts_stand_below_their_whole(collector: Collector) -> None:
    before = counted("sent")
    async with recording(address(collector, service="till", version="1.2", headers={"authorization": "Bearer key"})):
        with concerning(order_id="one", refund_id=None), trace.arrive(SAMPLED, "a=b", "POST") as whole:
            with trace.span("inventory", "client") as part:
                told = dict(trace.headers())
                part.say(outcome="done", attempt=2, code=None)
                part.mark("http.response.status_code", 200)
            whole.rename("POST /checkout/process")
    found = named(collector)
    assert set(found) == {"POST /checkout/process", "inventory"}
    whole_, part_ = found["POST /checkout/process"], found["inventory"]
    assert (whole_.trace_id, whole_.parent_id, whole_.kind) == (ID, SPAN, SERVER)
    assert (part_.trace_id, part_.parent_id, part_.kind) == (ID, whole_.span_id, CLIENT)
    assert told == {"traceparent": f"00-{ID}-{part_.span_id}-01", "tracestate": "a=b"}
    assert part_.attributes == {"kassa.outcome": "done", "kassa.attempt": 2, "http.response.status_code": 200}
    assert whole_.attributes == {"kassa.order_id": "one"}
    assert (part_.service["service.name"], part_.service["service.version"]) == ("till", "1.2")
    assert {name.lower(): value for name, value in collector.headers[0].items()}["authorization"] == "Bearer key"
    assert counted("sent") - before == 2


async def test_its_name_is_kassa_unless_it_is_told_another(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for environment, expected in (({}, "kassa"), ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,zone=a"}, "shop")):
        monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with recording(address(collector)):
            with trace.arrive(None, None, expected):
                pass
        assert named(collector)[expected].service["service.name"] == expected


async def test_a_fault_is_marked_and_its_words_are_not(collector: Collector) -> None:
    async with recording(address(collector)):
        for error in (NoMoney("card 4111 1111 1111 1111"), ValueError("card 4111 1111 1111 1111")):
            with pytest.raises(type(error)), trace.arrive(SAMPLED, None, type(error).__name__):
                raise error
    found = named(collector)
    assert (found["NoMoney"].attributes, found["NoMoney"].failed) == ({"error.type": "no_money"}, False)
    assert (found["ValueError"].attributes, found["ValueError"].failed) == ({"error.type": "ValueError"}, True)


@pytest.mark.parametrize(
    ("sampler", "ratio", "caller", "recorded"),
    [
        ("parentbased_always_on", 1, None, True),
        ("parentbased_always_on", 1, SAMPLED, True),
        ("parentbased_always_on", 1, UNSAMPLED, False),
        ("parentbased_traceidratio", 0, None, False),
        ("parentbased_traceidratio", 0, SAMPLED, True),
        ("traceidratio", 0, SAMPLED, False),
        ("always_on", 1, UNSAMPLED, True),
        ("always_off", 1, SAMPLED, False),
    ],
)
async def test_who_decides_what_is_recorded(
    collector: Collector, sampler: str, ratio: float, caller: str | None, recorded: bool
) -> None:
    async with recording(address(collector, sampler=sampler, ratio=ratio)):
        with trace.arrive(caller, None, "GET") as span:
            assert span.on is recorded
            told = dict(trace.headers())["traceparent"]
            assert bool(int(told[-2:], 16) & 1) is recorded  # neighbours are told the same
            assert caller is None or told[3:35] == ID
            with trace.span("part") as part:
                assert part.on is recorded
    assert len(collector.spans) == 2 * recorded


async def test_work_for_many_is_linked_to_each_that_somebody_records(collector: Collector) -> None:
    async with recording(address(collector)):
        with trace.batch("relay", [SAMPLED, None, UNSAMPLED, SAMPLED]) as span:
            span.say(events=4)
    [found] = collector.spans
    assert found.links == (f"{ID}-{SPAN}",)
    assert (found.parent_id, found.kind) == ("", PRODUCER)
    assert found.trace_id != ID


async def test_what_was_kept_without_a_trace_begins_one(collector: Collector) -> None:
    async with recording(address(collector)):
        with trace.go_on("webhook", None, "client"):
            pass
        with trace.go_on("webhook", SAMPLED, "client"):
            pass
    assert [each.parent_id for each in collector.spans] == ["", SPAN]


async def test_what_nobody_asked_for_is_not_recorded(collector: Collector) -> None:
    """A worker that looks for work twice a second is no trace of anything."""
    async with recording(address(collector)):
        with trace.span("webhooks.claim") as span:
            assert not span.on
    assert collector.spans == []


async def test_nobody_there_is_counted_said_once_and_waited_for_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    failed = counted("failed")
    began = time.monotonic()
    with caplog.at_level(logging.INFO):
        async with recording(Address(f"http://127.0.0.1:{rig.free_port()}/v1/traces")):
            for _ in range(3):
                with trace.arrive(None, None, "GET"):
                    pass
            assert time.monotonic() - began < 0.5
        assert time.monotonic() - began < CLOSE_S + 2
    until = time.monotonic() + 5
    while counted("failed") - failed < 3 and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert counted("failed") - failed == 3
    ours = [record.message for record in caplog.records if record.name.startswith(("kassa", "opentelemetry"))]
    assert ours == ["traces: the collector does not take them"]


async def test_a_full_queue_drops_what_comes_and_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector takes a batch and thinks, until the test has counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    thought = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            thought.wait(10)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """It says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        dropped, sent = counted("dropped"), counted("sent")
        async with recording(Address(f"http://127.0.0.1:{server.server_port}/v1/traces")):
            for _ in range(25):
                with trace.arrive(None, None, "GET"):
                    pass
            assert counted("dropped") - dropped == 15
            thought.set()
        assert counted("sent") - sent == 10
    finally:
        thought.set()
        server.shutdown()
        server.server_close()
        thread.join()


async def test_afterwards_nothing_is_recorded(collector: Collector) -> None:
    async with recording(address(collector)):
        pass
    with trace.arrive(SAMPLED, None, "GET") as span:
        assert not span.on
        assert trace.span("part") is trace.NOTHING
