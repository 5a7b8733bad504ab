"""Whatever fails whenever it fails: charged once or not at all, an order if and only if there is money, nothing open at the end."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from tests import rig
from tests.histories.faults import FAULTS
from tests.histories.many import play_many, shorten, told
from tests.histories.play import History, beginning, play
from tests.histories.steps import ACTS, BASKETS, METHODS, PASSES_S, PROCESSES, Step, deal
from tests.histories.strangers import words_for
from tests.histories.town import KINDS

WHO, WHICH = st.sampled_from(PROCESSES), st.integers(0, 7)
WORDS = [f"{act} {word}" for act in sorted({act for acts in ACTS.values() for act in acts}) for word in words_for(act)]
FOUND_WITHIN = 60


def test_no_history_breaks_the_promise() -> None:
    played = play_many("an ordinary run", histories=70)
    assert played.failed is None, told(played.failed)
    assert played.count["crash"] > 5
    assert played.count["cut"] > 3
    assert played.count["payment late"] + played.count["payment silent"] > 5


class Histories(RuleBasedStateMachine):
    """The same steps, chosen by Hypothesis, which makes what fails as short as it can be."""

    history: History | None = None

    @initialize(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), weather=st.sampled_from((0, 10, 30)))
    def open(self, seed: int, kind: str, weather: int) -> None:
        self.stack = contextlib.ExitStack()
        self.history = self.stack.enter_context(beginning(str(seed), kind))
        self.kind = kind
        self._take(Step("weather", which=weather))

    @rule(
        who=st.sampled_from(PROCESSES[:2]),
        which=st.integers(0, len(BASKETS) - 1),
        how=st.sampled_from(("", "twice one key", "twice two keys")),
    )
    def buy(self, who: str, which: int, how: str) -> None:
        self._take(Step("buy", who, which, how))

    @rule(who=WHO, which=WHICH)
    def again(self, who: str, which: int) -> None:
        self._take(Step("again", who, which))

    @rule(who=WHO, buyer=st.integers(0, 1), method=st.sampled_from(METHODS), how=st.sampled_from(("key", "tab")))
    def order(self, who: str, buyer: int, method: str, how: str) -> None:
        self._take(Step("order", who, buyer, f"{method} {how}"))

    @rule(who=WHO, which=WHICH, how=st.sampled_from(("staff", "owner")))
    def cancel(self, who: str, which: int, how: str) -> None:
        self._take(Step("cancel", who, which, how))

    @rule(who=WHO, which=WHICH, how=st.sampled_from(("whole", "whole twice", "part", "part twice", "line restocked")))
    def refund(self, who: str, which: int, how: str) -> None:
        self._take(Step("refund", who, which, how))

    @rule(who=WHO, which=WHICH, how=st.sampled_from(("paid", "paid thrice", "failed", "failed then paid")))
    def report(self, who: str, which: int, how: str) -> None:
        self._take(Step("report", who, which, how))

    @rule(who=WHO, which=WHICH)
    def person(self, who: str, which: int) -> None:
        self._take(Step("person", who, which))

    @rule(who=WHO, after=st.integers(1, 60))
    def crash(self, who: str, after: int) -> None:
        self._take(Step("crash", who, after))

    @rule(who=WHO, seconds=st.sampled_from((2.0, 9.0, 15.0)))
    def freeze(self, who: str, seconds: float) -> None:
        self._take(Step("freeze", who, seconds=seconds))

    @rule(who=WHO, after=st.integers(1, 20), how=st.sampled_from(("before", "after")))
    def cut(self, who: str, after: int, how: str) -> None:
        self._take(Step("cut", who, after, how))

    @rule(word=st.sampled_from(WORDS))
    def word(self, word: str) -> None:
        self._take(Step("word", how=word))

    @rule(seconds=st.sampled_from(PASSES_S))
    def time_passes(self, seconds: float) -> None:
        self._take(Step("pass", seconds=seconds))

    @invariant()
    @precondition(lambda self: self.history is not None)
    def nothing_is_wrong(self) -> None:
        assert self.history is not None
        assert self.history.wrong() == []

    def teardown(self) -> None:
        if self.history is None:
            return
        with self.stack:
            assert self.history.rest() == []

    def _take(self, step: Step) -> None:
        assert self.history is not None
        self.history.take(step)


def test_no_history_that_hypothesis_thinks_of_breaks_the_promise() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=24, stateful_step_count=14, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_the_same_seed_is_the_same_history_line_by_line() -> None:
    steps = deal(random.Random("twice"), "services", 20)
    first, second = (play("twice", "services", steps) for _ in range(2))
    assert first.told == second.told
    assert first.count == second.count


def test_the_same_seed_is_the_same_history_in_every_process() -> None:
    """Whatever order sets and hashes have there."""
    said = {
        subprocess.run(
            [sys.executable, "-m", "tests.histories", "--seed", "alike", "--one", "6"],
            cwd=rig.ROOT, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True, timeout=100,
        ).stdout
        for hashes in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
    assert len(next(iter(said)).splitlines()) > 20


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: object) -> None:
    with fault.plant():  # type: ignore[attr-defined]
        assert play_many("planted", histories=FOUND_WITHIN).failed is not None


def test_what_fails_is_made_short_and_fails_again_in_the_same_words() -> None:
    fault = next(each for each in FAULTS if "forgotten" in each.name)
    with fault.plant():
        played = play_many("planted", histories=FOUND_WITHIN)
        short = played.failed
        assert short is not None
        assert len(short.steps) < played.before
        assert play(short.seed, short.kind, short.steps) == short
        assert shorten(short).steps == short.steps
    assert play(short.seed, short.kind, short.steps).wrong == ()
