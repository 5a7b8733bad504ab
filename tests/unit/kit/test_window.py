"""A moving window lets so many through in any span of time, and says when the next place is free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.window import Limiter, Window

_STEPS = st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=60)


def test_the_wait_is_until_the_oldest_hit_leaves_the_window() -> None:
    window = Window("2/minute")
    assert [window.hit("anna", 100), window.hit("anna", 110)] == [0, 0]
    assert window.hit("anna", 130) == 30
    assert window.hit("anna", 160) == 0
    assert window.hit("anna", 161) == 9


def test_a_look_counts_nothing() -> None:
    window = Window("1/second")
    assert [window.wait("anna", 1) for _ in range(3)] == [0, 0, 0]
    window.count("anna", 1)
    assert window.wait("anna", 1.25) == 0.75


@given(_STEPS, st.integers(1, 4))
def test_no_span_of_the_window_holds_more_than_the_rate(steps: list[float], amount: int) -> None:
    window = Window(f"{amount}/minute")
    now, passed = 0.0, []
    for step in steps:
        now += step
        if window.hit("anna", now) == 0:
            passed.append(now)
    for at in passed:
        assert len([each for each in passed if at <= each < at + 60]) <= amount


def test_who_has_long_gone_is_forgotten() -> None:
    window = Window("1/second")
    for number in range(5000):
        window.hit(f"caller {number}", number)
    assert len(window._hits) < 2000


async def test_without_redis_the_limit_is_that_of_this_process() -> None:
    limiter = Limiter("test", "2/hour")
    assert [await limiter.hit("anna"), await limiter.hit("anna"), await limiter.hit("bert")] == [0, 0, 0]
    assert 3599 < await limiter.hit("anna") <= 3600
