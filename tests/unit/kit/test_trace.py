"""Which trace work belongs to: what is read of callers, what is kept, what neighbours are told."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import rig

from kassa.kit import trace

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"
_HEX = "0123456789abcdef"
_ids = st.text(_HEX, min_size=32, max_size=32).filter(lambda text: text.strip("0"))
_spans = st.text(_HEX, min_size=16, max_size=16).filter(lambda text: text.strip("0"))
_WHOLE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")


@given(_ids, _spans, st.integers(0, 255))
def test_what_a_caller_says_is_read_and_said_on(trace_id: str, span_id: str, flags: int) -> None:
    found = trace.read(f"00-{trace_id}-{span_id}-{flags:02x}")
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (trace_id, span_id, bool(flags & 1))
    assert trace.read(found.parent) == found
    assert trace.id_of(found.parent) == trace_id


@given(_ids, _spans, st.integers(1, 254), st.one_of(st.just(""), st.text(_HEX + "-", max_size=20).map(lambda text: f"-{text}")))
def test_a_version_that_is_not_known_yet_is_read_as_far_as_it_is_known(
    trace_id: str, span_id: str, version: int, more: str
) -> None:
    assert trace.read(f"{version:02x}-{trace_id}-{span_id}-01{more}") == trace.read(f"00-{trace_id}-{span_id}-01")


@given(st.one_of(st.text(), st.text(_HEX + "-", min_size=40, max_size=70), st.from_regex(r"00-[0-9a-fA-F]{30,34}-[0-9a-f]{16}-0.")))
def test_whatever_is_sent_is_a_trace_or_none(text: str) -> None:
    found = trace.read(text)
    assert found is None or _WHOLE.fullmatch(found.parent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",
        f"{GOOD}, {GOOD}",
        f"ff-{ID}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID[:-1]}-{SPAN}-01",
        f"00-{ID}-{SPAN}-1",
        f"00-{ID[:-1]}g-{SPAN}-01",
        f"00-{ID[:-1]}٣-{SPAN}-01",
    ],
)
def test_a_traceparent_that_is_none_counts_as_none(text: str) -> None:
    assert trace.read(text) is None
    with trace.arrive(text, "a=b", "GET"):
        here = trace.current.get()
        assert here is not None
        assert here.trace_id not in {ID, "0" * 32}
        assert here.state == ""


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("congo=t61rcWkgMzE", True),
        ("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", True),
        ("tenant@system=one two", True),
        ("a=1,,b=2", True),
        ("", False),
        ("a", False),
        ("A=1", False),
        ("a=1;b=2\n", False),
        ("a=é", False),
        ("a=" + "x" * 511, False),
        (",".join(f"k{n}=v" for n in range(33)), False),
        (",".join(f"k{n}=v" for n in range(32)), True),
        (" , ,\t", False),
        ("a=1" + ("," + " " * 14) * 31 + "!", False),  # what a pattern would try for ever
        ("a=" + " " * 300 + "!", False),
    ],
)
def test_a_tracestate_is_carried_on_or_dropped_whole(state: str, kept: bool) -> None:
    found = trace.read(GOOD, state)
    assert found is not None
    assert found.state == (state if kept else "")


def test_a_caller_s_trace_is_told_to_neighbours_as_it_came() -> None:
    with trace.arrive(GOOD, "a=b", "GET"):
        assert trace.headers() == [("traceparent", GOOD), ("tracestate", "a=b")]
        assert trace.kept() == GOOD
    assert trace.headers() == []
    assert trace.kept() is None


def test_a_trace_that_was_made_here_is_kept_and_not_told() -> None:
    """A neighbour that records would take it for a wish not to."""
    seen = set()
    for _ in range(3):
        with trace.arrive(None, None, "GET"):
            kept = trace.kept()
            assert kept is not None
            assert _WHOLE.fullmatch(kept)
            assert kept.endswith("-00")
            assert trace.headers() == []
            seen.add(trace.id_of(kept))
    assert len(seen) == 3


def test_work_that_is_gone_on_with_belongs_to_the_trace_that_was_kept() -> None:
    with trace.arrive(None, None, "GET"):
        mine = trace.kept()
        with trace.go_on("webhook", GOOD):
            assert trace.kept() == GOOD
            assert trace.headers() == [("traceparent", GOOD)]
        assert trace.kept() == mine
        with trace.go_on("webhook", mine):
            assert trace.headers() == []
        with trace.go_on("webhook", None):
            assert trace.kept() is None
            assert trace.headers() == []


async def test_a_task_belongs_to_the_trace_in_which_it_was_begun() -> None:
    async def work() -> str | None:
        await asyncio.sleep(0)
        return trace.kept()

    with trace.arrive(GOOD, None, "GET"):
        task = asyncio.create_task(work())
    assert trace.kept() is None
    assert await task == GOOD


def test_without_a_collector_a_span_is_nothing() -> None:
    with trace.arrive(GOOD, None, "GET"):
        first = trace.span("checkout.start")
        assert first is trace.span("inventory", "client") is trace.batch("relay", [GOOD]) is trace.NOTHING
        with first as span:
            span.say(outcome="done")
            span.mark("http.route", "-")
            span.rename("else")
            span.fail()
            assert not span.on
            assert trace.kept() == GOOD


def test_without_a_collector_nothing_that_records_is_loaded() -> None:
    """A library of ours looks for OpenTelemetry's metrics by itself where they are installed; recorder and exporter are our own wish."""
    code = "import sys, kassa.bootstrap, kassa.rpc.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=rig.clean_environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "kassa.kit.trace" in loaded
    assert not loaded & {"kassa.kit.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"}
