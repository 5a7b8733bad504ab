"""Counters and histograms of our own say what the library's would, and a figure has the labels that it was made with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kassa.kit.breaker import Breaker, breakers
from kassa.kit.times import BOUNDS, Counts, Times

SECONDS = st.floats(0, 20, allow_nan=False) | st.sampled_from(BOUNDS)


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(noted=st.lists(st.tuples(SECONDS, st.sampled_from(["a", "b"]))))
def test_times_are_shown_as_the_librarys_own(noted: list[tuple[float, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Times("kassa_t_seconds", "How long", ["which"], registry=ours)
    library = Histogram("kassa_t_seconds", "How long", ["which"], buckets=BOUNDS, registry=theirs)
    for seconds, which in noted:
        mine.note(seconds, which)
        library.labels(which).observe(seconds)
    assert lines(ours) == lines(theirs)


@given(noted=st.lists(st.sampled_from(["a", "b"])))
def test_counts_are_shown_as_the_librarys_own(noted: list[str]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Counts("kassa_c", "How often", ["which"], registry=ours)
    library = Counter("kassa_c", "How often", ["which"], registry=theirs)
    for which in noted:
        mine.note(which)
        library.labels(which).inc()
    assert lines(ours) == lines(theirs)


def test_a_figure_without_labels_is_shown_from_the_beginning() -> None:
    registry = CollectorRegistry()
    Times("kassa_t_seconds", "How long", registry=registry)
    Counts("kassa_c", "How often", registry=registry)
    assert {"kassa_t_seconds_count 0.0", "kassa_c_total 0.0"} <= set(lines(registry))


def test_a_name_is_taken_once_and_labels_are_as_many_as_were_named() -> None:
    registry = CollectorRegistry()
    times = Times("kassa_t_seconds", "How long", ["which"], registry=registry)
    with pytest.raises(ValueError, match="kassa_t_seconds"):
        Times("kassa_t_seconds", "How long", registry=registry)
    for labels in ((), ("a", "b")):
        with pytest.raises(AssertionError, match="has the labels"):
            times.note(1.0, *labels)
        with pytest.raises(AssertionError, match="has the labels"):
            Counts("kassa_c", "How often", ["which"], registry=CollectorRegistry()).note(*labels)


def test_of_two_breakers_of_one_name_the_open_one_counts_and_what_is_gone_is_not_shown() -> None:
    live, test = Breaker("of-this-test", failures=1), Breaker("of-this-test", failures=1)
    unnamed = Breaker(failures=1)
    unnamed.silent()
    assert breakers()["of-this-test"] is False
    live.silent()
    assert breakers()["of-this-test"] is True
    assert "" not in breakers()
    del live, test
    assert "of-this-test" not in breakers()
