"""A breaker is about silence: five in a row open it for ten seconds, then one probe decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.breaker import Breaker


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(clock=clock), clock


def silenced(breaker: Breaker, times: int = 5) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.silent()


def test_four_silences_in_a_row_change_nothing() -> None:
    breaker, _ = make()
    silenced(breaker, 4)
    assert breaker.allows()
    assert not breaker.is_open


def test_the_fifth_silence_in_a_row_opens_it() -> None:
    breaker, _ = make()
    silenced(breaker)
    assert breaker.is_open
    assert not breaker.allows()


def test_any_answer_between_begins_the_count_anew() -> None:
    breaker, _ = make()
    silenced(breaker, 4)
    breaker.answered()
    silenced(breaker, 4)
    assert not breaker.is_open


def test_for_ten_seconds_nobody_is_let_through() -> None:
    breaker, clock = make()
    silenced(breaker)
    for passed in (0, 1, 5, 9.99):
        clock.now = 1000 + passed
        assert not breaker.allows()


def test_after_ten_seconds_exactly_one_caller_is_the_probe() -> None:
    breaker, clock = make()
    silenced(breaker)
    clock.now += 10
    assert [breaker.allows() for _ in range(50)] == [True] + [False] * 49


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker, clock = make()
    silenced(breaker)
    clock.now += 10
    assert breaker.allows()
    breaker.answered()
    assert all(breaker.allows() for _ in range(3))
    assert not breaker.is_open


def test_a_probe_that_is_silent_opens_it_for_another_ten_seconds() -> None:
    breaker, clock = make()
    silenced(breaker)
    clock.now += 10
    assert breaker.allows()
    breaker.silent()
    clock.now += 9.9
    assert not breaker.allows()
    clock.now += 0.1
    assert breaker.allows()


def test_a_probe_that_was_given_up_leaves_the_next_caller_to_try() -> None:
    breaker, clock = make()
    silenced(breaker)
    clock.now += 10
    assert breaker.allows()
    breaker.released()
    assert breaker.allows()
    assert not breaker.allows()


def test_late_silences_of_calls_that_began_before_do_not_let_a_second_probe_through() -> None:
    breaker, clock = make()
    silenced(breaker)
    clock.now += 10
    assert breaker.allows()
    breaker.silent()
    assert not breaker.allows()


def test_it_says_in_whole_seconds_when_to_come_back() -> None:
    breaker, clock = make()
    assert breaker.retry_after() == 1
    silenced(breaker)
    assert 10 <= breaker.retry_after() <= 11
    clock.now += 9.9
    assert breaker.retry_after() == 1
    clock.now += 60
    assert breaker.retry_after() == 1


def test_it_remembers_that_it_was_open_until_somebody_makes_up_for_it() -> None:
    breaker, clock = make()
    assert breaker.was_open, "a process that has just begun does not know what it missed"
    breaker.was_open = False
    silenced(breaker, 4)
    assert not breaker.was_open
    silenced(breaker, 1)
    clock.now += 10
    assert breaker.allows()
    breaker.answered()
    assert breaker.was_open


def test_it_rests_until_its_pause_is_over_and_while_a_probe_is_under_way() -> None:
    breaker, clock = make()
    assert not breaker.rests
    silenced(breaker, 5)
    assert breaker.rests
    clock.now += 10
    assert not breaker.rests
    assert breaker.allows()
    assert breaker.rests
    breaker.silent()
    clock.now += 10
    assert breaker.rests, "the next probe is somebody else's"
    clock.now += 10
    assert not breaker.rests
    assert breaker.allows()
    breaker.answered()
    assert not breaker.rests


@given(st.lists(st.sampled_from(["silent", "answered", "released", "wait"]), max_size=60))
def test_whatever_happens_it_lets_somebody_try_at_most_ten_seconds_after_the_last_probe_ended(story: list[str]) -> None:
    breaker, clock = make()
    for act in story:
        if act == "wait":
            clock.now += 3
        elif breaker.allows():
            {"silent": breaker.silent, "answered": breaker.answered, "released": breaker.released}[act]()
    clock.now += 10
    assert breaker.allows()
